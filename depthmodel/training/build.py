"""The networks that a configuration asks for, and whether they fit to each other and to labels."""

from collections.abc import Sequence

import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.index import TableRows
from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.network.family import load_shared
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_folder import saved_digest
from nightrain.depthmodel.roles.config import RestorerConfig, StudentConfig, TrainConfig
from nightrain.depthmodel.roles.objective import Objective
from nightrain.depthmodel.roles.restorer import Restorer
from nightrain.depthmodel.roles.student import Student
from nightrain.depthmodel.roles.teacher import Teacher


def make_objective(config: TrainConfig) -> Objective:
    """The networks and the loss of a run; raises InvalidRequest for weights that do not fit or are
    absent.

    A network without pretrained weights starts at random numbers of torch's current generator.
    """
    role = config.role
    if isinstance(role, RestorerConfig):
        return _restorer(config, role)
    if not isinstance(role, StudentConfig):
        return Teacher(config.model, role)
    follows = role.loss.semantic > 0 or role.loss.feature > 0
    reference = _reference(config, role) if follows else None
    student = Student(config.model, role, reference)
    if role.start == "teacher" and role.teacher is not None:
        teacher = DepthModel.from_pretrained(role.teacher)
        parts = ("backbone", "head", "min_depth_m", "max_depth_m", "normalisation")
        _require_alike(teacher.config, config.model, parts, "To start from the teacher")
        load_shared(student.model, teacher.state_dict())
    student.model.freeze(role.frozen)
    return student


def _restorer(config: TrainConfig, role: RestorerConfig) -> Restorer:
    restorer = Restorer(config.model, role)
    if role.base is not None:
        base = DepthModel.from_pretrained(role.base)
        parts = ("backbone", "min_depth_m", "max_depth_m", "normalisation")
        _require_alike(base.config, config.model, parts, "To start from another network")
        load_shared(restorer.model, base.state_dict())
    restorer.model.freeze(role.frozen)
    return restorer


def require_labels_of_teacher(config: TrainConfig, labels: TableRows | None) -> None:
    """Raise InvalidRequest where a student's labels are of another teacher than the one it
    names.
    """
    role = config.role
    if not isinstance(role, StudentConfig) or role.teacher is None or labels is None:
        return
    digest = saved_digest(role.teacher)
    made_by = set(labels.columns["teacher_sha256"].tolist())
    if made_by - {digest}:
        raise InvalidRequest(
            f"labels/{config.data.labels} are of the teacher {', '.join(sorted(made_by))}, but "
            f"{role.teacher} holds {digest}. Name the teacher that made the labels, or label again "
            "with `nightrain label`."
        )


def _reference(config: TrainConfig, role: StudentConfig) -> DepthModel:
    """The frozen network whose encoder the semantic and the feature loss follow."""
    if role.reference is not None:
        backbone = config.model.backbone.model_copy(update={"pretrained": role.reference})
        with torch.random.fork_rng(devices=[]):  # the student starts as it would without it
            return DepthModel(config.model.model_copy(update={"backbone": backbone}))
    if role.teacher is None:
        raise InvalidRequest(
            "The semantic and the feature loss need a frozen encoder: name a teacher's folder or "
            "the reference's weights, or set loss.semantic and loss.feature to 0."
        )
    teacher = DepthModel.from_pretrained(role.teacher)
    _require_alike(
        teacher.config, config.model, ("backbone",), "For the semantic and the feature loss"
    )
    return teacher


def _require_alike(
    teacher: DepthConfig, student: DepthConfig, parts: Sequence[str], what: str
) -> None:
    theirs, ours = (_architecture(config) for config in (teacher, student))
    differing = [
        f"{part} is {theirs[part]}, the student's {ours[part]}"
        for part in parts
        if theirs[part] != ours[part]
    ]
    if differing:
        raise InvalidRequest(
            f"{what}, its network must be the student's, but its {'; its '.join(differing)}. Name "
            "another teacher, or train a student of its architecture."
        )


def _architecture(config: DepthConfig) -> dict[str, object]:
    fields = config.without_pretrained().model_dump(mode="json")
    del fields["backbone"]["drop_path"]  # it says how to train, and has no weights
    return fields
