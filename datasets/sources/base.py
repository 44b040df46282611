"""Sources: data sets on disk that ingestion reads frame by frame.

A source is a folder with a config model and a class, and a line in registry.py; or an entry point
of an installed package in the group "nightrain.sources", which names the config model.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field

from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.io.untrusted import LinkRule
from nightrain.datasets.registry import import_class
from nightrain.datasets.splits import Split
from nightrain.datasets.validation import Settings


class FrameSource(ABC):
    """A data set on disk, read frame by frame.

    Worker processes unpickle the source. A source that reads tables when it is opened returns a
    callable and its arguments from `__reduce__`, such as `(MySource, (config,))`; ingestion then
    opens it once per process, not once per shard.
    """

    name: str  # "nuscenes"; becomes Frame.source_dataset
    licence: str  # SPDX-like: "CC-BY-NC-SA-4.0"
    attribution: str  # one sentence
    own_splits: bool = False  # whether its own splits replace the published ones of this data set
    notes: Sequence[str] = ()  # sentences about the folder's content, shown before ingestion
    # Number of frames that the latest `select` left out, by reason ("night frames: ...").
    left_out: Mapping[str, int] = MappingProxyType({})

    @abstractmethod
    def select(self, split: str) -> Sequence[FrameRef]:
        """Frames of a split, in an order that never changes; see datasets/splits.py for the names.

        A record that is listed but broken keeps its place and fails in `load`. Raises
        InvalidRequest for an unknown split, BrokenSource if the source cannot be read.
        """

    @abstractmethod
    def load(self, ref: FrameRef) -> Frame:
        """Read one frame; raises DamagedInput with a reason code."""

    @property
    def unplaced(self) -> Sequence[str]:
        """Names of records that are too damaged to be listed as frames."""
        return ()

    @property
    def absent(self) -> frozenset[str]:
        """Source ids of frames that are listed but not on disk."""
        return frozenset()


def split_at_commas(value: Any) -> Any:
    """Split a string at its commas; return any other value unchanged."""
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(split_at_commas)]  # "a,b" or ("a", "b")
ALL: tuple[str, ...] = ("all",)


class SourceConfig(Settings):
    """Options of a source. Each field is an option of `nightrain ingest NAME`.

    `json_schema_extra` follows the command line's convention: {"cli": "argument"} is positional,
    {"cli": "none"} is available in Python only.
    """

    source: ClassVar[str]  # FrameSource that `open` constructs: "package.module:Class"
    summary: ClassVar[str]  # one sentence, the help text of the command
    split_help: ClassVar[str] = "train, val, test, none (in no list) or all"
    not_recorded: ClassVar[frozenset[str]] = frozenset(
        {"root", "skip_bad", "allow_root", "follow_links"}
    )

    root: Path = Field(
        description="Folder of the data set",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    neighbours: bool = Field(
        default=True, description="Store the previous and next images with each frame"
    )
    skip_bad: bool = Field(
        default=False, description="Skip and report damaged or absent frames without failing"
    )
    allow_root: tuple[Path, ...] = Field(
        default=(),
        description="Folder outside the data set that its symlinks may lead to; repeatable",
        json_schema_extra={"must_exist": True},
    )
    follow_links: bool = Field(
        default=False, description="Follow all symlinks in the data set's folder"
    )

    @property
    def links(self) -> LinkRule:
        """Where symlinks in the data set's folder may lead."""
        roots = tuple(root.resolve() for root in self.allow_root)
        return LinkRule(roots, anywhere=self.follow_links)

    def open(self) -> FrameSource:
        """Import the source's class and open it; raises BrokenSource, InvalidRequest."""
        return import_class(self.source, "source class")(self)

    @property
    def default_split(self) -> Split:
        """Split to read if none is given."""
        return "all"

    def for_dataset(self, dataset: Path) -> Self:
        """Return the config with its caches in the folder of the dataset that is being written."""
        return self

    def record(self) -> dict[str, str]:
        """Options as strings for an ingestion's plan; paths only as "given" or "none"."""
        recorded = (name for name in type(self).model_fields if name not in self.not_recorded)
        return {name: _as_text(getattr(self, name)) for name in recorded}


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, Path):
        return "none" if value is None else "given"
    return ",".join(value) if isinstance(value, tuple) else str(value)
