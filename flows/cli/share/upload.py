"""The command `upload`: a dataset to the Hugging Face hub."""

from nightrain.flows.cli.console import console, print_json
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.publish.upload_job import UploadJob


@command
def upload(job: UploadJob, output: OutputOptions) -> None:
    """Send a dataset to the Hugging Face hub, with its card and licence.

    The repository is private unless --public is given. Frames whose licence is not open are refused
    unless --may-share says that you have checked the terms. Log in with `hf auth login` before. Run
    the same command again to continue after an interruption, or to send what is new.
    """
    from nightrain.pipelines.inspect.verify_job import require_dataset
    from nightrain.pipelines.publish.upload import DatasetUploader

    require_dataset(job.dataset)
    report = DatasetUploader().upload(job)
    if output.as_json:
        print_json(report)
        return
    out, size = console(), f"{report.num_files} files, {report.num_bytes / 1e6:.1f} MB"
    for licence, sources in report.licences.items():
        out.print(f"frames of {', '.join(sources)}: {licence}", markup=False)
    if job.dry_run:
        out.print(f"would send {size} to {report.repo_id}", markup=False)
    else:
        out.print(f"sent {size} to {report.repo_id} {report.address}", markup=False)
