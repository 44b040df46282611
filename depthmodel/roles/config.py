"""Everything that decides a training run, as plain data that a run keeps beside its results."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.config import DepthConfig, PoseConfig, StrictConfig, ViewKind
from nightrain.depthmodel.losses.mixtures import StudentLoss, TeacherLoss
from nightrain.depthmodel.losses.restoration import RestorerLoss
from nightrain.depthmodel.optimiser import OptimiserConfig
from nightrain.depthmodel.weights import Weights

Count = Annotated[int, Field(ge=1)]


LIDAR_LOSS = TeacherLoss(photometric=0.0, smoothness=0.0, velocity=0.0, silog=1.0)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TeacherConfig(_Part):
    """A teacher: clear frames alone, from video or from LiDAR.

    `poses`: the recorded ones, or those of a pose network that is trained along (SSD-T).
    """

    supervision: Literal["video", "lidar"] = "video"
    poses: Literal["recorded", "network"] = "recorded"
    pose: PoseConfig = PoseConfig()
    loss: TeacherLoss = TeacherLoss()  # of a supervised one: LIDAR_LOSS


class StudentConfig(_Part):
    """A student: clear frames and variants, labels of a teacher that saw the clear frame.

    `teacher` is the teacher's folder: its encoder is the frozen reference of the semantic loss
    unless `reference` names other weights of the student's own architecture (the paper: the
    pretrained DINOv2). `start`: as the model's configuration says (the paper), or from the teacher.
    `target` "exact" learns a rendered world's true depth instead of labels: an upper bound. The
    reliability mask needs neighbours and recorded poses; in the first `num_unmasked_epochs` it is
    one everywhere.
    """

    teacher: Path | None = None
    reference: Weights | None = None
    start: Literal["configured", "teacher"] = "configured"
    target: Literal["labels", "exact"] = "labels"
    frozen: tuple[str, ...] = ()  # modules that are not trained, as "backbone"
    num_unmasked_epochs: Annotated[int, Field(ge=0)] = 1
    loss: StudentLoss = StudentLoss()


class RestorerConfig(_Part):
    """Supervised training of some parts of the family on clear frames (iid_rdepth.md, 4.6).

    `base` is a model's folder whose weights start the parts of the same name. `frozen` names the
    modules that are not trained. `target`: what LiDAR measured, or a rendered world's depth, which
    `data.sparse_share` thins. An auxiliary view is the stereo partner or the frame before, and
    `aux_dropout` hides it from that share of the samples, so that one network serves with it and
    without; `aux_wrong` shows that share another sample's, so that it learns to doubt.
    `supervised_steps` decodes that many steps of the restoration at each training step, the last
    always and others by chance, instead of all: half of the time and the memory.
    """

    kind: Literal["restorer"] = "restorer"
    base: Path | None = None
    frozen: tuple[str, ...] = ("backbone",)
    target: Literal["lidar", "exact"] = "exact"
    view: ViewKind = "stereo"
    aux_dropout: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    aux_wrong: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    supervised_steps: Annotated[int, Field(ge=1)] | None = None  # of restoration; None: all
    num_epochs_before_projection: Annotated[int, Field(ge=0)] = 2
    loss: RestorerLoss = RestorerLoss()


class TrainConfig(_Part):
    """A run. `name` is for people."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")
    role: TeacherConfig | StudentConfig | RestorerConfig
    model: DepthConfig
    data: TrainingSetConfig
    optimiser: OptimiserConfig = OptimiserConfig()
    num_steps: Count
    batch_size: Count  # of one rank
    num_workers: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    average_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = 0.999
    precision: Literal["float32", "bfloat16", "auto"] = "auto"  # auto: bfloat16 where a GPU has it
    compile: bool = False
    report_every: Count = 50
    checkpoint_every: Count = 500
    pictures_every: Count | None = None
    tensorboard: bool = False

    @model_validator(mode="after")
    def _checks(self) -> "TrainConfig":
        if isinstance(self.role, StudentConfig):
            if self.role.target == "labels" and self.data.labels is None:
                raise ValueError("data.labels: a student learns from labels; name their folder")
            if self.role.target == "exact" and not self.data.exact_depth:
                raise ValueError("data.exact_depth: learning from the true depth needs it")
            if self.role.teacher is None and self.role.start == "teacher":
                raise ValueError("role.teacher: to start from a teacher, name its folder")
            if self.role.loss.feature and self.model.restoration is None:
                raise ValueError("role.loss.feature: only a network with restoration has it")
            if self.role.loss.mask_mode != "none" and not self.data.neighbours:
                raise ValueError("data.neighbours: the reliability mask compares with neighbours")
        elif isinstance(self.role, RestorerConfig):
            self._check_restorer(self.role)
        elif self.role.supervision == "video" and not self.data.neighbours:
            raise ValueError("data.neighbours: learning from video needs the frames beside")
        elif self.role.supervision == "lidar" and not self.data.lidar_depth:
            raise ValueError("data.lidar_depth: learning from LiDAR needs it")
        return self

    def _check_restorer(self, role: RestorerConfig) -> None:
        has = {"lidar": self.data.lidar_depth, "exact": self.data.exact_depth}
        if not has[role.target]:
            raise ValueError(f"data.{role.target}_depth: learning from this depth needs it")
        if self.model.auxview is not None:
            self._check_view(role)
        if role.loss.projected and not isinstance(self.model.decoder, StrictConfig):
            raise ValueError("role.loss.projected: only a strict decoder can take depth back")

    def _check_view(self, role: RestorerConfig) -> None:
        data = self.data
        if role.view == "stereo" and not data.stereo:
            raise ValueError("data.stereo: training an auxiliary view needs the stereo partners")
        if role.view == "previous" and not data.neighbours:
            raise ValueError("data.neighbours: the frame before as a view needs the frames beside")
        if role.view == "previous" and data.input_size != data.loss_size:
            raise ValueError("data.loss_size: the frame before is loaded at it, so it must be that")
