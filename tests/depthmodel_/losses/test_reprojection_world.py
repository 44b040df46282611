"""Images of the built-in world explain each other by true depth and poses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.datasets.frame import Frame
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.world.export.truth import image_file, read_instance
from nightrain.datasets.world.export.writer import VERSION, write_world
from nightrain.depthmodel.losses.reprojection import (
    Warped,
    min_reprojection,
    min_reprojection_error,
    warp,
)

SIZE = (192, 112)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Frame, np.ndarray]]:
    """Clear keyframes that have both neighbours, and whose pixels (H, W) are of what moves."""
    root: Path = tmp_path_factory.mktemp("worlds") / "world"
    write_world(root, scenes=1, frames=1, seed=3, size=SIZE, truth=("depth", "instance"))
    source = NuScenesSource(NuScenesConfig(root=root, version=VERSION))
    loaded = [source.load(ref) for ref in source.select("all")]
    return [
        (f, read_instance(root, image_file(f.scene_id, f.camera, f.timestamp_us)) > 0)
        for f in loaded
        if f.previous and f.next
    ]


def tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def warped(frame: Frame, factor: float) -> tuple[list[Tensor], list[Warped]]:
    """Neighbours, and as the frame's camera sees them if depth is `factor` times the truth."""
    assert frame.exact_depth_m is not None
    exact = torch.from_numpy(frame.exact_depth_m)[None, None]
    depth_m = torch.where(exact > 0, factor * exact, 200.0)
    neighbours = [n for n in (frame.previous, frame.next) if n is not None]
    sources = [tensor(n.image.pixels()) for n in neighbours]
    K = torch.from_numpy(frame.intrinsics)[None]
    views = [
        warp(
            source,
            depth_m,
            torch.from_numpy(n.T_neighbour_camera)[None],
            K,
            torch.from_numpy(n.intrinsics)[None],
        )
        for n, source in zip(neighbours, sources, strict=True)
    ]
    return sources, views


def test_true_depth_explains_the_neighbours_best(frames: list[tuple[Frame, np.ndarray]]) -> None:
    assert frames
    for frame, moving in frames:
        assert frame.exact_depth_m is not None
        target = tensor(frame.image.pixels())
        errors = {f: min_reprojection_error(target, warped(frame, f)[1]) for f in (0.7, 1.0, 1.4)}
        seen = torch.stack(list(errors.values())).isfinite().all(0)[0, 0].numpy()
        # where a wrong depth moves a pixel visibly, and there is something to see
        near = (frame.exact_depth_m > 0) & (frame.exact_depth_m < 25)
        chosen = seen & near & ~moving
        assert chosen.sum() > 4000
        true = errors[1.0][0, 0].numpy()[chosen]
        for factor in (0.7, 1.4):
            wrong = errors[factor][0, 0].numpy()[chosen]
            assert (true < wrong).mean() > 0.62, factor  # roads and walls are partly plain
            assert true.mean() < 0.85 * wrong.mean(), factor


def test_loss_falls_towards_the_true_scale(frames: list[tuple[Frame, np.ndarray]]) -> None:
    scales = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0)
    for frame, _ in frames:
        target = tensor(frame.image.pixels())
        losses = [
            min_reprojection(target, *warped(frame, scale), automask=False).loss.item()
            for scale in scales
        ]
        best = scales.index(1.0)
        assert losses[: best + 1] == sorted(losses[: best + 1], reverse=True)
        assert losses[best:] == sorted(losses[best:])
