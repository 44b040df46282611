"""Gate statistics of a table of variants: accepted share, reasons, seeds, and score histograms."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from nightrain.datasets.shards.manifest import Entry, Manifest, last_attempts

NUM_BINS = 12


class Histogram(BaseModel):
    """Counts of a score in equal bins, of accepted and of rejected variants."""

    lowest: float
    highest: float
    accepted: tuple[int, ...]
    rejected: tuple[int, ...]


class GateStats(BaseModel):
    """What the gates of a table found; a variant counts once, whatever the number of its seeds."""

    gates: tuple[str, ...]  # with their versions: "faults 1, structure 1"
    num_accepted: int
    num_rejected: int  # with their last seed, in quarantine now
    by_seed_number: dict[int, int]  # accepted variants; 0 is the first seed
    codes: dict[str, int]  # rejections by reason code, earlier seeds included
    scores: dict[str, Histogram]  # "alignment.agreement"

    @property
    def accepted_share(self) -> float:
        """Share of the judged variants that are accepted."""
        return self.num_accepted / max(1, self.num_accepted + self.num_rejected)


def gate_stats(manifest: Manifest, entries: Sequence[Entry]) -> GateStats | None:
    """Statistics of the gates that judged a table; None if none did. Raises CorruptShard."""
    gates, seeds, codes = dict[str, None](), Counter[int](), Counter[str]()
    accepted, rejected = dict[str, list[float]](), dict[str, list[float]]()

    def add(row: Mapping[str, Any], scores: dict[str, list[float]]) -> None:
        gates.setdefault(row["gates"])
        _add(scores, json.loads(row["gate_scores"]))
        for earlier in json.loads(row["rejected_seeds"] or "[]"):
            codes.update(earlier["codes"])
            _add(rejected, earlier["scores"])

    for row in _accepted(manifest, entries):
        seeds[row["seed_number"]] += 1
        add(row, accepted)
    num_rejected = 0
    for row in _rejected(manifest, entries):
        num_rejected += 1
        codes.update(row["codes"])
        if row["variant"] is not None:
            add(json.loads(row["variant"]), rejected)
    if not gates:
        return None
    names = sorted({*accepted, *rejected})
    scores = {name: _histogram(accepted.get(name, []), rejected.get(name, [])) for name in names}
    return GateStats(
        gates=tuple(gates),
        num_accepted=seeds.total(),
        num_rejected=num_rejected,
        by_seed_number=dict(sorted(seeds.items())),
        codes=dict(codes.most_common()),
        scores=scores,
    )


def _accepted(manifest: Manifest, entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    columns = ("gates", "seed_number", "gate_scores", "rejected_seeds")
    for entry in entries:
        rows = manifest.reader(entry.rows).scan(columns).to_pylist()
        yield from (row for row in rows if row.get("gates") is not None)


def _rejected(manifest: Manifest, entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Rows that gates rejected in each shard's last attempt."""
    for entry in last_attempts(entries):
        if entry.quarantine is not None:
            rows = manifest.reader(entry.quarantine).scan(("codes", "variant")).to_pylist()
            yield from (row for row in rows if row["codes"])


def _add(values: dict[str, list[float]], scores: dict[str, dict[str, float]]) -> None:
    for gate, found in scores.items():
        for name, value in found.items():
            values.setdefault(f"{gate}.{name}", []).append(value)


def _histogram(accepted: list[float], rejected: list[float]) -> Histogram:
    both = np.array(accepted + rejected)
    edges = np.histogram_bin_edges(both, NUM_BINS)
    counts = (np.histogram(values, edges)[0] for values in (accepted, rejected))
    yes, no = (tuple(int(n) for n in of) for of in counts)
    return Histogram(lowest=edges[0], highest=edges[-1], accepted=yes, rejected=no)
