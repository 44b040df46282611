"""The leakage guard: what is on both sides is found and named, and nothing else is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.io.images import decode_jpeg, encode_jpeg, resize_image
from nightrain.datasets.protocols.leakage import (
    FrameSet,
    SceneIdentity,
    find_overlaps,
    leakage_report,
    read_set,
    refs_set,
    require_disjoint,
)
from nightrain.datasets.protocols.perceptual_hash import (
    NEAR_DUPLICATE_BITS,
    near_pairs,
    perceptual_hash,
)
from nightrain.datasets.shards.manifest import Manifest
from support.synthetic import SyntheticSource, ingest_synthetic, picture


def scenes(*names: str, log: str = "", published: bool = False, source: str = "s") -> FrameSet:
    return FrameSet(
        scenes=frozenset(
            SceneIdentity(source=source, scene_id=name, log_id=log, published=published)
            for name in names
        )
    )


def pictures(prefix: str, images: Sequence[np.ndarray]) -> FrameSet:
    return FrameSet(
        frame_ids=tuple(f"{prefix}{i}" for i in range(len(images))),
        scene_of=("scene",) * len(images),
        hashes=np.array([perceptual_hash(image) for image in images]),
    )


def num_bits(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.unpackbits(a ^ b).sum())


def street(seed: int, size: tuple[int, int] = (320, 192)) -> np.ndarray:
    """A random picture (H, W, 3) with structure at all scales, as photographs have."""
    rng, image = np.random.default_rng(seed), np.zeros((192, 320, 3))
    for cells in (3, 6, 12, 24, 48):
        noise = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        image += 300 / cells * resize_image(noise, (320, 192))
    return resize_image(np.clip(128 + image, 0, 255).astype(np.uint8), size)


def test_changes_that_keep_a_picture_keep_its_hash() -> None:
    for seed in range(20):
        image = street(seed)
        original = perceptual_hash(image)
        noise = np.random.default_rng(seed).normal(0, 8, image.shape)
        for changed in (
            decode_jpeg(encode_jpeg(image, quality=30)),
            resize_image(image, (160, 96)),
            (image * 0.7).astype(np.uint8),
            np.clip(image + noise, 0, 255).astype(np.uint8),
        ):
            assert num_bits(original, perceptual_hash(changed)) <= NEAR_DUPLICATE_BITS


def test_other_pictures_differ_in_half_of_the_bits() -> None:
    hashes = [perceptual_hash(street(seed)) for seed in range(40)]
    bits = [num_bits(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert abs(np.mean(bits) - 128) < 2 and min(bits) > 90
    upside_down = perceptual_hash(street(0)[::-1])
    assert num_bits(hashes[0], upside_down) > NEAR_DUPLICATE_BITS


@pytest.mark.parametrize("max_bits", [0, 40, 118])
def test_all_near_pairs_are_found_across_blocks(
    max_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightrain.datasets.protocols.perceptual_hash.BLOCK", 7)
    rng = np.random.default_rng(max_bits)
    a, b = (rng.integers(0, 256, (n, 32), dtype=np.uint8) for n in (30, 23))
    b[22], b[3] = a[29], a[0] ^ np.eye(1, 32, 5, np.uint8)[0]
    slow = {
        (i, j, num_bits(a[i], b[j]))
        for i in range(30)
        for j in range(23)
        if num_bits(a[i], b[j]) <= max_bits
    }
    found = list(near_pairs(a, b, max_bits))
    assert set(found) == slow and len(found) == len(slow)
    assert (29, 22, 0) in slow and (max_bits == 0) != ((0, 3, 1) in slow)
    assert list(near_pairs(a[:0], b, max_bits)) == list(near_pairs(a, b[:0], max_bits)) == []


@pytest.mark.parametrize(
    ("train", "held_out", "kinds"),
    [
        (scenes("a", "b"), scenes("c"), []),
        (scenes("a"), scenes("a", "b"), ["scene"]),
        (scenes("a"), scenes("a", source="t"), []),
        (scenes("a", log="1"), scenes("b", log="1"), ["log"]),
        (scenes("a", "b", "c", log="1"), scenes("d", "e", log="1"), ["log"]),
        (scenes("a", log="1"), scenes("b", log="2"), []),
        (scenes("a", log="1"), scenes("a", log="1"), ["scene"]),
        (scenes("a", log="1"), scenes("a", log="2"), []),  # two worlds of other seeds
        (scenes("a", log="1"), scenes("a"), ["scene"]),  # read before logs were kept
        (scenes("a", log="1"), scenes("a", "b", log="1"), ["scene", "log"]),
        # Published splits may share a log, and a drive that is one scene; no cut-out scene.
        (scenes("a", log="1", published=True), scenes("b", log="1", published=True), []),
        (scenes("a", published=True), scenes("a", published=True), []),
        (scenes("a", log="1", published=True), scenes("a", log="1", published=True), ["scene"]),
        (scenes("a", log="1", published=True), scenes("b", log="1"), ["log"]),
        (scenes("a", published=True), scenes("a"), ["scene"]),
    ],
)
def test_scenes_and_logs_of_both_sides_are_refused(
    train: FrameSet, held_out: FrameSet, kinds: list[str]
) -> None:
    overlaps = find_overlaps(train, held_out)
    assert [o.kind for o in overlaps if not o.allowed] == kinds
    if kinds:
        with pytest.raises(InvalidRequest, match=rf"1 by {kinds[0]}.*held out"):
            require_disjoint(train, held_out)
    else:
        assert require_disjoint(train, held_out) == overlaps


def test_what_is_let_through_is_still_reported() -> None:
    train, held_out = scenes("a", log="1"), scenes("b", log="1")
    with pytest.raises(InvalidRequest, match="Pass --allow-shared-logs"):
        require_disjoint(train, held_out)
    (overlap,) = require_disjoint(train, held_out, allow_shared_logs=True)
    assert overlap.kind == "log" and overlap.allowed and "train: a" in str(overlap)
    assert [o.allowed for o in find_overlaps(scenes("a"), scenes("a"), allow_shared_logs=True)] == [
        ""
    ]
    published = [scenes(x, log="1", published=True) for x in "ab"]
    assert len(require_disjoint(*published)) == 1


def test_near_duplicates_across_the_border_are_refused_and_those_beside_it_are_not() -> None:
    images = [street(seed) for seed in range(6)]
    again = decode_jpeg(encode_jpeg(images[2], quality=40))
    train = pictures("t", [*images[:4], images[0]])  # two of one side are alike: no leak
    held_out = pictures("v", [images[5], again])
    (overlap,) = find_overlaps(train, held_out)
    assert overlap.train.startswith("t2") and overlap.held_out.startswith("v1")
    with pytest.raises(InvalidRequest, match=r"1 by near-duplicate.*t2.*v1.*of 256 bits"):
        require_disjoint(train, held_out)
    assert [o.kind for o in require_disjoint(train, held_out, allow_near_duplicates=True)] == [
        "near-duplicate"
    ]


def test_the_message_names_the_first_few() -> None:
    names = [f"scene-{i:02d}" for i in range(9)]
    with pytest.raises(InvalidRequest) as error:
        require_disjoint(scenes(*names), scenes(*names))
    text = str(error.value)
    assert "9 by scene" in text and "scene-02" in text and "scene-03" not in text


def test_the_same_frame_on_both_sides_is_one_overlap() -> None:
    images = [street(0), street(1)]
    (overlap,) = find_overlaps(pictures("t", images), pictures("t", images[:1]))
    assert overlap.kind == "frame" and overlap.train == "t0" and not overlap.allowed


class OneDrive(SyntheticSource):
    """Train and val frames of other scenes and other pictures, cut out of one log."""

    def ref(self, index: int) -> FrameRef:
        ref = super().ref(index)
        shift = 0 if self.split == "train" else 100
        return replace(
            ref,
            source_id=str(index + shift),
            scene_id=f"{self.split}-{index // 4}",
            log_id="the drive",
        )


def test_a_dataset_on_disk_is_read_back_by_split(tmp_path: Path) -> None:
    train_source, val_source = OneDrive(6), OneDrive(3, split="val")
    ingest_synthetic(tmp_path, train_source)
    ingest_synthetic(tmp_path, val_source)
    train, held_out = read_set(tmp_path, ("train",)), read_set(tmp_path, ("val", "test"))
    assert {(s.scene_id, s.log_id, s.published) for s in train.scenes} == {
        ("train-0", "the drive", False),
        ("train-1", "the drive", False),
    }
    assert train.frame_ids == tuple(r.frame_id for r in train_source.select("all"))
    expected = perceptual_hash(train_source.load(train_source.ref(5)).image.pixels())
    assert (train.hashes[5] == expected).all() and held_out.hashes.shape == (3, 32)
    assert [o.kind for o in find_overlaps(train, held_out)] == ["log"]
    listed = refs_set(val_source.select("all"), val_source.name, published=False)
    assert listed.scenes == held_out.scenes == read_set(tmp_path, ("val",), images=False).scenes

    report = leakage_report(train, held_out, find_overlaps(train, held_out))
    assert not report.disjoint and "1 by log" in report.statement
    nothing = leakage_report(train, FrameSet(), find_overlaps(train, FrameSet()))
    assert nothing.disjoint and "nothing to compare" in nothing.statement


def test_pictures_copied_between_datasets_are_found(tmp_path: Path) -> None:
    """Other names, other scenes, other logs, the same pictures: only their looks tell."""
    ingest_synthetic(tmp_path / "a", SyntheticSource(5, name="mine"))
    ingest_synthetic(tmp_path / "b", SyntheticSource(3, split="val", name="theirs"))
    train, held_out = read_set(tmp_path / "a", ("train",)), read_set(tmp_path / "b", ("val",))
    overlaps = find_overlaps(train, held_out)
    assert [(o.kind, o.bits) for o in overlaps] == [("near-duplicate", 0)] * 3
    assert num_bits(perceptual_hash(picture(0)), perceptual_hash(picture(1))) > NEAR_DUPLICATE_BITS


def test_scenes_are_read_from_rows_where_the_entry_does_not_name_them(tmp_path: Path) -> None:
    from nightrain.datasets.protocols.leakage import LOG_OF_SCENE, scenes_of

    ingest_synthetic(tmp_path, OneDrive(6))
    manifest = Manifest(tmp_path)
    entry = manifest.entries("frames")[0]
    about = {key: value for key, value in entry.about.items() if key != LOG_OF_SCENE}
    old = entry.model_copy(update={"about": about})
    assert {(s.scene_id, s.log_id) for s in scenes_of(manifest, old)} == {("train-0", "")}
