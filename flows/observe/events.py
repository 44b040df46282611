"""Events: what automations can react to, such as a committed shard.

    nightrain.shard.committed    one shard; its resource is nightrain.shard.<dataset>/<shard>
    nightrain.dataset.grown      a run that committed rows; its resource is nightrain.dataset.<path>

Both are related to the dataset and, by Prefect, to the flow run that emitted them.
"""

from pathlib import Path
from typing import Any

from prefect.events import emit_event

from nightrain.datasets.shards.transaction import ShardReport
from nightrain.pipelines.runs.run import RunReport

SHARD_COMMITTED = "nightrain.shard.committed"
DATASET_GROWN = "nightrain.dataset.grown"


def shard_committed(dataset: Path, report: ShardReport) -> None:
    """Emit the event of a committed shard; nothing for other outcomes."""
    if report.status != "committed":
        return
    resource = {
        "prefect.resource.id": f"nightrain.shard.{dataset.name}/{report.shard.name}",
        "prefect.resource.name": report.shard.name,
        "nightrain.table": report.shard.table,
        "nightrain.dataset": str(dataset),
    }
    related = [{**_resource(dataset), "prefect.resource.role": "dataset"}]
    payload = report.model_dump(mode="json", exclude={"shard", "status", "message"})
    emit_event(SHARD_COMMITTED, resource=resource, related=related, payload=payload)


def dataset_grown(dataset: Path, report: RunReport) -> None:
    """Emit the event of a run that committed rows, with the number of rows by table."""
    if report.num_rows:
        rows: dict[str, Any] = {name: table.num_rows for name, table in report.tables.items()}
        emit_event(DATASET_GROWN, resource=_resource(dataset), payload={"rows": rows})


def _resource(dataset: Path) -> dict[str, str]:
    return {
        "prefect.resource.id": f"nightrain.dataset.{dataset}",
        "prefect.resource.name": dataset.name,
    }
