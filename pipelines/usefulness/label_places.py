"""Places of the labels of points in a figure: no label covers another one or a point."""

from collections.abc import Sequence
from typing import NamedTuple

CHARACTER, HEIGHT, RADIUS = 6.6, 12.0, 5.0  # pixels of 12 px text, and of a point
OFFSETS = ((7.0, 4.0, "start"), (-7.0, 4.0, "end"), (0.0, -8.0, "middle"), (0.0, 17.0, "middle"))
SHARE_BEFORE = {"start": 0.0, "middle": 0.5, "end": 1.0}


class LabelPlace(NamedTuple):
    """Anchor of a label's text: its baseline's start, middle or end."""

    x: float
    y: float
    anchor: str


Box = tuple[float, float, float, float]  # left, top, right, bottom


def label_places(
    names: Sequence[str], points: Sequence[tuple[float, float]], frame: Box
) -> list[LabelPlace]:
    """Place each label right, left, above or below its point: the first place that is free.

    Free is what lies within the frame and covers no other point and no earlier label. Where no
    place is free, the label is to the right.
    """
    dots = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in points]
    taken, found = list[Box](), list[LabelPlace]()
    for number, (name, (x, y)) in enumerate(zip(names, points, strict=True)):
        others = taken + dots[:number] + dots[number + 1 :]
        places = [LabelPlace(x + dx, y + dy, anchor) for dx, dy, anchor in OFFSETS]
        free = (
            place
            for place in places
            if _within(_box(place, name), frame)
            and not any(_overlap(_box(place, name), other) for other in others)
        )
        found.append(next(free, places[0]))
        taken.append(_box(found[-1], name))
    return found


def _box(place: LabelPlace, name: str) -> Box:
    width = CHARACTER * len(name)
    left = place.x - SHARE_BEFORE[place.anchor] * width
    return left, place.y - 0.8 * HEIGHT, left + width, place.y + 0.2 * HEIGHT


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
