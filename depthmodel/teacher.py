"""A teacher: trained on clear frames alone, from video (SSD-T) or from LiDAR."""

import torch
from torch import nn

from depthmodel.config import DepthConfig
from depthmodel.dpt import resize
from depthmodel.losses import Losses, weighted
from depthmodel.model import DepthModel
from depthmodel.objectives import SIDES, Batch, Objective, recorded_poses, reprojection
from depthmodel.posenet import PoseNet
from depthmodel.silog import silog
from depthmodel.smoothness import smoothness
from depthmodel.training_config import TeacherConfig
from depthmodel.velocity import velocity_error


class VideoTeacher(Objective):
    """Self-supervised: neighbouring frames must look alike through depth and motion.

    Photometric minimum over t-1 and t+1 with auto-mask, edge-aware smoothness, and, with a pose
    network, the weak velocity loss that gives it the scale (Mao et al. 2024, section 3.2; md4all).
    """

    def __init__(self, model: DepthConfig, config: TeacherConfig) -> None:
        trained: dict[str, nn.Module] = {"depth": DepthModel(model)}
        if config.poses == "network":
            trained["pose"] = PoseNet(config.pose)
        super().__init__(trained)
        self.config = config

    def forward(self, batch: Batch, epoch: int) -> Losses:
        """Losses of a batch of clear frames with neighbours."""
        target = batch["target"]
        predicted = self.model(batch["image"]).inverse_depth
        inverse_depth = resize(predicted, (target.shape[2], target.shape[3])).float()
        poses, parts = self._poses(batch)
        seen = reprojection(batch, 1 / inverse_depth, poses, automask=True)
        parts |= {"photometric": seen.loss, "smoothness": smoothness(inverse_depth, target)}
        return weighted(
            parts, self.config.loss, {"explained": float(seen.explained.float().mean())}
        )

    def _poses(self, batch: Batch) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        recorded = recorded_poses(batch)
        if "pose" not in self.trained:
            return recorded, {}
        pose = self.trained["pose"]
        found = {side: pose(batch["target"], batch[side]) for side in SIDES}
        errors = [velocity_error(found[s], recorded[s], batch[f"has_{s}"]) for s in SIDES]
        return found, {"velocity": torch.stack(errors).mean()}


class LidarTeacher(Objective):
    """Supervised by LiDAR with the scale-invariant log loss."""

    def __init__(self, model: DepthConfig, config: TeacherConfig) -> None:
        super().__init__({"depth": DepthModel(model)})
        self.config = config

    def forward(self, batch: Batch, epoch: int) -> Losses:
        """Losses of a batch; images without a return are counted and cost nothing."""
        true_m = batch["lidar_depth_m"].unsqueeze(1)
        predicted = self.model(batch["image"]).inverse_depth
        depth_m = 1 / resize(predicted, (true_m.shape[2], true_m.shape[3])).float()
        config = self.model.config
        found = silog(depth_m, true_m, config.min_depth_m, config.max_depth_m)
        parts = {"silog": found.loss + 0.0 * depth_m.mean()}  # a gradient, also where it is zero
        return weighted(parts, self.config.loss, {"images_without_depth": float(found.num_without)})
