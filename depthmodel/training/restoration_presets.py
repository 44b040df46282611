"""Training runs of the restoring members of the family: stage 0, 1 and 2 (iid_rdepth.md, 4.6).

    nightrain train world-base DATASET --base ENCODER --out BASE           # stage 0: the head
    nightrain train world-restoration DATASET --base BASE --out R1         # stage 1
    nightrain train world-stereo DATASET --base R1 --out R3                # stage 2

The paper's settings are not public; sizes are its figure's and PixelFormer's, rates are ours.
"""

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.config import (
    AuxViewConfig,
    DepthConfig,
    EncoderConfig,
    PixelFormerConfig,
    RestorationConfig,
)
from nightrain.depthmodel.network.presets import world_depth
from nightrain.depthmodel.roles.restorer import RestorerRole
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.optimiser import OptimiserConfig
from nightrain.depthmodel.weights import Weights

SPARSE_SHARE = 0.05  # of a rendered depth map, as sparse as a scan
SWIN_LARGE = Weights("microsoft/swin-large-patch4-window7-224-in22k")
RATES = {"encoder": 1e-5, "decoder": 4e-5, "restoration": 1e-4, "auxview": 1e-4}
WORLD_RATES = {"encoder": 5e-4, "decoder": 5e-4} | {
    "restoration": 5e-4,
    "auxview": 1e-3,
}
# Pictures, for at this size features see shifts of parts of a cell badly (auxview.py).
WORLD_VIEW = AuxViewConfig(compare="images", max_disparity_px=40.0)
UPPER_STAGES = ("encoder", "decoder.upper")
KITTI_STEPS = 20 * 23_158 // 8  # 20 epochs of Eigen's train list in batches of 8


def world_restoration_network() -> RestorationConfig:
    """A UNet of some hundred thousand weights for features of 48 channels at 24 x 14."""
    return RestorationConfig(base_channels=32, multipliers=(1, 2, 2), num_blocks=1)


def world_base() -> TrainConfig:
    """Stage 0: a DPT head on a frozen encoder, from 5 % of the world's depth."""
    model = world_depth()
    return TrainConfig(
        name="world-base",
        role=RestorerRole(),
        model=model,
        data=TrainingSetConfig(
            input_size=model.input_size,
            loss_size=model.input_size,
            lidar_depth=False,
            exact_depth=True,
            sparse_share=SPARSE_SHARE,
        ),
        optimiser=OptimiserConfig(lr=WORLD_RATES, num_warmup_steps=50),
        num_steps=600,
        batch_size=8,
        precision="float32",
        pictures_every=200,
    )


def world_restoration() -> TrainConfig:
    """Stage 1: restoration beside the head (R1)."""
    base = world_base()
    model = base.model.model_copy(update={"restoration": world_restoration_network()})
    return base.model_copy(update={"name": "world-restoration", "model": model})


def world_stereo() -> TrainConfig:
    """Stage 2: what the stereo partner adds (R1 with an auxiliary view), all else being frozen."""
    base = world_restoration()
    model = base.model.model_copy(update={"auxview": WORLD_VIEW})
    return base.model_copy(
        update={
            "name": "world-stereo",
            "model": model,
            "role": RestorerRole(frozen=("encoder", "decoder", "restoration")),
            "data": base.data.model_copy(update={"stereo": True}),
        }
    )


def kitti_base() -> TrainConfig:
    """Stage 0 at full size: PixelFormer's wiring on Swin-L, its lower stages invertible."""
    model = DepthConfig(
        encoder=EncoderConfig(kind="swin", size="large", pretrained=SWIN_LARGE, drop_path=0.3),
        decoder=PixelFormerConfig(lower="invertible"),
        input_size=(1120, 352),
    )
    return TrainConfig(
        name="kitti-base",
        role=RestorerRole(frozen=(), target="lidar"),
        model=model,
        data=TrainingSetConfig(input_size=model.input_size, loss_size=model.input_size),
        optimiser=OptimiserConfig(lr=RATES),
        num_steps=KITTI_STEPS,
        batch_size=8,
        num_workers=4,
        compile=True,
        checkpoint_every=1000,
        pictures_every=5000,
    )


def kitti_restoration() -> TrainConfig:
    """Stage 1 at full size (R2): the figure's frozen and trained parts."""
    base = kitti_base()
    model = base.model.model_copy(
        update={"restoration": RestorationConfig(base_channels=128)}  # size M
    )
    role = RestorerRole(frozen=UPPER_STAGES, target="lidar")
    return base.model_copy(update={"name": "kitti-restoration", "model": model, "role": role})


def kitti_stereo() -> TrainConfig:
    """Stage 2 at full size (R3): the rectified partner; half of the epochs."""
    base = kitti_restoration()
    model = base.model.model_copy(update={"auxview": AuxViewConfig()})
    role = RestorerRole(frozen=("encoder", "decoder", "restoration"), target="lidar")
    data = base.data.model_copy(update={"stereo": True})
    return base.model_copy(
        update={
            "name": "kitti-stereo",
            "model": model,
            "role": role,
            "data": data,
            "num_steps": KITTI_STEPS // 2,
        }
    )


def nuscenes_restoration() -> TrainConfig:
    """Stage 1 on nuScenes' LiDAR at 768 x 448 (R2); stage 0 is `kitti-base` at this size."""
    return _at_size(kitti_restoration(), "nuscenes-restoration", (768, 448))


def robotcar_restoration() -> TrainConfig:
    """Stage 1 on RobotCar's laser at 544 x 320, as md4all's size (R2)."""
    return _at_size(kitti_restoration(), "robotcar-restoration", (544, 320))


def _at_size(config: TrainConfig, name: str, size: tuple[int, int]) -> TrainConfig:
    model = config.model.model_copy(update={"input_size": size})
    data = config.data.model_copy(update={"input_size": size, "loss_size": size})
    return config.model_copy(update={"name": name, "model": model, "data": data})
