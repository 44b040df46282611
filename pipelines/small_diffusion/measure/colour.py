"""Colour statistics: mean and covariance in CIE Lab, and their movement toward a style picture."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from nightrain.pipelines.small_diffusion.data.views import CONDITIONS
from nightrain.pipelines.small_diffusion.measure.figures import Figure
from nightrain.pipelines.small_diffusion.measure.frames import Frames
from nightrain.pipelines.small_diffusion.measure.samples import SEED, Samples

NUM_SAMPLES = 64


def colour_statistics(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (3,) and covariance (3, 3) of an image (H, W, 3) uint8 in CIE Lab, L from 0 to 100."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    lab = lab.astype(np.float64)
    return lab.mean(0), np.cov(lab.T, bias=True)


def colour_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of the colour statistics of two images (Dowson and Landau 1982), in Lab."""
    (mean_a, cov_a), (mean_b, cov_b) = colour_statistics(a), colour_statistics(b)
    root = _square_root(cov_a)
    cross = np.linalg.eigvalsh(root @ cov_b @ root).clip(0)
    spread = np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(cross).sum()
    return float(np.sqrt(np.square(mean_a - mean_b).sum() + max(0.0, spread)))


def _square_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def style_figures(samples: Samples) -> Iterator[Figure]:
    """Colour distance to the style picture, with the IP-Adapter and without.

    The style picture is a view of another place under any condition, and the prompt names no
    condition.
    """
    frames = samples.frames
    count = min(NUM_SAMPLES, len(frames))
    drawings = [samples.drawing(n, None) for n in range(count)]
    chosen = [_style_of(frames, n) for n in range(count)]
    styles = [frames.images[c, n] for c, n in chosen]
    made = samples.styled(drawings, styles, 1.0)
    without = _distances(samples.styled(drawings, styles, 0.0), styles)
    distances = _distances(made, styles)
    twins = [frames.images[c, _twin(frames, n)] for c, n in chosen]
    seeds = f"{SEED} + frame"
    yield Figure(
        measure="style",
        name="colour distance to the style picture",
        value=float(distances.mean()),
        unit="Lab",
        goal=float(without.mean()),
        lower_is_better=True,
        references={
            "without adapter": float(without.mean()),
            "shuffled style": float(_distances(made, [*styles[1:], styles[0]]).mean()),
            "real-real: other view of the same drive": float(_distances(twins, styles).mean()),
        },
        samples=count,
        seeds=seeds,
    )
    yield Figure(
        measure="style",
        name="share of samples nearer with the adapter",
        value=float((distances < without).mean()),
        references={"constant": 0.5},
        samples=count,
        seeds=seeds,
    )


def _style_of(frames: Frames, number: int) -> tuple[int, int]:
    """Condition and frame of a style picture: another place, conditions in turn."""
    step = len(np.unique(frames.places)) // 2
    return number % len(CONDITIONS), (number + step) % len(frames)


def _twin(frames: Frames, number: int) -> int:
    """Frame of the same place with another shot."""
    same = (frames.places == frames.places[number]) & (frames.shots != frames.shots[number])
    return int(np.flatnonzero(same)[0])


def _distances(
    images: Sequence[np.ndarray] | np.ndarray, styles: Sequence[np.ndarray]
) -> np.ndarray:
    return np.array([colour_distance(a, b) for a, b in zip(images, styles, strict=True)])
