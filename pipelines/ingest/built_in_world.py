"""Render job: renders the built-in world from a named preset."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, Field, PositiveInt

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.validation import Settings
from nightrain.datasets.world.export.plan import SceneSpec, scene_specs
from nightrain.datasets.world.export.world_folder import FAILED_FILE
from nightrain.datasets.world.export.world_presets import PRESETS, Preset
from nightrain.datasets.world.export.writer import WorldReport, write_world
from nightrain.pipelines.runs.stop import Stop, WorkCancelled, unless_stopped


class RenderJob(Settings):
    """Options of `nightrain world`, and parameters of the flow `render-world`."""

    out: Path = Field(
        description="Folder to write, in the nuScenes layout; pass an unfinished one to resume"
    )
    preset: str = Field(
        default="small",
        description="Preset; the options below override it. "
        + "; ".join(f"{name}: {preset.words}" for name, preset in PRESETS.items()),
    )
    seed: int = Field(default=0, ge=0, description="Seed of the streets and their traffic")
    scenes: int | None = Field(
        default=None, ge=1, description="Number of places (default: the preset's)"
    )
    frames: int | None = Field(
        default=None, ge=1, description="Keyframes per scene, at 2 Hz (default: the preset's)"
    )
    size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="Image size (default: the preset's)"
    )
    cameras: tuple[str, ...] = Field(
        default=(), description="Comma-separated camera channels (default: the preset's)"
    )
    conditions: tuple[Condition, ...] = Field(
        default=(), description="Comma-separated conditions, assigned to the places in turn"
    )
    pairs: tuple[Condition, ...] = Field(
        default=(), description="Additional conditions in which every place is rendered"
    )
    stereo: bool | None = Field(
        default=None, description="Add the front camera's stereo partner at keyframes"
    )
    lidar_sweeps: bool = Field(
        default=False, description="Add the LiDAR sweeps nearest to the previous and next images"
    )
    processes: int = Field(default=1, ge=1, description="Scenes rendered in parallel")

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "world small into streets"."""
        return f"world {self.preset} into {self.out.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the preset and the conditions."""
        return ("world", self.preset, *map(str, self.conditions))

    def loaded_preset(self) -> Preset:
        """Return the preset; raises InvalidRequest for an unknown name."""
        if self.preset not in PRESETS:
            raise InvalidRequest(
                f"There is no world preset {self.preset!r}; choose one of {', '.join(PRESETS)}."
            )
        return PRESETS[self.preset]

    def scene_specs(self) -> tuple[SceneSpec, ...]:
        """Return the scenes of the preset, with overrides from the options."""
        preset = self.loaded_preset()
        if self.scenes is None and not self.conditions and not self.pairs:
            return preset.scenes
        num_places = self.scenes or len({spec.place for spec in preset.scenes})
        return scene_specs(num_places, self.conditions or (Condition.CLEAR,), self.pairs)


class RenderReport(BaseModel):
    """Outcome of a rendering; a world that was stopped is resumed by the same job."""

    world: str
    stopped: bool = False
    already: bool = False  # it already existed
    num_scenes: int = 0
    num_images: int = 0
    num_bytes: int = 0

    @property
    def line(self) -> str:
        """Summary of the outcome, in one line."""
        if self.already:
            return f"{self.world} already exists"
        if self.stopped:
            return f"{self.world}: stopped; the next run resumes"
        return (
            f"{self.world}: {self.num_images} images in {self.num_scenes} scenes, "
            f"{self.num_bytes / 1e6:.1f} MB"
        )


def render(job: RenderJob, *, stop: Stop, on_step: Callable[[int, int], None]) -> RenderReport:
    """Render a world, or what is missing of it.

    Raises InvalidRequest, DiskFull, and NightrainError if a scene fails; the others are complete.
    """
    name = str(job.out)
    try:
        report = render_missing(job, unless_stopped(stop, on_step))
    except WorkCancelled:
        return RenderReport(world=name, stopped=True)
    if report.failed:
        raise NightrainError(failed_scenes(job, report))
    return RenderReport(
        world=name,
        already=report.num_scenes_before == report.num_scenes,
        num_scenes=report.num_scenes,
        num_images=report.num_images,
        num_bytes=report.num_bytes,
    )


def failed_scenes(job: RenderJob, report: WorldReport) -> str:
    """Describe the scenes that could not be rendered, and what remains."""
    first, num = report.failed[0], len(report.failed)
    return (
        f"{num} of {num + report.num_scenes} scenes could not be rendered, such as {first.name}: "
        f"{first.error} ({first.where}). {job.out / FAILED_FILE} lists them; the world holds the "
        "other scenes. The same command tries them again."
    )


def render_missing(job: RenderJob, progress: Callable[[int, int], None]) -> WorldReport:
    """Render a world to a new or an unfinished folder, as `write_world` does."""
    preset = job.loaded_preset()
    return write_world(
        job.out,
        scenes=job.scene_specs(),
        frames=job.frames or preset.frames,
        seed=job.seed,
        size=job.size or preset.size,
        cameras=job.cameras or preset.cameras,
        stereo=preset.stereo if job.stereo is None else job.stereo,
        sweeps=preset.sweeps,
        lidar_sweeps=job.lidar_sweeps,
        processes=job.processes,
        progress=progress,
    )
