"""What `nightrain caption` and the flow `caption-frames` are asked for, and the run of it."""

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.pipelines.captions.shard import CaptionShard, plan_captions
from nightrain.pipelines.generate.conditioning import load_captioner
from nightrain.pipelines.runs.executors import Executor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop

CaptionerName = Literal["metadata", "blip2", "small"]
CAPTIONERS: tuple[CaptionerName, ...] = get_args(CaptionerName)


class CaptionJob(BaseModel):
    """A captioner on all committed frames of a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: Path = Field(description="Folder of the dataset, with committed frames")
    captioner: CaptionerName = Field(
        default="blip2", description="A network, or metadata: the source's own words"
    )

    def plan(self) -> tuple[Shard, ...]:
        """The shards that the job asks for, committed or not.

        Raises InvalidRequest without weights.
        """
        return plan_captions(Manifest(self.dataset), load_captioner(self.captioner))


def caption(
    job: CaptionJob, *, executor: Executor, stop: Stop, on_rows: OnRows = ignore_rows
) -> RunReport:
    """Make the captions that a job asks for, or what is missing of them; raises InvalidRequest,
    DiskFull.

    They are made in one process: a captioner's weights are loaded once.
    """
    work = CaptionShard(job.dataset, load_captioner(job.captioner))
    return run(job.dataset, job.plan(), work, executor=executor, stop=stop, on_rows=on_rows)
