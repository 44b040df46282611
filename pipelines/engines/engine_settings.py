"""Engine settings: the section `engine` of a recipe, one class per engine."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.marks import SourceType
from nightrain.datasets.registry import import_class
from nightrain.pipelines.controls.settings import ControlDepth
from nightrain.pipelines.engines.base import Engine
from nightrain.pipelines.plugins import PluginSettings

ENGINE_METHODS = ("device_id", "device_name", "probe", "embed", "begin", "finish", "rest")
Size = tuple[int, int]  # (width, height), pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditioningInputs:
    """Inputs in addition to the frame: a prompt, and one control image per ControlNet."""

    controls: tuple[str, ...] = ()  # kinds of control images, in order: "depth", "canny", ...
    control_depth: ControlDepth = field(
        default_factory=ControlDepth
    )  # for controls of the kind "depth"
    captioner: str = "metadata"  # name of the captioner of the prompt's caption
    varied_prompts: bool = False  # draw the condition's phrase with the sample's seed
    style_pool: Path | None = None  # folder of the image prompts

    @property
    def changed_captions(self) -> list[str]:
        """Changes of captions without a network, which engines add to their versions."""
        return ["captions count the objects in view"] if self.captioner == "metadata" else []

    @property
    def shows_depth(self) -> bool:
        """Whether any control image shows depth."""
        return "depth" in self.controls

    @property
    def depth_is_given(self) -> bool:
        """Whether control images show the frame's own depth, not that of a network."""
        return self.shows_depth and self.control_depth.source == "given"

    @property
    def sees_by_network(self) -> bool:
        """Whether any control image shows the depth of a network."""
        return self.shows_depth and not self.depth_is_given


class EngineSettings(PluginSettings):
    """Base class of engine settings: everything that generation must know of an engine.

    The engine itself is a separate class, named by `engine_class`.
    """

    engine_class: ClassVar[str]  # "package.module:Class", called with the settings
    conditions: ClassVar[tuple[Condition, ...]]  # conditions that the engine generates
    uses_gpu: ClassVar[bool] = False
    # Distributions, in addition to nightrain, with versions that affect the bytes of variants
    libraries: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def version(self, condition: Condition) -> str:
        """Return the version of the engine, its weights and other inputs for one condition.

        It is part of the hash of the condition's settings and changes whenever equal requests give
        other bytes. Raises InvalidRequest for unsupported settings and for weights that are neither
        local nor pinned.
        """

    @property
    def source_type(self) -> SourceType:
        """What IPTC calls the origin of the engine's pictures, for their marks."""
        return "compositeSynthetic"

    def folder(self, settings_hash: str) -> str:
        """Name of the folder below variants/ for settings of a hash: "weather-1a2b3c4d"."""
        name = re.sub("[^a-z0-9]+", "-", self.name.lower()).strip("-") or "engine"
        return f"{name}-{settings_hash[:8]}"

    def build(self) -> Engine:
        """Import and build the engine; raises InvalidRequest. `load_engine` keeps the result."""
        return import_class(self.engine_class, "engine class")(self)

    def require_engine_class(self) -> None:
        """Raise InvalidRequest where `engine_class` does not exist or is not a complete engine.

        The class of a built-in engine, which may need torch, is not imported.
        """
        if self.engine_class.startswith("nightrain."):
            return
        found = import_class(self.engine_class, "engine class")
        abstract = getattr(found, "__abstractmethods__", frozenset())
        missing = sorted({n for n in ENGINE_METHODS if not hasattr(found, n)} | abstract)
        if missing:
            raise InvalidRequest(
                f"engine {self.name!r}: {self.engine_class} is not an engine, it does not define "
                f"{', '.join(missing)}. Derive it from HostEngine of "
                "nightrain.pipelines.engines.base, or follow its protocol Engine."
            )

    @property
    def needs_depth(self) -> bool:
        """Whether frames need depth of their own to be turned into variants."""
        return True

    @property
    def uses_severity(self) -> bool:
        """Whether a variant depends on its severity; else its row has none."""
        return True

    @property
    def conditioning(self) -> ConditioningInputs | None:
        """Prompt and control images of each request; None if the engine takes only the frame."""
        return None

    def for_dataset(self, root: Path) -> Self:
        """Return the settings with relative paths below a dataset's folder; mostly themselves."""
        return self

    def working_size(self, frame_size: Size) -> Size | None:
        """Return the size at which the engine works on a frame; None for the variant's size."""
        return None

    def require_frame_size(self, frame_size: Size) -> None:
        """Raise InvalidRequest if the engine cannot work on frames of a size."""

    def preflight(self, engine: Engine, conditions: Sequence[Condition]) -> None:
        """Load and test what all samples of a run need, before it begins; raises InvalidRequest.

        `engine` is that of these settings. By default, building it was the test.
        """

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences about the settings for the report of each run; mostly none."""
        return ()

    def prepare_process(self) -> None:
        """Apply process-wide settings before any thread starts; called before a run."""


def at_width(width: int, frame_size: Size, multiple: int = 8) -> Size:
    """Return (width, height) with the frame's aspect, the height rounded to a multiple."""
    least = max(1, 16 // multiple)
    return width, multiple * max(least, round(width * frame_size[1] / frame_size[0] / multiple))
