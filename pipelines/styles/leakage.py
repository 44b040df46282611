"""Leakage of a style pool: no image prompt may be a frame of val or test scenes.

A variant takes colours and lights from its image prompt, so an image of a test night would reach
the training data through it.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import MAX_FILE_BYTES, decode_jpeg
from nightrain.datasets.io.regular import files_below
from nightrain.datasets.io.untrusted import read_bytes
from nightrain.datasets.protocols.leakage import FrameSet, SceneIdentity, scenes_of
from nightrain.datasets.protocols.perceptual_hash import NUM_BITS, perceptual_hash
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.parquet import read_scalars
from nightrain.datasets.splits import EVALUATION_SPLITS
from nightrain.pipelines.styles.make_pool import read_pool

SUFFIXES = (".jpg", ".jpeg")


def require_no_held_out_styles(manifest: Manifest, pool: Path) -> None:
    """Raise InvalidRequest if a pool holds an image of the dataset's val or test scenes.

    Compares the bytes of the images, and the scenes in the pool's record if it has one. Changed
    copies are found by `nightrain leakage --styles`.
    """
    images = dict(_held_out_images(manifest))
    for name, data in _pool_images(pool):
        frame_id = images.get(hashlib.sha256(data).hexdigest())
        if frame_id is not None:
            raise _leak(pool, name, f"frame {frame_id} of a val or test scene of {manifest.root}")
    record = read_pool(pool)
    if record is None:
        return
    held_out = {(scene.source, scene.scene_id) for scene in _held_out_scenes(manifest)}
    for image in record.images:
        if image.split in EVALUATION_SPLITS or (image.source, image.scene_id) in held_out:
            raise _leak(pool, image.name, f"of the val or test scene {image.scene_id}")


def style_set(pool: Path) -> FrameSet:
    """Images of a pool as frames of the train side of a split, for the leakage check.

    Raises DamagedInput for an image that cannot be decoded.
    """
    record = read_pool(pool)
    known = {} if record is None else {image.name: image for image in record.images}
    names, scene_of, hashes = [], [], []
    for name, data in _pool_images(pool):
        image = known.get(name)
        names.append(f"{pool}/{name}" if image is None else image.frame_id)
        scene_of.append("style pool" if image is None else image.scene_id)
        hashes.append(perceptual_hash(decode_jpeg(data)))
    return FrameSet(
        scenes=frozenset(
            SceneIdentity(source=image.source, scene_id=image.scene_id) for image in known.values()
        ),
        frame_ids=tuple(names),
        scene_of=tuple(scene_of),
        hashes=np.array(hashes, np.uint8).reshape(-1, NUM_BITS // 8),
    )


def _pool_images(pool: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each JPEG of a pool, in order."""
    for path in sorted(p for s in SUFFIXES for p in files_below(pool, s)):
        name = str(path.relative_to(pool))
        yield name, read_bytes(pool, name, MAX_FILE_BYTES)


def _held_out_images(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the digest and the frame id of each image of val and test scenes."""
    for entry in manifest.entries(FRAMES):
        if entry.about.get("split") in EVALUATION_SPLITS:
            path = manifest.root / entry.rows.path
            columns = read_scalars(path, ["image_sha256", "frame_id"]).to_pydict()
            yield from zip(columns["image_sha256"], columns["frame_id"], strict=True)


def _held_out_scenes(manifest: Manifest) -> Iterator[SceneIdentity]:
    for entry in manifest.entries(FRAMES):
        if entry.about.get("split") in EVALUATION_SPLITS:
            yield from scenes_of(manifest, entry)


def _leak(pool: Path, name: str, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"The style pool {pool} holds {name}, {what}: variants in its style would leak the "
        "evaluation into training. Make the pool from train frames with `nightrain styles`."
    )
