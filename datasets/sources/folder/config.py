"""Options of the folder reader."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from nightrain.datasets.sources.base import SourceConfig
from nightrain.datasets.sources.folder.description import read_description


class FolderConfig(SourceConfig):
    """Options for a folder of pictures that a YAML file describes."""

    source: ClassVar[str] = "nightrain.datasets.sources.folder.source:FolderSource"
    summary: ClassVar[str] = "Read a folder of pictures that one YAML file describes."
    split_help: ClassVar[str] = "train, val, test, none (no split given) or all (the default)"

    root: Path = Field(
        description="YAML file that describes the folder",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )

    def record(self) -> dict[str, str]:
        """Options as strings for an ingestion's plan, with a digest of the description."""
        return {**super().record(), "description": read_description(self.root).digest}
