import codecs
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightrain.datasets.errors import BrokenSource, Reason
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from support.sources import nuscenes as fixture
from support.sources.nuscenes import NuScenesFolder, failures


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> NuScenesFolder:
    return fixture.build(tmp_path_factory.mktemp("nuscenes"), scenes=fixture.SCENES[:2])


@pytest.fixture
def folder(pristine: NuScenesFolder, tmp_path: Path) -> NuScenesFolder:
    """A copy to damage."""
    shutil.copytree(pristine.root, tmp_path / "data")
    tables = fixture.build(tmp_path / "again", scenes=fixture.SCENES[:2]).tables
    return NuScenesFolder(tmp_path / "data", tables=tables)


# ---------------------------------------------------------------- sources broken as a whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"{not json", "sample.json"),
        (b'{"token": "x"}', "expected a list"),
        (b"[" * 100_000, "sample.json"),
        (b"\xff\xfe\x00", "sample.json"),
        (b"[1" + b"0" * 5000 + b"]", "sample.json"),
    ],
)
def test_a_table_that_is_none_breaks_the_source(
    folder: NuScenesFolder, content: bytes, message: str
) -> None:
    (folder.root / folder.version / "sample.json").write_bytes(content)
    with pytest.raises(BrokenSource, match=message):
        NuScenesSource(NuScenesConfig(root=folder.root, version=folder.version))


def test_missing_tables_are_named(folder: NuScenesFolder) -> None:
    for table in ("ego_pose", "scene"):
        (folder.root / folder.version / f"{table}.json").unlink()
    with pytest.raises(BrokenSource, match=r"lacks ego_pose.json, scene.json"):
        NuScenesSource(NuScenesConfig(root=folder.root, version=folder.version))


def frames(folder: NuScenesFolder) -> list[tuple[FrameRef, float]]:
    """Every listed frame, and the sum of its depth."""
    source = NuScenesSource(NuScenesConfig(root=folder.root, version=folder.version))
    depths = [(ref, source.load(ref).lidar_depth_m) for ref in source.select("all")]
    assert depths
    return [(ref, float(depth_m.sum())) for ref, depth_m in depths if depth_m is not None]


def test_depth_needs_neither_maps_nor_annotations(folder: NuScenesFolder) -> None:
    before = frames(folder)
    folder.tables["map"][0]["filename"] = "../outside.png"
    folder.write_tables()
    (folder.root / folder.version / "sample_annotation.json").write_text("{not json")
    assert frames(folder) == before
    shutil.rmtree(folder.root / "maps")
    for table in ("map", "category", "attribute", "visibility", "instance", "sample_annotation"):
        (folder.root / folder.version / f"{table}.json").unlink()
    assert frames(folder) == before and {ref.log_id for ref, _ in before} == {"n015"}
    (folder.root / folder.version / "log.json").unlink()
    assert {ref.log_id for ref, _ in frames(folder)} == {"log-0"}  # the scenes' tokens


def test_tables_written_on_windows_are_read(folder: NuScenesFolder) -> None:
    before = frames(folder)
    for record in folder.tables["sample_data"]:
        record["filename"] = record["filename"].replace("/", "\\")
    for table, records in folder.tables.items():
        text = json.dumps(records, indent=1).replace("\n", "\r\n")
        (folder.root / folder.version / f"{table}.json").write_bytes(
            codecs.BOM_UTF8 + text.encode()
        )
    splits = {"val": [fixture.SCENES[0].name]}
    (folder.root / folder.version / "splits.json").write_bytes(
        codecs.BOM_UTF8 + json.dumps(splits, indent=1).replace("\n", "\r\n").encode()
    )
    after = frames(folder)
    assert [depth for _, depth in after] == [depth for _, depth in before]
    assert {ref.split for ref, _ in after if ref.scene_id == fixture.SCENES[0].name} == {"val"}


@pytest.mark.parametrize("version", ["", ".", "..", "../data", "v1.0-none", "/etc", "samples/x"])
def test_a_version_is_a_plain_folder_inside(folder: NuScenesFolder, version: str) -> None:
    with pytest.raises(BrokenSource, match=r"found versions: .'v1.0-trainval'."):
        NuScenesSource(NuScenesConfig(root=folder.root, version=version))


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenSource, match="there is no folder"):
        NuScenesSource(NuScenesConfig(root=tmp_path / "nowhere", version="v1.0-mini"))


# ---------------------------------------------------------------- nothing outside is opened


class OpenedFiles:
    """Every path that Python opens while it listens (an audit hook cannot be taken away)."""

    def __init__(self) -> None:
        self.paths: list[str] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and self.paths is not None and not isinstance(arguments[0], int):
            self.paths.append(os.path.realpath(os.fsdecode(arguments[0])))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def opened() -> OpenedFiles:
    return OpenedFiles()


@pytest.fixture
def hostile(folder: NuScenesFolder, tmp_path: Path) -> Iterator[NuScenesFolder]:
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in ("x.jpg", "x.pcd.bin", "sample.json"):
        (secret / name).write_bytes(b"secret")
    (folder.root / "samples" / "escape").symlink_to(secret)
    (folder.root / "samples" / "self").symlink_to("self")
    os.mkfifo(folder.root / "samples" / "fifo")
    for name in ("lidarseg", "panoptic", "image_annotations"):  # what the devkit looks for
        (folder.root / folder.version / f"{name}.json").symlink_to(secret / "sample.json")
    names = ["../secret/x.jpg", str(secret / "x.jpg"), "samples/escape/x.jpg", "samples/self"]
    names += ["samples/fifo", "samples/\0x", "samples/../../secret/x.jpg", "ß" * 200, "\udcff"]
    lines = [r for r in folder.tables["sample_data"] if r["is_key_frame"]]
    for record, name in zip(lines, names * 9, strict=False):
        record["filename"] = name
    folder.write_tables()
    yield folder


def test_no_hostile_name_opens_a_file_outside(hostile: NuScenesFolder, opened: OpenedFiles) -> None:
    NuScenesSource(
        NuScenesConfig(root=hostile.root, version=hostile.version)
    )  # imports what is imported late
    opened.paths = []
    try:
        failed = failures(
            NuScenesSource(NuScenesConfig(root=hostile.root, version=hostile.version))
        )
        paths = opened.paths
    finally:
        opened.paths = None
    assert len(failed) == 2 * 2 * 3 and set(failed.values()) == {Reason.UNSAFE_PATH}
    allowed = (str(hostile.root), sys.prefix, sys.base_prefix)
    assert [p for p in paths if not p.startswith(allowed)] == []
    assert any(p.startswith(str(hostile.root)) for p in paths)


@pytest.mark.parametrize("table", ["sample", "sample_data", "splits"])
def test_a_table_that_leads_out_breaks_the_source(
    folder: NuScenesFolder, tmp_path: Path, table: str
) -> None:
    path = folder.root / folder.version / f"{table}.json"
    path.unlink(missing_ok=True)
    (tmp_path / "outside.json").write_text("[]")
    path.symlink_to(tmp_path / "outside.json")
    link = rf"resolves to a path outside .*{table}\.json is a symlink to .*outside\.json"
    with pytest.raises(BrokenSource, match=f"{link}.*--allow-root"):
        NuScenesSource(NuScenesConfig(root=folder.root, version=folder.version))


def test_a_table_that_is_a_fifo_breaks_the_source(folder: NuScenesFolder) -> None:
    path = folder.root / folder.version / "scene.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BrokenSource, match="not a regular file"):
        NuScenesSource(NuScenesConfig(root=folder.root, version=folder.version))
