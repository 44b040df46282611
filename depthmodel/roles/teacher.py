"""Teacher: trained on clear frames alone, from video (SSD-T) or from LiDAR."""

from typing import Literal

from torch import nn

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.config import DepthConfig, PoseConfig
from nightrain.depthmodel.losses.base import Poses
from nightrain.depthmodel.losses.mixtures import TeacherLoss, teacher_loss
from nightrain.depthmodel.losses.weighted_sum import Loss
from nightrain.depthmodel.network.model import make_model
from nightrain.depthmodel.network.pose import PoseNet
from nightrain.depthmodel.roles.objective import SIDES, Batch, Objective, recorded_poses
from nightrain.depthmodel.roles.role import Role, require

LIDAR_LOSS = TeacherLoss(photometric=0.0, smoothness=0.0, velocity=0.0, silog=1.0)


class TeacherRole(Role):
    """Settings of a teacher; with "lidar" supervision use the loss LIDAR_LOSS.

    `poses` are the recorded ones, or those of a pose network that is trained as well (SSD-T).
    """

    supervision: Literal["video", "lidar"] = "video"
    poses: Literal["recorded", "network"] = "recorded"
    pose: PoseConfig = PoseConfig()
    loss: TeacherLoss = TeacherLoss()

    def check(self, model: DepthConfig, data: TrainingSetConfig) -> None:
        """Raise ValueError unless the data has what the supervision needs."""
        if self.supervision == "video":
            reason = "training on video needs the neighbouring frames"
            require(data.neighbours, "data.neighbours", reason)
        else:
            reason = "training on LiDAR needs its depth"
            require(data.lidar_depth, "data.lidar_depth", reason)

    def objective(self, model: DepthConfig) -> "TeacherObjective":
        """Build the depth network, and the pose network where poses are learned."""
        return TeacherObjective(model, self)

    def card_words(self, data: TrainingSetConfig) -> str:
        """Describe the training frames and the supervision."""
        return f"A teacher trained on {', '.join(data.conditions)} frames from {self.supervision}."


class TeacherObjective(Objective):
    """Self-supervised loss on neighbouring frames, or supervised loss on LiDAR depth.

    With video the poses are the recorded ones or those of a pose network, whose scale the velocity
    loss fixes (md4all, eq. 9, docs/papers/md4all.md).
    """

    def __init__(self, model: DepthConfig, role: TeacherRole) -> None:
        trained: dict[str, nn.Module] = {"depth": make_model(model)}
        if role.supervision == "video" and role.poses == "network":
            trained["pose"] = PoseNet(role.pose)
        super().__init__(trained)
        self.role = role

    def forward(self, batch: Batch, epoch: int) -> Loss:
        """Losses of a batch of clear frames."""
        prediction = self.trained["depth"](batch["image"])
        return teacher_loss(self.role.loss, batch, prediction.inverse_depth, self._poses(batch))

    def _poses(self, batch: Batch) -> Poses | None:
        if self.role.supervision == "lidar":
            return None
        if "pose" not in self.trained:
            return recorded_poses(batch)
        return {side: self.trained["pose"](batch["target"], batch[side]) for side in SIDES}
