"""Rejected variants: rows of quarantine that keep the picture and everything else of the row.

So other limits can accept a variant later, without generating it again.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nightrain.datasets.errors import Reason
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import quarantine_row
from nightrain.datasets.shards.transaction import Rejected
from nightrain.pipelines.gates.apply import GateVerdict

PICTURES = ("image", "confidence")  # columns of their own in quarantine


def reject(row: Row, ref: FrameRef, verdict: GateVerdict) -> Rejected:
    """Quarantine a variant, given its row, with the reasons of the gates."""
    rest = {name: value for name, value in row.items() if name not in PICTURES}
    return Rejected(
        {
            **quarantine_row(
                ref,
                row["source_dataset"],
                row["condition"],
                Reason.GATE_REJECTED,
                GateRejection(verdict.words),
                sample_id=row["sample_id"],
                attempts=row["seed_number"] + 1,
                variant_index=row["variant_index"],
                created_at=row["created_at"],
            ),
            "codes": verdict.codes,
            "image": row["image"],
            "confidence": row["confidence"],
            "variant": json.dumps(rest, default=datetime.isoformat, sort_keys=True),
        }
    )


class GateRejection(Exception):
    """Error type of a row that gates rejected; never raised."""


def accepted_row(quarantined: Mapping[str, Any]) -> Row:
    """Return the row of a variant that gates had rejected, with its pictures."""
    row: Row = json.loads(quarantined["variant"])
    row["created_at"] = datetime.fromisoformat(row["created_at"])
    return {**row, **{name: quarantined[name] for name in PICTURES}}


def seed_record(seed: int, row: Row | Rejected) -> dict[str, Any] | None:
    """Seed, codes and scores of a variant that gates rejected; None for any other outcome.

    The row of the variant that follows keeps the record.
    """
    if not isinstance(row, Rejected) or row.row["reason"] != Reason.GATE_REJECTED:
        return None
    variant = row.row.get("variant")
    scores = json.loads(json.loads(variant)["gate_scores"]) if variant else {}
    return {"seed": seed, "codes": row.row.get("codes") or [], "scores": scores}


def seed_number_to_retry(quarantined: Mapping[str, Any]) -> int:
    """Number of the seed that a retry starts with: after those whose variants gates rejected."""
    if quarantined["reason"] != Reason.GATE_REJECTED:
        return 0
    variant = quarantined["variant"]
    return json.loads(variant)["seed_number"] + 1 if variant else quarantined["attempts"]
