"""Events: what automations can react to, such as a committed shard.

    nightrain.shard.committed    one shard; its resource is nightrain.shard.<dataset>/<shard>
    nightrain.dataset.grown      a run that committed rows; its resource is nightrain.dataset.<path>
    nightrain.quarantine.exceeded   a run with more rows in quarantine than accepted; same resource

All are related to the dataset and, by Prefect, to the flow run that emitted them and to its
deployment. The resource of `grown` has a label per kind of rows, such as `nightrain.rows.variants`,
and `nightrain.flow`, because automations match labels and not payloads.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from prefect.events import emit_event

from nightrain.datasets.shards.transaction import ShardReport
from nightrain.pipelines.runs.run import RunReport

SHARD_COMMITTED = "nightrain.shard.committed"
DATASET_GROWN = "nightrain.dataset.grown"
QUARANTINE_EXCEEDED = "nightrain.quarantine.exceeded"


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


def rows_of(report: object) -> Counter[str]:
    """Rows that a run committed, by table; none for a report of another kind of job."""
    tables = report.tables if isinstance(report, RunReport) else {}
    return Counter({name: table.num_rows for name, table in tables.items() if table.num_rows})


def rows_committed(dataset: Path, rows: Mapping[str, int], flow: str) -> None:
    """Emit the event of a run that committed rows, with their number by table; or nothing."""
    if not rows:
        return
    kinds: Counter[str] = Counter()
    for table, count in rows.items():
        kinds[table.partition("/")[0]] += count
    labels = {f"nightrain.rows.{kind}": str(count) for kind, count in kinds.items()}
    emit_event(
        DATASET_GROWN,
        resource={**_resource(dataset), "nightrain.flow": flow, **labels},
        payload={"rows": dict(rows)},
    )


def quarantine_exceeded(dataset: Path, message: str, flow: str) -> None:
    """Emit the event of a run with too many rows in quarantine."""
    resource = {**_resource(dataset), "nightrain.flow": flow}
    emit_event(QUARANTINE_EXCEEDED, resource=resource, payload={"message": message})


def _resource(dataset: Path) -> dict[str, str]:
    return {
        "prefect.resource.id": f"nightrain.dataset.{dataset}",
        "prefect.resource.name": dataset.name,
    }
