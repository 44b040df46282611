"""Engine settings: the section `engine` of a recipe, one class per engine."""

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import import_module
from typing import ClassVar

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.controls.settings import ControlDepth
from nightrain.pipelines.engines.base import Engine
from nightrain.pipelines.plugins import PluginSettings

Size = tuple[int, int]  # (width, height), pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditioningInputs:
    """Inputs besides the frame: a prompt, and one control image per ControlNet."""

    controls: tuple[str, ...] = ()  # kinds of control images, in order: "depth", "canny", ...
    control_depth: ControlDepth = field(
        default_factory=ControlDepth
    )  # of controls of the kind "depth"
    captioner: str = "metadata"  # whose caption the prompt holds
    varied_prompts: bool = False  # draw the condition's phrase by the sample's seed

    @property
    def shows_depth(self) -> bool:
        """Whether one of the control images shows depth."""
        return "depth" in self.controls

    @property
    def depth_is_given(self) -> bool:
        """Whether control images show the frame's own depth, not that of a network."""
        return self.shows_depth and self.control_depth.source == "given"


class EngineSettings(PluginSettings):
    """Base class of engine settings; answers everything that generation must know of an engine.

    The engine itself is another class, which `engine_class` names.
    """

    engine_class: ClassVar[str]  # "package.module:Class", called with the settings
    conditions: ClassVar[tuple[Condition, ...]]  # that the engine generates
    uses_gpu: ClassVar[bool] = False
    # Distributions whose versions the bytes of variants depend on, besides nightrain's own
    libraries: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def version(self, conditions: Collection[Condition]) -> str:
        """Return the version of the engine, its weights and other inputs; part of recipe hashes.

        It changes whenever equal requests give other bytes. Raises InvalidRequest for settings
        that cannot be served and for weights that are neither here nor pinned.
        """

    def build(self) -> Engine:
        """Import and build the engine; raises InvalidRequest. `load_engine` keeps the result."""
        module, _, name = self.engine_class.partition(":")
        return getattr(import_module(module), name)(self)

    @property
    def needs_depth(self) -> bool:
        """Whether a frame without depth of its own cannot be turned into variants."""
        return True

    @property
    def conditioning(self) -> ConditioningInputs | None:
        """Prompt and control images of each request; None: the engine takes the frame alone."""
        return None

    def working_size(self, frame_size: Size) -> Size | None:
        """Return the size at which the engine works on a frame; None: the variant's own size."""
        return None

    def prepare_process(self) -> None:
        """Apply process-wide settings that must precede threads; called before a run."""


def at_width(width: int, frame_size: Size) -> Size:
    """Return (width, height) with the frame's aspect, the height rounded to a multiple of 8."""
    return width, 8 * max(2, round(width * frame_size[1] / frame_size[0] / 8))
