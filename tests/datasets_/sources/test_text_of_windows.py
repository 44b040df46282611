"""Lists, tables and calibrations saved on Windows: byte order marks, CRLF and backslashes."""

import codecs
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.frame import Frame
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.kitti.source import KittiSource
from support.sources import kitti, robotcar
from support.sources.robotcar import DAY, NIGHT, time_us


def utf8(text: str) -> bytes:
    return codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode()


def utf16(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-16")


def save_again(folder: Path, pattern: str, save: Callable[[str], bytes]) -> None:
    paths = sorted(folder.rglob(pattern))
    assert paths
    for path in paths:
        path.write_bytes(save(path.read_text()))


def frames(source: FrameSource) -> list[Frame]:
    return [source.load(ref) for ref in source.select("all")]


def assert_equal(before: list[Frame], after: list[Frame]) -> None:
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert (one.frame_id, one.split, one.timestamp_us) == (
            other.frame_id,
            other.split,
            other.timestamp_us,
        )
        np.testing.assert_array_equal(one.intrinsics, other.intrinsics)
        np.testing.assert_array_equal(one.T_world_camera, other.T_world_camera)
        assert (one.next is None) == (other.next is None)


@pytest.mark.parametrize("save", [utf8, utf16])
def test_kitti_is_read(tmp_path: Path, save: Callable[[str], bytes]) -> None:
    folder = kitti.build(tmp_path / "kitti")
    lists = tmp_path / "lists"
    lists.mkdir()
    drive = f"{kitti.DATE}/{kitti.DRIVE}"
    (lists / "train_files.txt").write_text(f"{drive} 1 l\n{drive} 2 l\n")
    (lists / "test_files.txt").write_text(f"{drive}/image_02/data/0000000003.png None 721.5\n")
    config = KittiConfig(root=folder, split_files=lists)
    before = frames(KittiSource(config))
    assert {frame.split for frame in before} == {"train", "test", "none"}
    save_again(tmp_path, "*.txt", lambda text: save(text.replace("/", "\\")))
    assert_equal(before, frames(KittiSource(config)))


@pytest.mark.parametrize("save", [utf8, utf16])
def test_robotcar_is_read(tmp_path: Path, save: Callable[[str], bytes]) -> None:
    robotcar.build_plain(tmp_path)
    splits = tmp_path / "splits"
    splits.mkdir()
    triplet = " ".join(str(time_us(step)) for step in (1, 2, 3))
    (splits / f"{DAY}_train_stride_1.txt").write_text(f"{triplet}\n")
    (splits / f"{NIGHT}_test.txt").write_text(f"{time_us(2)} 4\n")
    before = frames(robotcar.source(tmp_path, splits=splits))
    assert len(before) == 2 and before[0].next is not None
    for pattern in ("*.txt", "*.yaml", "*.csv", "*.timestamps"):
        save_again(tmp_path, pattern, save)
    assert_equal(before, frames(robotcar.source(tmp_path, splits=splits)))
    assert len(frames(robotcar.source(tmp_path))) == 10  # listed by stereo.timestamps
