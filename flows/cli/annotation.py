"""Commands that add to the frames of a dataset: `caption`, `styles`, `controls`, `label`."""

from nightrain.flows.cli.console import console, print_json
from nightrain.flows.cli.jobs import FlowOptions, OutputOptions, run_shard_job
from nightrain.flows.cli.options import command
from nightrain.pipelines.captions.job import CaptionJob
from nightrain.pipelines.captions.job import caption as caption_frames
from nightrain.pipelines.generate.control_maps import ControlJob
from nightrain.pipelines.generate.control_maps import controls as make_control_maps
from nightrain.pipelines.labels.job import LabelJob
from nightrain.pipelines.labels.job import label as label_frames
from nightrain.pipelines.styles.make_pool import StylesJob, make_pool


@command
def caption(job: CaptionJob, options: FlowOptions) -> None:
    """Caption each frame with one sentence, for recipes with a captioner.

    Frames that have a caption are skipped.
    """
    flow = "caption:caption_frames"
    run_shard_job(job, caption_frames, flow=flow, rows="captions", options=options)


@command
def controls(job: ControlJob, options: FlowOptions) -> None:
    """Make a depth network's control maps, one per frame.

    They serve every condition and every recipe with that network; `nightrain generate` makes those
    that are missing. Run the same command again to resume.
    """
    run_shard_job(
        job,
        make_control_maps,
        flow="controls:make_control_maps",
        rows="control maps",
        options=options,
        devices=job.devices,
    )


@command
def styles(job: StylesJob, output: OutputOptions) -> None:
    """Make a style pool: a dataset's own real night and rain train images.

    A recipe with an IP-Adapter draws the image prompt of each variant from its `style_pool`. Images
    of val and test scenes are never taken.
    """
    record = make_pool(job)
    if output.as_json:
        print_json(record)
        return
    for condition, levels in record.mean_levels.items():
        count = sum(image.name.startswith(f"{condition}/") for image in record.images)
        shown = ", ".join(f"{level:.3f}" for level in levels)
        console().print(
            f"{job.folder / condition}: {count} images, quantiles of mean levels: {shown}"
        )


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
