"""Render job: renders the built-in world by the name of a preset."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.world.export.world_presets import PRESETS
from nightrain.datasets.world.export.writer import VERSION, write_world
from nightrain.pipelines.runs.stop import Stop, WorkCancelled, unless_stopped


class RenderJob(BaseModel):
    """A world to render."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    world: Path = Field(description="Folder to make, in the nuScenes layout")
    preset: str = Field(default="small", description="tiny, small, demo, bench")
    seed: int = Field(default=0, ge=0)
    processes: int = Field(default=1, ge=1, description="Scenes rendered side by side")


class RenderReport(BaseModel):
    """What was rendered; a world appears whole or not at all."""

    world: str
    stopped: bool = False
    already: bool = False  # it was there before
    num_scenes: int = 0
    num_images: int = 0
    num_bytes: int = 0

    @property
    def line(self) -> str:
        """What was done, in one line."""
        if self.already:
            return f"{self.world} is there already"
        if self.stopped:
            return f"{self.world}: stopped; the next run begins it anew"
        return (
            f"{self.world}: {self.num_images} images in {self.num_scenes} scenes, "
            f"{self.num_bytes / 1e6:.1f} MB"
        )


def render(job: RenderJob, *, stop: Stop, on_step: Callable[[int, int], None]) -> RenderReport:
    """Render a world unless it is there; raises InvalidRequest, DiskFull, NightrainError."""
    if job.preset not in PRESETS:
        raise InvalidRequest(
            f"There is no world {job.preset!r}; choose one of {', '.join(PRESETS)}."
        )
    preset, name = PRESETS[job.preset], str(job.world)
    if (job.world / VERSION).is_dir():
        return RenderReport(world=name, already=True)
    try:
        report = write_world(
            job.world,
            scenes=preset.scenes,
            frames=preset.frames,
            seed=job.seed,
            size=preset.size,
            cameras=preset.cameras,
            stereo=preset.stereo,
            processes=job.processes,
            progress=unless_stopped(stop, on_step),
        )
    except WorkCancelled:
        return RenderReport(world=name, stopped=True)
    return RenderReport(
        world=name,
        num_scenes=report.num_scenes,
        num_images=report.num_images,
        num_bytes=report.num_bytes,
    )
