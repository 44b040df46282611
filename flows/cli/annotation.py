"""Commands that add to the frames of a dataset: `caption` and `label`."""

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
    flow = "caption:caption_frames"
    run_shard_job(job, caption_frames, flow=flow, rows="captions", options=options)


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
        num_workers=job.num_workers,
    )
