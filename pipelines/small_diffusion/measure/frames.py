"""Frames of a measurement: held-out shots under every condition, and views to fit judges on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import CONDITIONS as PROPERTIES
from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.small_diffusion.data.captions import CLEAR_PHRASES, without_phrase
from nightrain.pipelines.small_diffusion.data.views import (
    CONDITIONS,
    NUM_HELD_OUT,
    Views,
    place_file,
    read_places,
)

FITTED_PLACES = 60  # training places that the judges are fitted on
LEAST_FITTED_PLACES, LEAST_HELD_OUT = 4, 4
LEAST_DEPTH = 0.02  # relative inverse depth; the sky and all that is farther count as this


@dataclass(frozen=True, slots=True)
class Frames:
    """Shots of held-out places; consecutive shots are of different places."""

    images: np.ndarray  # (C, N, H, W, 3) uint8, in the order of views.CONDITIONS
    controls: np.ndarray  # (N, H, W) uint8
    captions: tuple[str, ...]  # N
    places: np.ndarray  # (N,)
    shots: np.ndarray  # (N,) number among the place's shots

    def __len__(self) -> int:
        return len(self.places)

    def true(self, condition: Condition) -> np.ndarray:
        """Rendered images (N, H, W, 3) under a condition."""
        return self.images[CONDITIONS.index(condition)]

    def prompt(self, number: int, condition: Condition | None) -> str:
        """Prompt of a shot: the condition's standard phrase and the caption."""
        caption = self.captions[number]
        return caption if condition is None else f"{standard_phrase(condition)}, {caption}"


def standard_phrase(condition: Condition) -> str:
    """Phrase that a prompt starts with."""
    return CLEAR_PHRASES[0] if condition is Condition.CLEAR else PROPERTIES[condition].phrases[0]


def read_frames(folder: Path) -> Frames:
    """Read the held-out places; raises InvalidRequest if there are too few."""
    return frames_of(list(read_places(folder, held_out=True, seen=set())), folder)


def frames_of(places: list[Views], folder: Path) -> Frames:
    """Arrange the views of places by shot, then by place."""
    _require(len(places), LEAST_HELD_OUT, "held-out places", folder)
    count = len(CONDITIONS)
    images = np.stack([v.image.reshape(count, -1, *v.image.shape[1:]) for v in places], 2)
    num_shots = images.shape[1]
    controls = np.stack([v.control[:num_shots] for v in places], 1)
    return Frames(
        images=images.reshape(count, -1, *images.shape[3:]),
        controls=controls.reshape(-1, *controls.shape[2:]),
        captions=tuple(
            without_phrase([str(text) for text in v.prompts[k]])
            for k in range(num_shots)
            for v in places
        ),
        places=np.tile([int(v.group[0]) // count for v in places], num_shots),
        shots=np.repeat(np.arange(num_shots), len(places)),
    )


def fitted_files(folder: Path) -> list[Path]:
    """Files of the training places that the judges are fitted on; raises InvalidRequest."""
    numbers = range(NUM_HELD_OUT, NUM_HELD_OUT + FITTED_PLACES)
    found = [path for n in numbers if (path := place_file(folder, n)).is_file()]
    _require(len(found), LEAST_FITTED_PLACES, "training places", folder)
    return found


def read_fitted(folder: Path) -> Views:
    """Read the views of the training places that the judges are fitted on."""
    files = fitted_files(folder)
    unused = read_places(folder, held_out=False, seen=set())
    places = [v for _, v in zip(files, unused, strict=False)]
    names = Views.__slots__
    return Views(*(np.concatenate([getattr(v, name) for v in places]) for name in names))


def log_inverse_depth(controls: np.ndarray) -> np.ndarray:
    """Logarithm (N, H/2, W/2) float32 of relative inverse depth, from controls (N, H, W) uint8."""
    count, height, width = controls.shape
    halves = controls.reshape(count, height // 2, 2, width // 2, 2).mean((2, 4)) / 255
    return np.log(halves + LEAST_DEPTH).astype(np.float32)


def _require(found: int, least: int, what: str, folder: Path) -> None:
    if found < least:
        raise InvalidRequest(
            f"{folder} holds {found} {what}; at least {least} are needed. Pass --places "
            f"{NUM_HELD_OUT + FITTED_PLACES} to render what is missing."
        )
