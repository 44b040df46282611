"""The networks that a configuration asks for."""

from datasets.errors import Refused
from depthmodel.model import DepthModel
from depthmodel.objectives import Objective
from depthmodel.student import Student
from depthmodel.teacher import Teacher
from depthmodel.training_config import StudentConfig, TrainConfig


def make_objective(config: TrainConfig) -> Objective:
    """The networks and the loss of a run; raises Refused for weights that do not fit or are absent.

    A network without pretrained weights starts at random numbers of torch's current generator.
    """
    role = config.role
    if not isinstance(role, StudentConfig):
        return Teacher(config.model, role)
    needs_reference = role.loss.semantic > 0
    student = Student(config.model, role, _reference(config, role) if needs_reference else None)
    if role.start == "teacher" and role.teacher is not None:
        teacher = DepthModel.from_pretrained(role.teacher)
        _require_alike(teacher, student.model, "start: teacher")
        student.model.load_state_dict(teacher.state_dict())
    return student


def _reference(config: TrainConfig, role: StudentConfig) -> DepthModel:
    """The frozen network whose encoder the semantic loss follows."""
    if role.reference is not None:
        backbone = config.model.backbone.model_copy(update={"pretrained": role.reference})
        return DepthModel(config.model.model_copy(update={"backbone": backbone}))
    if role.teacher is None:
        raise Refused(
            "The semantic loss needs a frozen encoder: name a teacher's folder or the reference's "
            "weights, or set loss.semantic to 0."
        )
    teacher = DepthModel.from_pretrained(role.teacher)
    _require_alike(teacher, DepthModel(config.model), "the semantic loss")
    return teacher


def _require_alike(teacher: DepthModel, student: DepthModel, what: str) -> None:
    if teacher.config.backbone.model_copy(update={"pretrained": None}) != (
        student.config.backbone.model_copy(update={"pretrained": None})
    ):
        raise Refused(
            f"{what}: the teacher's encoder is {teacher.config.backbone.kind} "
            f"{teacher.config.backbone.size}, the student's {student.config.backbone.kind} "
            f"{student.config.backbone.size}; they must be the same."
        )
