"""Gates: CPU time of each on one picture.

    python -m nightrain.benchmarks.gate_cost --model STUDENT/model    a Markdown table

The picture is a variant of the physics engine of 448 x 256 pixels; the median of twenty is printed.
Gates with networks look at the clear frame once, which is left out, and at the variant each time;
`condition` and `self-similarity` share the features of a picture.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded
import cv2
import numpy as np
import torch

from nightrain.benchmarks.weather import INTRINSICS, street
from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.images import decode_depth_png, decode_jpeg
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import run_engine
from nightrain.pipelines.gates.base import GateSettings
from nightrain.pipelines.gates.built_in.network_settings import (
    ConditionSettings,
    DepthSettings,
    SelfSimilaritySettings,
)
from nightrain.pipelines.gates.built_in.picture_settings import (
    AlignmentSettings,
    FaultsSettings,
    StructureSettings,
)
from nightrain.pipelines.gates.object_confidence import object_confidence
from nightrain.pipelines.recipes.recipe_file import load_recipe

SIZE, REPEATS = (448, 256), 20


def fog_request() -> Request:
    """A request for fog in a procedural street."""
    jpeg, depth_png = street()
    depth_m = cv2.resize(decode_depth_png(depth_png), SIZE, interpolation=cv2.INTER_NEAREST)
    depth_m[depth_m == 0] = np.inf
    scale = np.diag([SIZE[0] / 768, SIZE[1] / 448, 1.0])
    return Request(
        sample_id="street",
        image=cv2.resize(decode_jpeg(jpeg), SIZE, interpolation=cv2.INTER_AREA),
        depth_m=depth_m,
        intrinsics=scale @ INTRINSICS,
        condition=Condition.FOG,
        severity=0.5,
        seed=0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="depth model for the gate of depth")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    request = fog_request()
    (variant,) = run_engine(load_engine(load_recipe("weather").engine), [request], 1)
    assert isinstance(variant, Variant)
    settings: list[GateSettings] = [
        FaultsSettings(),
        AlignmentSettings(),
        StructureSettings(),
        ConditionSettings(),
        SelfSimilaritySettings(),
    ]
    settings += [] if options.model is None else [DepthSettings(models=(options.model,))]
    print("| gate | CPU time (ms) |\n| --- | ---: |")
    gates = {one.name: one.build() for one in settings}
    for name, gate in gates.items():
        print(f"| {name} | {milliseconds(lambda v, gate=gate: gate(request, v), variant):.1f} |")

    def judge(one: Variant) -> None:
        confidence = [gate(request, one).confidence for gate in gates.values()]
        first = next(found for found in confidence if found is not None)
        assert request.depth_m is not None
        object_confidence(first, request.depth_m, SIZE)

    cost = milliseconds(judge, variant)
    print(f"| all together, with the confidence of objects | {cost:.1f} |")


def milliseconds(work: Callable[[Variant], object], variant: Variant) -> float:
    """Median CPU time of work on a picture that nothing has seen, after a first time."""
    work(variant)
    seconds = []
    for _ in range(REPEATS):
        new = Variant(image=variant.image.copy(), visibility=variant.visibility)
        started = time.process_time()
        work(new)
        seconds.append(time.process_time() - started)
    return 1000 * float(np.median(seconds))


if __name__ == "__main__":
    main()
