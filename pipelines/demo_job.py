"""Demo jobs: the options of `nightrain demo`."""

from pathlib import Path

from pydantic import Field

from nightrain.datasets.splits import Split
from nightrain.datasets.validation import Settings

NONE = "none"  # for no second recipe


class DemoJob(Settings):
    """Options of `nightrain demo`, and parameters of the flow `clear-to-table`.

    The module imports neither torch nor numpy, so that a command's help can be built from it.
    """

    out: Path = Field(
        default=Path("demo"), description="Demo folder; pass an existing one to resume"
    )
    world: str = Field(default="demo", description="Preset of the rendered world")
    seed: int = Field(default=7, ge=0, description="Seed of the rendered world")
    processes: int = Field(default=2, ge=1, description="Scenes rendered in parallel")
    recipe: str = Field(default="diffusion-world", description="Recipe of the variants")
    other_recipe: str = Field(
        default="weather-demo",
        description="Second recipe, or none; another student learns from its variants, for "
        "comparison",
    )
    teacher_steps: int | None = Field(
        default=None, ge=1, description="Steps of the teacher (default: the preset's)"
    )
    student_steps: int | None = Field(
        default=None, ge=1, description="Steps of the student (default: the preset's)"
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Samples per training step (default: the presets')"
    )
    split: Split = Field(default="val", description="Split to score")

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "demo in demo"."""
        return f"demo in {self.out.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the recipes."""
        return ("demo", *self.recipes)

    @property
    def recipes(self) -> tuple[str, ...]:
        """Recipes of the variants, one per student."""
        return tuple(recipe for recipe in (self.recipe, self.other_recipe) if recipe != NONE)

    @property
    def dataset(self) -> Path:
        """Folder of the dataset."""
        return self.out / "dataset"
