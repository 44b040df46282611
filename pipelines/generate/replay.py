"""Replay: generate a committed variant again and compare it with the stored one."""

from pathlib import Path

import numpy as np
from pydantic import BaseModel

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import GENERATION_COLUMNS
from nightrain.datasets.shards.transaction import Rejected
from nightrain.pipelines.generate.batch import generate_batch, library_builds
from nightrain.pipelines.generate.conditioning import read_captions
from nightrain.pipelines.generate.requests import plan_requests
from nightrain.pipelines.recipes.recipe import Recipe

REPLAY_COLUMNS = ("sample_id", "frame_id", "condition", "image", "builds", "device", "batch_size")


class Replay(BaseModel):
    """Comparison of a replayed variant with the stored one."""

    sample_id: str
    recipe: str
    identical: bool  # byte for byte
    psnr_db: float | None = None  # of the decoded images; None if the bytes are equal
    differences: list[str] = []  # changes of engine, libraries, device or batch size since then
    failed: str = ""  # reason why it could not be generated


def replay(root: Path, sample_id: str) -> Replay:
    """Generate one variant again with the recipe that its shard records; nothing is written.

    Raises InvalidRequest if no committed variant has that id or its weights are missing,
    CorruptShard.
    """
    manifest = Manifest(root)
    entry, row = _find(manifest, sample_id)
    recipe = Recipe.from_settings(entry.about["recipe_json"])
    ((condition, before),) = recipe.engine_versions.items()
    replayed = _generate(manifest, entry, row, recipe)
    report = Replay(sample_id=sample_id, recipe=recipe.folder_of(condition), identical=False)
    version = recipe.engine.version(condition)
    builds = library_builds(recipe.engine.libraries)
    if version != before:
        report.differences.append(f"engine: was {before}, is {version}")
    if builds != row["builds"]:
        report.differences.append(f"libraries: were {row['builds']}; are {builds}")
    if isinstance(replayed, Rejected):
        report.failed = str(replayed.row["message"])
        return report
    if replayed["device"] != row["device"]:
        report.differences.append(f"device: was {row['device']}, is {replayed['device']}")
    if replayed["batch_size"] != row["batch_size"]:
        report.differences.append(f"batch: was {row['batch_size']}, is {replayed['batch_size']}")
    before, after = row["image"]["bytes"], replayed["image"]["bytes"]
    report.identical = before == after
    report.psnr_db = None if report.identical else psnr_db(decode_jpeg(before), decode_jpeg(after))
    return report


def psnr_db(a: np.ndarray, b: np.ndarray) -> float | None:
    """Peak signal-to-noise ratio of two (H, W, 3) uint8 images, in decibels; None if equal."""
    if a.shape != b.shape:
        return 0.0
    mean_square = float(((a.astype(np.float64) - b) ** 2).mean())
    return None if mean_square == 0 else float(10 * np.log10(255**2 / mean_square))


def _find(manifest: Manifest, sample_id: str) -> tuple[Entry, Row]:
    for table in manifest.tables("variants"):
        for entry in manifest.entries(table):
            ids = manifest.reader(entry.rows).table(["sample_id"]).column(0).to_pylist()
            if sample_id in ids:
                rows = manifest.reader(entry.rows).rows(REPLAY_COLUMNS)
                return entry, next(row for row in rows if row["sample_id"] == sample_id)
    raise InvalidRequest(
        f"{manifest.root} has no committed variant {sample_id!r:.80}. The column sample_id of a "
        "variants shard lists them."
    )


def _generate(manifest: Manifest, entry: Entry, row: Row, recipe: Recipe) -> Row | Rejected:
    frames = manifest.entry(Shard(table=FRAMES, number=entry.shard.number))
    if frames is None:
        raise CorruptShard(
            f"{entry.shard.name}: its frames shard {FRAMES}/{entry.shard.number:05d} is missing. "
            "Ingest the frames again."
        )
    condition = Condition(row["condition"])
    captions = read_captions(manifest, frames.shard, recipe)
    rows = manifest.reader(frames.rows).rows(GENERATION_COLUMNS)
    wanted = [r for r in rows if r["frame_id"] == row["frame_id"]]
    planned = plan_requests(wanted, recipe, condition, captions)
    one = next((p for p in planned if p.sample_id == row["sample_id"]), None)
    if one is None:
        raise CorruptShard(
            f"{entry.shard.name} holds {row['sample_id']}, which its recipe and "
            "frames do not produce. Run `nightrain verify`."
        )
    # Uses the stored batch size, not the one that a run would pin on this machine.
    return generate_batch([one], {}, recipe, condition, batch_size=row["batch_size"])[0]
