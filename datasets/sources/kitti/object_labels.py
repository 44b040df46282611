"""Labels of KITTI's object benchmark: boxes in an image, counted by plain name."""

from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.nuscenes.objects import LEAST_IMAGE_SHARE, count_names

MAX_LABEL_BYTES = 1 << 20
LARGELY_OCCLUDED = 2  # of 0 (visible), 1 (partly), 2 (largely) and 3 (unknown)
PLAIN_NAMES = {
    "Car": "car",
    "Van": "van",
    "Truck": "truck",
    "Pedestrian": "pedestrian",
    "Person_sitting": "sitting person",
    "Cyclist": "cyclist",
    "Tram": "tram",
}


def read_objects(files: Files, name: str, size: tuple[int, int]) -> dict[str, int] | None:
    """Count the objects of an image of (width, height); None without labels or if damaged.

    Left out are largely occluded objects, those below 1/2000 of the image, and the classes Misc and
    DontCare.
    """
    try:
        lines = files.read_or_empty(name, MAX_LABEL_BYTES).decode().splitlines()
        boxes = [_box(line.split()) for line in lines if line.strip()]
    except (DamagedInput, ValueError):
        return None
    least_px = LEAST_IMAGE_SHARE * size[0] * size[1]
    return count_names(
        PLAIN_NAMES[kind]
        for kind, occlusion, area_px in boxes
        if kind in PLAIN_NAMES and occlusion != LARGELY_OCCLUDED and area_px >= least_px
    )


def _box(words: list[str]) -> tuple[str, int, float]:
    """Class, occlusion and area in pixels; raises ValueError."""
    if len(words) not in (15, 16):  # the last is a detector's score
        raise ValueError(f"found {len(words)} values, expected 15")
    left, top, right, bottom = map(float, words[4:8])
    return words[0], int(float(words[2])), max(0.0, right - left) * max(0.0, bottom - top)
