"""The command `world`: renders the built-in driving world."""

from nightrain.flows.cli.console import console, progress_bar
from nightrain.flows.cli.options import command
from nightrain.pipelines.ingest.built_in_world import RenderJob, render_new


@command
def world(job: RenderJob) -> None:
    """Render the built-in driving world: streets in all weathers, with exact depth.

    The folder contains images, LiDAR, poses and boxes in the nuScenes layout, plus depth, classes,
    instances and optical flow. All scenes of one place show the same drive under different
    conditions.
    """
    job.loaded_preset()  # an unknown preset fails before anything is printed
    with progress_bar("images", shown=True) as bar:
        report = render_new(job, bar.reach)
    counts = ", ".join(f"{count} {name}" for name, count in report.scenes_by_condition.items())
    console().print(
        f"[green]rendered[/green]  {job.out}: {report.num_keyframes} keyframes in "
        f"{report.num_scenes} scenes ({counts}), {report.num_images} images, "
        f"{report.num_lidar_sweeps} LiDAR sweeps, {report.num_bytes / 1e6:.1f} MB"
    )
