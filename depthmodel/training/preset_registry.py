"""Registry of training presets: names, and where each preset's function is defined.

The functions are imported when a preset is loaded, so that a command's help can list the names
without importing torch. To add a preset, write a function that returns a `TrainConfig` and add a
line here; a preset of another package is named as `package.module:function`.
"""

from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from nightrain.datasets.errors import InvalidRequest

if TYPE_CHECKING:
    from nightrain.depthmodel.training.config import TrainConfig

_DISTILLATION = "nightrain.depthmodel.training.distillation_presets"
_RESTORATION = "nightrain.depthmodel.training.restoration_presets"

PRESETS: dict[str, "str | Callable[[], TrainConfig]"] = {
    "demo-teacher": f"{_DISTILLATION}:demo_teacher",
    "demo-student": f"{_DISTILLATION}:demo_student",
    "world-teacher": f"{_DISTILLATION}:world_teacher",
    "world-lidar-teacher": f"{_DISTILLATION}:world_lidar_teacher",
    "world-student": f"{_DISTILLATION}:world_student",
    "world-restoring-student": f"{_DISTILLATION}:world_restoring_student",
    "world-base": f"{_RESTORATION}:world_base",
    "world-restoration": f"{_RESTORATION}:world_restoration",
    "world-stereo": f"{_RESTORATION}:world_stereo",
    "real-overfit": f"{_DISTILLATION}:real_overfit",
    "paper-teacher": f"{_DISTILLATION}:paper_teacher",
    "paper-student": f"{_DISTILLATION}:paper_student",
    "student": f"{_DISTILLATION}:student",
    "kitti-base": f"{_RESTORATION}:kitti_base",
    "kitti-restoration": f"{_RESTORATION}:kitti_restoration",
    "kitti-stereo": f"{_RESTORATION}:kitti_stereo",
    "nuscenes-base": f"{_RESTORATION}:nuscenes_base",
    "nuscenes-restoration": f"{_RESTORATION}:nuscenes_restoration",
    "robotcar-base": f"{_RESTORATION}:robotcar_base",
    "robotcar-restoration": f"{_RESTORATION}:robotcar_restoration",
    "dinov2-base": f"{_RESTORATION}:dinov2_base",
    "dinov2-restoration": f"{_RESTORATION}:dinov2_restoration",
}


def load_preset(name: str) -> "TrainConfig":
    """Return the run of a preset by its name or as `package.module:function`.

    Raises InvalidRequest for an unknown name and for a function that cannot be imported.
    """
    found = PRESETS.get(name, name if ":" in name else "")
    if not found:
        known = ", ".join(PRESETS)
        raise InvalidRequest(
            f"There is no preset {name!r}; choose one of {known}, or name a function of your own "
            "as package.module:function."
        )
    config = (_imported(found) if isinstance(found, str) else found)()
    from nightrain.depthmodel.training.config import TrainConfig  # here: it imports torch

    if not isinstance(config, TrainConfig):
        returned = type(config).__name__
        raise InvalidRequest(f"The preset {name!r} returned {returned}; expected a TrainConfig.")
    return config


def _imported(path: str) -> "Callable[[], TrainConfig]":
    try:
        return resolve_name(path)
    except Exception as error:  # whatever the module does when it is imported
        raise InvalidRequest(
            f"The preset {path!r} cannot be imported: {error}. Expected package.module:function, "
            "with the package installed."
        ) from error
