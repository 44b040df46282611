"""Caption jobs: caption all committed frames of a dataset."""

from pathlib import Path

from pydantic import Field

from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.datasets.validation import Settings
from nightrain.pipelines.captions.caption_shard import CaptionShard, plan_captions
from nightrain.pipelines.captions.captioners import CaptionerName, load_captioner
from nightrain.pipelines.runs.executors import Executor
from nightrain.pipelines.runs.one_run import IfRunning, one_run_at_a_time
from nightrain.pipelines.runs.quarantine import MAX_QUARANTINED, MaxQuarantined, check_quarantine
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop


class CaptionJob(Settings):
    """Options of `nightrain caption` and parameters of the flow `caption-frames`."""

    dataset: Path = Field(
        description="Dataset folder with committed frames",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    captioner: CaptionerName = Field(
        default="blip2",
        description="blip2 or small (networks), or metadata: counts of the annotated objects that "
        "the camera sees",
    )
    max_quarantined: MaxQuarantined = MAX_QUARANTINED
    if_running: IfRunning = "share"

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "blip2 captions of nuscenes"."""
        return f"{self.captioner} captions of {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the captioner."""
        return (self.captioner,)

    def plan(self) -> dict[Shard, int]:
        """Plan the job's shards, committed or not, and the number of captions of each.

        Raises InvalidRequest without weights.
        """
        return plan_captions(Manifest(self.dataset), load_captioner(self.captioner))


@one_run_at_a_time
def caption(
    job: CaptionJob,
    *,
    executor: Executor,
    stop: Stop,
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
) -> RunReport:
    """Generate the captions of a job that are still missing; raises InvalidRequest, DiskFull.

    All shards run in one process, so that a captioner's weights are loaded once.
    """
    work, num_rows = CaptionShard(job.dataset, load_captioner(job.captioner)), job.plan()
    shards = tuple(num_rows)
    report = run(
        job.dataset,
        shards,
        work,
        executor=executor,
        stop=stop,
        num_rows=num_rows,
        on_planned=on_planned,
        on_rows=on_rows,
    )
    check_quarantine(report, Manifest(job.dataset), shards, job.max_quarantined)
    return report
