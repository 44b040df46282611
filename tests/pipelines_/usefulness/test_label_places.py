"""Labels beside points hide neither each other nor a point."""

import itertools

import numpy as np
import pytest

from nightrain.pipelines.usefulness.label_places import (
    LabelPlace,
    _box,
    _overlap,
    label_places,
)

FRAME = (0.0, 0.0, 400.0, 400.0)


def test_a_lonely_label_is_to_the_right_or_within_the_frame() -> None:
    assert label_places(["clear"], [(100, 100)], FRAME) == [LabelPlace(107, 104, "start")]
    (place,) = label_places(["true-adverse"], [(380, 100)], FRAME)
    assert place.anchor == "end"


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_close_points_do_not_overlap(seed: int) -> None:
    """Pairs of points a few pixels apart, far from other pairs."""
    rng = np.random.default_rng(seed)
    points, names = [], []
    for x, y in itertools.product((100, 290), (60, 160, 260, 350)):
        for name in ("clear", "clear-double"):
            points.append((x + rng.uniform(-8, 8), y + rng.uniform(-8, 8)))
            names.append(name)
    places = label_places(names, points, FRAME)
    boxes = [_box(place, name) for place, name in zip(places, names, strict=True)]
    assert not any(_overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    for number, (x, y) in enumerate(points):
        dot = (x - 3, y - 3, x + 3, y + 3)
        assert not any(_overlap(box, dot) for k, box in enumerate(boxes) if k != number)
