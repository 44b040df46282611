"""Audit samples: scores of variants, of their recorded twins, and of variants with a defect."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput
from nightrain.pipelines.audit.defects import DEFECTS, Good, Others
from nightrain.pipelines.gates.apply import Scores, judge, measure
from nightrain.pipelines.gates.base import Gate, GateSettings, Rejection

NO_DEFECT, RECORDED = "none", "recorded twin"


@dataclass(frozen=True)
class AuditSample:
    """Scores of one variant, with or without a defect."""

    defect: str
    condition: Condition
    severity: float
    half: int  # of the scenes, 0 or 1: limits that are fitted to one are applied to the other
    scores: Scores
    unmeasured: bool = False  # rejected before anything was measured

    def rejections(self, gates: Sequence[GateSettings]) -> tuple[Rejection, ...]:
        """Why gates reject the variant; nothing if they accept it."""
        if self.unmeasured:
            return (Rejection("size", "a wrong size or type"),)
        return judge(gates, self.scores, self.condition, self.severity)


def measured(
    goods: Sequence[Good], twins: Sequence[Good], gates: Mapping[str, Gate]
) -> Iterator[AuditSample]:
    """Measure variants without and with every defect that can be seeded, and recorded twins."""
    scenes: dict[str, int] = {}
    for good in (*goods, *twins):
        scenes.setdefault(good.scene_id, len(scenes))
    for twin in twins:
        yield _sample(RECORDED, twin, scenes[twin.scene_id] % 2, twin.image, gates)
    for index, good in enumerate(goods):
        half = scenes[good.scene_id] % 2
        others = _others(goods, good, index)
        yield _sample(NO_DEFECT, good, half, good.image, gates)
        for name, defect in DEFECTS.items():
            image = defect.seed(good, others)
            if image is not None:
                yield _sample(name, good, half, image, gates)


def _others(goods: Sequence[Good], good: Good, index: int) -> Others:
    """Variants of another scene and of another condition; each good variant has its own."""
    request = good.request
    frames = [
        one
        for one in goods
        if one.request.condition == request.condition and one.scene_id != good.scene_id
    ]
    weathers = [
        one
        for one in goods
        if one.request.image is request.image and one.request.condition != request.condition
    ]
    return Others(
        frame=frames[index % len(frames)] if frames else None,
        weather=weathers[index % len(weathers)] if weathers else None,
    )


def _sample(
    defect: str, good: Good, half: int, image: np.ndarray, gates: Mapping[str, Gate]
) -> AuditSample:
    request = good.request
    facts = defect, request.condition, request.severity, half
    try:
        found = measure(gates, request, replace(good.variant, image=image))[0]
    except DamagedInput:
        return AuditSample(*facts, {}, unmeasured=True)
    return AuditSample(*facts, found)
