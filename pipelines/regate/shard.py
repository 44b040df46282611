"""Regated shards: the variants of a shard, judged by the limits of another recipe."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightrain.datasets.conditions import Condition
from nightrain.datasets.ids import sample_id
from nightrain.datasets.io.marks import remarked
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.reviews import Review, read_reviews
from nightrain.datasets.shards.rows import ref_from_row
from nightrain.datasets.shards.schema import VARIANTS
from nightrain.datasets.shards.transaction import (
    OnRows,
    Rejected,
    ShardReport,
    frames_behind,
    ignore_rows,
    make_shard,
)
from nightrain.pipelines.gates.apply import GateVerdict, judge
from nightrain.pipelines.gates.base import Rejection
from nightrain.pipelines.gates.rejected import PICTURES, accepted_row, reject
from nightrain.pipelines.generate.batch import mark_of
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.recipes.shard_facts import shard_facts
from nightrain.pipelines.runs.stop import interrupt_if_stopped


@dataclass(frozen=True)
class RegateShard:
    """Regates one shard from the shards of the same number of another table; picklable."""

    root: Path
    recipe: Recipe
    source: str  # table

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Judge the stored scores, and commit the accepted rows; raises CorruptShard, DiskFull."""
        manifest = Manifest(self.root)
        condition = Condition(shard.table.rpartition("/")[2])
        frames = frames_behind(manifest, shard, retry=0)
        about = shard_facts(self.recipe, condition, frames)

        def produce(kept: dict[str, Row]) -> Iterator[Row | Rejected]:
            entries = attempts(manifest, self.source, shard.number)
            reviews = read_reviews(self.root)
            found = {row["sample_id"]: row for row in _rows(manifest, entries)}
            ids = manifest.reader(frames.rows).table(["frame_id"]).column(0).to_pylist()
            before, now = entries[0].about["recipe_hash"], about["recipe_hash"]
            for frame in ids:
                interrupt_if_stopped()
                for index in range(self.recipe.variants_per_frame):
                    names = frame, str(condition)
                    old = sample_id(*names, before, index)
                    row, review = found.get(old), reviews.get(old)
                    name = sample_id(*names, now, index)
                    if row is not None:
                        yield kept.get(name) or self._judged(row, name, condition, review)

        return make_shard(manifest, shard, VARIANTS, about, produce, on_rows)

    def _judged(
        self, row: Row, name: str, condition: Condition, review: Review | None
    ) -> Row | Rejected:
        """A row of the source, accepted or quarantined, as a row of the recipe.

        A person's verdict counts more than the limits.
        """
        is_quarantined = "reason" in row
        if is_quarantined and row["variant"] is None:  # it failed, so there is no picture to judge
            return Rejected({**row, "sample_id": name})
        variant = accepted_row(row) if is_quarantined else row
        scores, recipe = json.loads(variant["gate_scores"]), self.recipe
        ours = {gate.name: scores[gate.name] for gate in recipe.gates if not gate.judges_all}
        severity = variant["severity"] or 0.0
        rejections = judge(recipe.gates, ours, condition, severity, recipe.gates_inverted)
        if review is not None:
            words = f"a person rejected it: {review.reason or 'no reason given'}"
            rejections = (Rejection("review", words),) if review.verdict == "reject" else ()
        verdict = GateVerdict(ours, rejections)
        variant["image"] = self._remarked(variant, condition)
        variant |= {
            "image_sha256": hashlib.sha256(variant["image"]["bytes"]).hexdigest(),
            "sample_id": name,
            "recipe": recipe.folder_of(condition),
            "recipe_hash": recipe.hash_of(condition),
            "gates": recipe.names_of_gates,
            "gate_scores": json.dumps(ours, sort_keys=True),
            **{picture: _renamed(variant[picture], name) for picture in PICTURES},
        }
        return reject(variant, ref_from_row(variant), verdict) if verdict.rejections else variant

    def _remarked(self, variant: Row, condition: Condition) -> dict[str, Any]:
        """Picture of a variant, with the mark of the recipe in the place of the source's."""
        hashes = variant["recipe_hash"], self.recipe.hash_of(condition)
        before, after = (mark_of(self.recipe, one, variant["licence"]) for one in hashes)
        picture = variant["image"]
        return {**picture, "bytes": remarked(bytes(picture["bytes"]), before, after)}


def attempts(manifest: Manifest, table: str, number: int) -> list[Entry]:
    """Entries of all attempts at a shard, in order."""
    return [entry for entry in manifest.entries(table) if entry.shard.number == number]


def _rows(manifest: Manifest, entries: list[Entry]) -> Iterator[Row]:
    """Yield the rows of all attempts at a shard, and the last attempt's quarantine."""
    for entry in entries:
        yield from manifest.reader(entry.rows).rows()
    if entries[-1].quarantine is not None:
        yield from manifest.reader(entries[-1].quarantine).rows()


def _renamed(picture: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    if picture is None:
        return None
    _, _, ending = picture["path"].partition(".")
    return {**picture, "path": f"{name}.{ending}"}
