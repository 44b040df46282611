"""Settings of the import engine."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PrivateAttr

from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.marks import TRAINED, SourceType
from nightrain.pipelines.engines.engine_settings import EngineSettings

VERSION = "1"  # increased when equal pictures give other bytes


class ImportSettings(EngineSettings):
    """Settings of the import engine, which `nightrain import-variants` writes."""

    name: Literal["import"] = "import"  # pyright: ignore[reportIncompatibleVariableOverride]
    engine_class: ClassVar[str] = "nightrain.pipelines.engines.imported.engine:ImportEngine"
    conditions: ClassVar[tuple[Condition, ...]] = tuple(
        c for c in Condition if c is not Condition.CLEAR
    )

    listing: str = Field(
        description="Listing of the pictures by frame; a relative path is below the dataset"
    )
    digest: str = Field(
        pattern="^[0-9a-f]{64}$", description="Digest of the listing, which has every picture's own"
    )
    resize: bool = Field(
        default=False, description="Resize pictures of another size than their frames"
    )
    graded: bool = Field(
        default=False, description="Whether the severity of the recipe is that of the pictures"
    )
    _dataset: Path | None = PrivateAttr(default=None)  # folder that `listing` is relative to

    def version(self, condition: Condition) -> str:
        """Return the engine's version; the pictures are part of the settings by their digest."""
        return VERSION

    @property
    def source_type(self) -> SourceType:
        """What other programs translated; pictures that have a mark keep theirs."""
        return TRAINED

    @property
    def needs_depth(self) -> bool:
        """Frames without depth are accepted."""
        return False

    @property
    def uses_severity(self) -> bool:
        """Whether rows have the recipe's severity; else it is unknown."""
        return self.graded

    def for_dataset(self, root: Path) -> "ImportSettings":
        """Return the settings with a relative `listing` below a dataset's folder."""
        placed = self.model_copy()
        placed._dataset = root.absolute()
        return placed

    @property
    def listing_path(self) -> Path:
        """Path of the listing; a relative one is below the dataset, if it is known."""
        return (self._dataset or Path.cwd()) / self.listing
