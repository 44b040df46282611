"""The command `world`: renders the built-in driving world."""

from nightrain.datasets.world.export.writer import WorldReport
from nightrain.flows.cli.console import EXIT_INCOMPLETE, console, counted, end, progress_bar
from nightrain.flows.cli.options import command
from nightrain.pipelines.ingest.built_in_world import RenderJob, failed_scenes, render_missing
from nightrain.pipelines.runs.stop import Stop, WorkCancelled, stop_on_signals, unless_stopped


@command
def world(job: RenderJob) -> None:
    """Render the built-in driving world: streets in all weathers, with exact depth.

    The folder contains images, LiDAR, poses and boxes in the nuScenes layout, plus depth, classes,
    instances and optical flow. All scenes of one place show the same drive under different
    conditions. Run the same command again to resume; finished scenes are kept. A scene that fails
    is listed in failed_scenes.json and left out (exit code 3).
    """
    job.loaded_preset()  # an unknown preset fails before anything is printed
    stop = Stop()
    try:
        with stop_on_signals(stop), progress_bar("images", shown=True) as bar:
            report = render_missing(job, unless_stopped(stop, bar.reach))
    except WorkCancelled:
        console().print("[yellow]stopped[/yellow]   run the same command again to resume")
        end(stop.exit_code)
        return
    _print(job, report)
    end(EXIT_INCOMPLETE if report.failed else 0)


def _print(job: RenderJob, report: WorldReport) -> None:
    from rich.markup import escape

    for scene in report.failed:
        words = escape(f"{scene.error} ({scene.where})")
        console().print(f"[red]failed[/red]    {scene.name}: {words}")
    counts = ", ".join(f"{count} {name}" for name, count in report.scenes_by_condition.items())
    before = report.num_scenes_before
    earlier = f"; {counted(before, 'scene')} from an earlier run" if before else ""
    console().print(
        f"[green]rendered[/green]  {job.out}: {report.num_keyframes} keyframes in "
        f"{report.num_scenes} scenes ({counts}), {report.num_images} images, "
        f"{report.num_lidar_sweeps} LiDAR sweeps, {report.num_bytes / 1e6:.1f} MB{earlier}"
    )
    if report.failed:
        console().print(failed_scenes(job, report))
