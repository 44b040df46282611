"""Report of an audit: shares of variants that gates reject, by defect, condition and gate."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from nightrain.pipelines.audit.defects import DEFECTS
from nightrain.pipelines.audit.samples import NO_DEFECT, RECORDED, AuditSample
from nightrain.pipelines.gates.base import GateSettings

MILD = 0.5  # severities below it are mild


class Share(BaseModel):
    """Number of variants, and how many of them are rejected."""

    num_rejected: int = 0
    num_variants: int = 0

    def __str__(self) -> str:
        if not self.num_variants:
            return "-"
        return f"{100 * self.num_rejected / self.num_variants:.0f} % of {self.num_variants}"


class AuditReport(BaseModel):
    """Results of an audit; each scene is judged by limits that were fitted to others."""

    num_good: int  # variants without defect
    conditions: tuple[str, ...]
    shares: dict[str, dict[str, Share]]  # by defect and condition
    by_severity: dict[str, dict[str, Share]]  # mild and severe, by defect
    by_gate: dict[str, dict[str, Share]]  # by defect and gate
    areas: dict[str, dict[str, float]]  # area under the ROC, by score and defect
    gates: list[dict | str]  # entries of a recipe, with limits for all scenes

    def recall(self, is_geometry: bool) -> Share:
        """Share of gross geometry defects, or of faults, that are rejected."""
        names = [name for name, defect in DEFECTS.items() if defect.is_geometry == is_geometry]
        return _sum(share for name in names for share in self.shares.get(name, {}).values())

    @property
    def good(self) -> Share:
        """Share of variants without defect that are rejected."""
        return _sum(self.shares.get(NO_DEFECT, {}).values())

    @property
    def precision(self) -> float:
        """Share of the rejected variants that have a defect, where half of all variants have."""
        bad, good = _sum((self.recall(True), self.recall(False))), self.good
        recall = bad.num_rejected / max(bad.num_variants, 1)
        false = good.num_rejected / max(good.num_variants, 1)
        return recall / max(recall + false, 1e-9)


def make_report(
    samples: Sequence[AuditSample],
    gates_of_half: Sequence[Sequence[GateSettings]],
    gates: Sequence[GateSettings],
) -> AuditReport:
    """Count the rejections by the gates for each half of the scenes.

    `gates` are those of the report, with limits for all scenes.
    """
    conditions = tuple(dict.fromkeys(str(s.condition) for s in samples))
    names = [n for n in (NO_DEFECT, RECORDED, *DEFECTS) if any(s.defect == n for s in samples)]
    shares = {n: {c: Share() for c in conditions} for n in names}
    severity = {n: {"mild": Share(), "severe": Share()} for n in names}
    by_gate = {n: {gate.name: Share() for gate in gates} for n in names}
    for sample in samples:
        found = sample.rejections(gates_of_half[sample.half])
        level = "mild" if sample.severity < MILD else "severe"
        for share in (shares[sample.defect][str(sample.condition)], severity[sample.defect][level]):
            share.num_variants += 1
            share.num_rejected += bool(found)
        for name, share in by_gate[sample.defect].items():
            share.num_variants += 1
            share.num_rejected += any(code.startswith(f"{name}.") for code, _ in found)
    return AuditReport(
        num_good=sum(s.defect == NO_DEFECT for s in samples),
        conditions=conditions,
        shares=shares,
        by_severity=severity,
        by_gate=by_gate,
        areas=_areas(samples, names),
        gates=[_settings(gate) for gate in gates],
    )


def report_lines(report: AuditReport) -> Iterator[str]:
    """Yield the report as Markdown."""
    yield (
        f"{report.num_good} variants without defect. Gross geometry defects rejected: "
        f"{report.recall(True)}; faults: {report.recall(False)}; good variants: {report.good}. "
        f"Precision {report.precision:.3f}."
    )
    yield from _table("defect", report.conditions, report.shares)
    yield from _table("defect", ("mild", "severe"), report.by_severity)
    gates = tuple(next(iter(report.by_gate.values()), {}))
    yield from _table("defect, by gate alone", gates, report.by_gate)
    defects = tuple(name for name in report.shares if name != NO_DEFECT)
    yield from _table("area under the ROC (below 0.5: lower is worse)", defects, report.areas)


def _areas(samples: Sequence[AuditSample], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Area under the ROC of each score, over all conditions, by defect."""
    found: dict[str, dict[str, float]] = {}
    good_scores = next((s.scores for s in samples if s.defect == NO_DEFECT), {})
    for gate, scores in good_scores.items():
        for score in scores:
            of = found.setdefault(f"{gate}.{score}", {})
            for name in names:
                area = _area(samples, gate, score, name)
                if name != NO_DEFECT and area is not None:
                    of[name] = area
    return found


def _area(samples: Sequence[AuditSample], gate: str, score: str, defect: str) -> float | None:
    values = {
        name: [s.scores[gate][score] for s in samples if s.defect == name and not s.unmeasured]
        for name in (NO_DEFECT, defect)
    }
    if not values[NO_DEFECT] or not values[defect]:
        return None
    return area_under_curve(values[NO_DEFECT], values[defect])


def _settings(gate: GateSettings) -> dict | str:
    """Entry of a recipe's list of gates."""
    fields = gate.model_dump(mode="json", exclude_defaults=True)
    fields = {} if isinstance(fields, str) else fields
    return {"name": gate.name, **fields} if fields else gate.name


def _table(
    title: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, Share | float]]
) -> Iterator[str]:
    yield ""
    yield f"| {title} | {' | '.join(columns)} |"
    yield "| --- |" + " ---: |" * len(columns)
    for name, cells in rows.items():
        texts = [_text(cells.get(column)) for column in columns]
        yield f"| {name} | {' | '.join(texts)} |"


def _text(cell: Share | float | None) -> str:
    if cell is None:
        return "-"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def _sum(shares: Iterable[Share]) -> Share:
    total = Share()
    for share in shares:
        total.num_rejected += share.num_rejected
        total.num_variants += share.num_variants
    return total


def area_under_curve(good: Sequence[float], bad: Sequence[float]) -> float:
    """Area under the ROC of a score that is larger for bad variants; 0.5 is chance.

    The probability that a bad variant's score is above a good one's (Mann and Whitney 1947).
    """
    above = np.subtract.outer(np.asarray(bad, float), np.asarray(good, float))
    return float(((above > 0) + 0.5 * (above == 0)).mean())
