"""Translated images under the names of their clear frames, at the size that md4all trains with."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.images import decode_jpeg, encode_jpeg, resize_image
from nightrain.datasets.io.marks import marked, read_mark
from nightrain.datasets.shards.manifest import FRAMES
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.pipelines.export import md4all
from nightrain.pipelines.export.job import ExportDatasetJob, ExportReport
from nightrain.pipelines.export.run import export_dataset
from nightrain.pipelines.runs.stop import Stop
from support.sources import nuscenes
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic, recipe
from support.training import add_variants


def export(root: Path, out: Path, **options: Any) -> ExportReport:
    fields = {"dataset": root, "to": "md4all", "out": out, "split": "all"} | options
    return export_dataset(ExportDatasetJob.model_validate(fields), Stop())


def pictures(out: Path) -> dict[str, np.ndarray]:
    return {
        str(path.relative_to(out)): cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for path in out.rglob("*")
        if path.suffix in (".jpg", ".png")
    }


@pytest.fixture
def source(tmp_path: Path) -> nuscenes.NuScenesFolder:
    return nuscenes.build(tmp_path / "nuscenes")


@pytest.fixture
def root(tmp_path: Path, source: nuscenes.NuScenesFolder) -> Path:
    """Clear frames of nuScenes with two variants each at night."""
    root = tmp_path / "dataset"
    ingest_synthetic(root, NuScenesConfig(root=source.root, cameras=("CAM_FRONT",)).open())
    add_variants(root, recipe(Condition.NIGHT, depth="lidar", variants_per_frame=2))
    return root


def test_nuscenes_names_and_md4alls_size(
    root: Path, source: nuscenes.NuScenesFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(md4all, "_version", lambda dataset: nuscenes.VERSION)
    report = export(root, tmp_path / "out", source=source.root)
    tokens = {row["source_id"] for row in all_rows(root, "variants").values()}
    names = {source.record("sample_data", token)["filename"] for token in tokens}
    found = pictures(tmp_path / "out")
    assert found.keys() == {f"night/{name}" for name in names} and len(names) > 2
    assert {image.shape for image in found.values()} == {(320, 576, 3)}
    assert report.left_out == {md4all.FURTHER_VARIANT: len(names)}
    rows = [json.loads(line) for line in (tmp_path / "out/metadata.jsonl").read_text().splitlines()]
    assert len(rows) == len(names)
    for row in rows:  # as one thread makes it
        data = all_rows(root, "variants")[row["sample_id"]]["image"]["bytes"]
        expected = encode_jpeg(resize_image(decode_jpeg(data), md4all.NUSCENES_SIZE))
        mark = read_mark(data)
        assert mark is not None
        assert (tmp_path / "out" / row["file_name"]).read_bytes() == marked(expected, mark)


def test_pictures_of_the_right_size_keep_their_bytes(
    root: Path, source: nuscenes.NuScenesFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(md4all, "_version", lambda dataset: nuscenes.VERSION)
    made = {row["image"]["bytes"] for row in all_rows(root, "variants").values()}
    (size,) = {decode_jpeg(data).shape[1::-1] for data in made}
    export(root, tmp_path / "out", source=source.root, size=size)
    assert {path.read_bytes() for path in (tmp_path / "out/night").rglob("*.jpg")} < made


def test_names_of_robotcar(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=5, name="robotcar"))
    add_variants(root, recipe(Condition.NIGHT))
    export(root, tmp_path / "out")
    rows = all_rows(root, FRAMES).values()
    found = pictures(tmp_path / "out")
    assert found.keys() == {
        f"night/{row['scene_id']}/stereo/left/{row['timestamp_us']}.png" for row in rows
    }
    assert {image.shape for image in found.values()} == {(320, 544, 3)}
    files = list((tmp_path / "out/night").rglob("*.png"))
    assert files and all(read_mark(path.read_bytes()) for path in files)


def test_what_md4all_cannot_read_is_refused(
    root: Path, source: nuscenes.NuScenesFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidRequest, match="with --source"):
        export(root, tmp_path / "out")
    add_variants(root, recipe(Condition.NIGHT, name="second", depth="lidar", seed=4))
    with pytest.raises(InvalidRequest, match=r"the same file names. Choose one with --recipe"):
        export(root, tmp_path / "out", source=source.root)
    monkeypatch.setattr(md4all, "_names", lambda *args: {})
    with pytest.raises(InvalidRequest, match="--source has no image"):
        export(root, tmp_path / "out", source=source.root, recipe=("second",))
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=2))
    add_variants(other, recipe(Condition.NIGHT))
    with pytest.raises(InvalidRequest, match="frames of synthetic; md4all reads"):
        export(other, tmp_path / "out2")


def test_a_file_name_that_leads_out_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Anywhere(dict[str, str]):
        def get(self, *args: Any) -> str:
            return "../../outside.jpg"

    monkeypatch.setattr(md4all, "_names", lambda *args: Anywhere())
    with pytest.raises(DamagedInput, match="the file name"):
        export(root, tmp_path / "out", source=tmp_path)
    assert not list(tmp_path.rglob("outside*"))
