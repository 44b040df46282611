"""The group `export`: datasets and networks in the formats of other tools."""

from nightrain.flows.cli.console import console, end, print_json, progress_bar
from nightrain.flows.cli.group import LazyGroup
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.export.job import ExportDatasetJob, ExportReport
from nightrain.pipelines.export.model_job import ExportModelJob
from nightrain.pipelines.runs.stop import Stop, stop_on_signals

export = LazyGroup(
    "export",
    help="Write datasets and networks in the formats of other tools.",
    commands_at={
        "model": (
            "share.export",
            "Write a depth network as ONNX or TorchScript, and check that it gives the same depth.",
        ),
        "dataset": (
            "share.export",
            "Write variants, frames and labels as folders, tar shards, or KITTI's or md4all's "
            "layout.",
        ),
    },
)


@command
def model(job: ExportModelJob, output: OutputOptions) -> None:
    """Write a depth network as ONNX or TorchScript, and check that it gives the same depth.

    The input `image` (B, 3, H, W) is RGB in [0, 1] at the network's own size; the output
    `inverse_depth` (B, 1, H, W) is in 1/m. A file that gives other depths is not kept. Example:

    nightrain export model TEACHER/model --to onnx --out teacher.onnx
    """
    from nightrain.pipelines.export.model_job import export_model

    report = export_model(job)
    if output.as_json:
        print_json(report)
        return
    width, height = report.input_size
    out = console()
    out.print(
        f"wrote {report.out}: {report.num_bytes / 1e6:.1f} MB, images of {width} x {height} "
        f"pixels, digest {report.digest[:16]}",
        markup=False,
    )
    out.print(report.check_line, markup=False)


@command
def dataset(job: ExportDatasetJob, output: OutputOptions) -> None:
    """Write variants, frames and labels as folders, tar shards, or KITTI's or md4all's layout.

    Only committed and current rows are written, without what gates or people rejected. Pictures and
    depth keep their bytes, except for md4all, whose size they are resized to. Run the same command
    again to resume after an interruption. Examples:

    nightrain export dataset DATASET --to folders --recipe weather --out FOLDER

    nightrain export dataset DATASET --to webdataset --split all --labels teacher --out FOLDER
    """
    from nightrain.pipelines.export.run import export_dataset
    from nightrain.pipelines.inspect.verify_job import require_dataset

    require_dataset(job.dataset)
    stop = Stop()
    with progress_bar("images", shown=not output.as_json) as bar, stop_on_signals(stop):
        report = export_dataset(job, stop, on_planned=bar.expect, on_done=bar.add)
    if output.as_json:
        print_json(report)
    else:
        _print(report)
    end(stop.exit_code if report.stopped else 0)


def _print(report: ExportReport) -> None:
    out = console()
    kept = f", {report.num_kept} of them before" if report.num_kept else ""
    total = report.num_frames + report.num_variants
    out.print(
        f"wrote {report.num_rows} of {total} images to {report.out}{kept}: "
        f"{report.num_frames} frames and {report.num_variants} variants",
        markup=False,
    )
    if report.num_files:
        size = f"{report.num_files} files, {report.num_bytes / 1e6:.1f} MB"
        out.print(f"{size} in {report.seconds:.1f} s: {report.rates}", markup=False)
    for reason, number in report.left_out.items():
        out.print(f"left out {number} variants: {reason}", markup=False)
