"""Recipes with `depth: completed`: stored maps, equal bytes on replay, the road as a fallback."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.shards.manifest import Manifest
from nightrain.pipelines.controls.completed import completed_depth
from nightrain.pipelines.controls.load_source import load_depth_source
from nightrain.pipelines.controls.settings import ControlDepth
from nightrain.pipelines.generate.prepare import prepare_frame
from nightrain.pipelines.generate.replay import replay
from nightrain.pipelines.recipes.recipe_file import load_recipe
from support.synthetic import INTRINSICS, SyntheticSource, all_rows, ingest_synthetic
from support.tiny_diffusion import make

NAME = load_depth_source(ControlDepth(source="completed")).name


@dataclass(frozen=True)
class SparseSource(SyntheticSource):
    """The synthetic frames with the returns of a few rings; `blind` ones have no LiDAR."""

    blind: frozenset[int] = frozenset()

    def load(self, ref: FrameRef) -> Frame:
        frame = super().load(ref)
        sparse_m = np.zeros_like(frame.lidar_depth_m)
        assert frame.lidar_depth_m is not None
        sparse_m[23::3] = frame.lidar_depth_m[23::3]
        lidar_m = None if int(ref.source_id) in self.blind else sparse_m
        mounted = np.eye(4)
        mounted[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
        mounted[2, 3] = 1.5
        return replace(frame, lidar_depth_m=lidar_m, T_ego_camera=mounted)


def written(folder: Path, **changes: object) -> Path:
    values = {"name": "filled", "depth": "completed", "conditions": {"fog": {}}}
    (folder / "recipe.yaml").write_text(json.dumps(values | changes))
    return folder / "recipe.yaml"


def test_variants_are_made_from_stored_maps_and_replayed_to_equal_bytes(tmp_path: Path) -> None:
    ingest_synthetic(root := tmp_path / "dataset", SparseSource(3))
    report = make(root, path := written(tmp_path))
    (table,) = Manifest(root).tables("controls/")
    assert table.startswith("controls/completed-") and report.inputs[table].num_rows == 3
    rows = all_rows(root)
    assert len(rows) == 3 and {row["depth_source"] for row in rows.values()} == {NAME}
    for sample_id in rows:
        assert replay(root, sample_id).identical
    recipe = load_recipe(str(path))
    assert recipe.depth_version == NAME and NAME in recipe.settings_of(
        next(iter(recipe.conditions))
    )


def test_frames_without_lidar_are_quarantined_or_take_the_road(tmp_path: Path) -> None:
    source = SparseSource(3, blind=frozenset({1}))
    ingest_synthetic(root := tmp_path / "dataset", source)
    report = make(root, written(tmp_path), max_quarantined=1.0)
    assert len(all_rows(root)) == 2 and report.num_quarantined == 1
    ingest_synthetic(other := tmp_path / "other", source)
    make(other, written(tmp_path, without_depth="road-plane"), max_quarantined=1.0)
    sources = sorted(row["depth_source"] for row in all_rows(other).values())
    assert sources == [NAME, NAME, "road-plane"]


def test_a_dataset_without_lidar_is_refused_before_any_map(tmp_path: Path) -> None:
    ingest_synthetic(root := tmp_path / "dataset", SparseSource(2, blind=frozenset({0, 1})))
    with pytest.raises(InvalidRequest, match="None of the 2 frames has lidar depth"):
        make(root, written(tmp_path))
    assert not list(Manifest(root).tables("controls/"))


def test_a_prepared_frame_has_dense_depth_and_a_preview_needs_no_table(tmp_path: Path) -> None:
    source = SparseSource(1)
    frame = source.load(source.ref(0))
    prepared = prepare_frame(frame, load_recipe(str(written(tmp_path))))
    assert prepared.depth_m is not None and prepared.depth_m.shape == prepared.image.shape[:2]
    assert (prepared.depth_m > 0).all() and prepared.depth_source == NAME
    lowest = prepared.depth_m[30:, 20:44]
    expected = 1.5 * INTRINSICS[1, 1] / (np.arange(30, len(prepared.image)) - INTRINSICS[1, 2])
    assert np.median(np.abs(lowest / expected[:, None] - 1)) < 0.1
    blind = replace(frame, lidar_depth_m=None)
    with pytest.raises(DamagedInput) as refused:
        prepare_frame(blind, load_recipe(str(written(tmp_path))))
    assert refused.value.reason == Reason.NO_DEPTH


def test_sky_is_not_averaged_with_what_is_before_it() -> None:
    inverse = np.zeros((20, 30), np.float32)
    inverse[10:] = 0.1
    depth_m = completed_depth(inverse, (120, 80))
    assert np.isinf(depth_m[:36]).all()
    assert np.allclose(depth_m[np.isfinite(depth_m)], 10.0, rtol=1e-4)
    assert np.isfinite(depth_m[44:]).all()


def test_tiles_have_no_effect_on_completed_depth() -> None:
    with pytest.raises(ValueError, match="tile_grid has no effect on completed depth"):
        ControlDepth(source="completed", tile_grid=2)
