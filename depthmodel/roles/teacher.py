"""A teacher: trained on clear frames alone, from video (SSD-T) or from LiDAR."""

from torch import nn

from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.losses.mixtures import teacher_loss
from nightrain.depthmodel.losses.weighted_sum import Loss, Poses
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.pose import PoseNet
from nightrain.depthmodel.roles.config import TeacherConfig
from nightrain.depthmodel.roles.objective import SIDES, Batch, Objective, recorded_poses


class Teacher(Objective):
    """Learns that neighbouring frames look alike through its depth, or what LiDAR measured.

    From video the motion is the recorded one, or that of a pose network, whose scale the weak
    velocity loss gives (Mao et al. 2024, section 3.2; md4all).
    """

    def __init__(self, model: DepthConfig, config: TeacherConfig) -> None:
        trained: dict[str, nn.Module] = {"depth": DepthModel(model)}
        if config.supervision == "video" and config.poses == "network":
            trained["pose"] = PoseNet(config.pose)
        super().__init__(trained)
        self.config = config

    def forward(self, batch: Batch, epoch: int) -> Loss:
        """Losses of a batch of clear frames."""
        prediction = self.trained["depth"](batch["image"])
        return teacher_loss(self.config.loss, batch, prediction.inverse_depth, self._poses(batch))

    def _poses(self, batch: Batch) -> Poses | None:
        if self.config.supervision == "lidar":
            return None
        if "pose" not in self.trained:
            return recorded_poses(batch)
        return {side: self.trained["pose"](batch["target"], batch[side]) for side in SIDES}
