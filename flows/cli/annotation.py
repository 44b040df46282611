"""Commands that add to the frames of a dataset: `caption` and `label`."""

from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.flows.cli.jobs import FlowOptions, run_shard_job
from nightrain.flows.cli.options import command
from nightrain.pipelines.captions.job import CaptionJob
from nightrain.pipelines.captions.job import caption as caption_frames
from nightrain.pipelines.labels.job import LabelJob
from nightrain.pipelines.labels.job import label as label_frames


@command
def caption(job: CaptionJob, options: FlowOptions) -> None:
    """Caption each frame with one sentence, for recipes with a captioner.

    Frames that have a caption are skipped.
    """
    num_rows = _num_uncaptioned(job)  # an invalid request fails before a server is started
    flow = "caption:caption_frames"
    run_shard_job(
        job, caption_frames, flow=flow, rows="captions", options=options, num_rows=num_rows
    )


def _num_uncaptioned(job: CaptionJob) -> int:
    """Number of frames in shards without committed captions."""
    manifest = Manifest(job.dataset)
    missing = [shard for shard in job.plan() if manifest.entry(shard) is None]
    frames = (manifest.entry(shard.model_copy(update={"table": FRAMES})) for shard in missing)
    return sum(entry.rows.num_rows for entry in frames if entry is not None)


@command
def label(job: LabelJob, options: FlowOptions) -> None:
    """Predict depth and confidence of clear frames with a teacher.

    Labels are stored in a table per teacher. Run the same command again to resume.
    """
    run_shard_job(
        job,
        label_frames,
        flow="label:label_depth",
        rows="labels",
        options=options,
        num_rows=_num_unlabelled(job),
        num_workers=job.num_workers,
    )


def _num_unlabelled(job: LabelJob) -> int:
    """Number of a job's frames without a committed label."""
    plan = job.plan()
    entries = [Manifest(job.dataset).entry(shard) for shard in plan.shards]
    return plan.num_frames - sum(e.rows.num_rows for e in entries if e is not None)
