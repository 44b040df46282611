"""Training configuration of an arm's student: `world-student` with the teacher's network."""

from dataclasses import replace
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.corruptions import Corruptions
from nightrain.datasets.validation import in_one_line
from nightrain.depthmodel.config import IMAGENET_EFFICIENTNETS, DepthConfig, EncoderConfig
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.student import StudentRole
from nightrain.depthmodel.training.config import TrainConfig, checked
from nightrain.depthmodel.training.distillation_presets import with_restoration, world_student
from nightrain.pipelines.usefulness.arms import Arm

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def student_config(
    arm: Arm,
    *,
    seed: int,
    teacher: Path,
    network: DepthConfig,
    labels: str,
    recipes: tuple[str, ...],
    num_conditions: int,
    recorded: tuple[Condition, ...] = (Condition.CLEAR,),
    num_steps: int | None = None,
    batch_size: int | None = None,
) -> TrainConfig:
    """Configure the run of an arm and a seed.

    `teacher`, its `network` and `labels` are those of the arm's backbone; `recipes` are this arm's
    folders below variants/, `num_conditions` the number of conditions of the main arm's variants,
    `recorded` are the conditions of the train frames. Raises InvalidRequest for settings that do
    not fit together.
    """
    base = world_student()
    assert isinstance(base.role, StudentRole)
    encoder = _encoder(arm, network.encoder)
    model = network.model_copy(update={"encoder": encoder})
    role = base.role.model_copy(
        update={
            "teacher": teacher,
            "start": "teacher" if arm.start == "teacher" else "configured",
            "target": arm.target,
            "loss": replace(base.role.loss, **arm.loss),
            "frozen": arm.frozen or _all_but_norms(arm, model),
        }
    )
    config = base.model_copy(
        update={
            "name": arm.name,
            "role": role,
            "data": base.data.model_copy(
                update=_shown(arm, recipes, num_conditions, recorded)
                | {
                    "labels": labels if arm.target == "labels" else None,
                    "exact_depth": arm.target == "exact",
                    "variant_confidence": arm.variant_confidence,
                    "input_size": network.input_size,
                    "loss_size": network.input_size,
                }
            ),
            "model": model,
            "num_steps": round((num_steps or base.num_steps) * arm.num_steps_factor),
            "batch_size": batch_size or base.batch_size,
            "seed": seed,
        }
    )
    if arm.restoration is not None:
        config = with_restoration(config, arm.restoration)
    try:
        return checked(config)
    except ValidationError as error:
        raise InvalidRequest(
            f"The settings of the arm {arm.name!r} do not fit together: {in_one_line(error)}"
        ) from error


def has_pretrained(encoder: EncoderConfig) -> bool:
    """Whether an encoder can start pretrained without a model hub or with its own weights."""
    return encoder.kind == "efficientnet" or encoder.pretrained is not None


def _encoder(arm: Arm, encoder: EncoderConfig) -> EncoderConfig:
    """The teacher's encoder; its pretrained weights are needed only where a student starts anew."""
    if arm.start == "teacher":
        return encoder.model_copy(update={"pretrained": None})
    if not has_pretrained(encoder):
        raise InvalidRequest(
            f"The arm {arm.name!r} needs a pretrained encoder; the teacher's, {encoder.label}, has "
            "none. Use a teacher with the encoder efficientnet lite0, or leave this arm out."
        )
    own = IMAGENET_EFFICIENTNETS.get(encoder.size)
    return encoder.model_copy(update={"pretrained": encoder.pretrained or own})


def _shown(
    arm: Arm, recipes: tuple[str, ...], num_conditions: int, recorded: tuple[Condition, ...]
) -> dict[str, object]:
    """Fields of the training data that say what a student is shown."""
    share = arm.synthetic_share
    if share is None and arm.shown in ("corruptions", "twins"):
        share = num_conditions / (num_conditions + 1)
    return {
        "conditions": recorded if arm.shown == "frames" else (Condition.CLEAR,),
        "recipes": recipes if arm.shown == "variants" else (),
        "twins": arm.shown == "twins",
        "corruptions": Corruptions() if arm.shown == "corruptions" else None,
        "p_clear": "uniform" if share is None else 1.0 - share,
    }


def _all_but_norms(arm: Arm, model: DepthConfig) -> tuple[str, ...]:
    """Modules to freeze so that normalisation layers alone are trained; () trains everything.

    A head that starts anew is trained whole.
    """
    if arm.trained == "all":
        return ()
    with torch.random.fork_rng(devices=[]):
        network = DepthModel(model.without_pretrained())
    of_start = "encoder." if arm.start == "pretrained" else ""
    return tuple(
        name
        for name, module in network.named_modules()
        if name.startswith(of_start)
        and not isinstance(module, NORMS)
        and next(module.children(), None) is None
        and next(module.parameters(), None) is not None
    )
