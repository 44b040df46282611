"""Training presets of the restoration models R1 to R3, in stages.

The stages are those of IID-RDepth, section 4.6 (docs/papers/iid_rdepth.md):

    nightrain train world-base DATASET --base ENCODER --out BASE           # stage 0: the head
    nightrain train world-restoration DATASET --base BASE --out R1         # stage 1
    nightrain train world-stereo DATASET --base R1 --out R3                # stage 2

Sizes follow the paper's figure and PixelFormer; learning rates are ours. Results of the `world-*`
presets are in docs/studies/restoration.md; there are none of the `kitti-*` presets yet.
"""

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.config import AuxViewConfig, DepthConfig, EncoderConfig, RestorationConfig
from nightrain.depthmodel.decoder_config import PixelFormerConfig
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
# Compares images, because at this size features hardly resolve sub-cell shifts.
WORLD_VIEW = AuxViewConfig(compare="images", max_disparity_px=64.0)
UPPER_STAGES = ("encoder", "decoder.upper")
KITTI_STEPS = 20 * 23_158 // 8  # 20 epochs of Eigen's train list in batches of 8


def world_restoration_network() -> RestorationConfig:
    """Small restoration network: a UNet for the features of the world's network at 40 x 24."""
    return RestorationConfig(base_channels=32, multipliers=(1, 2, 2), num_blocks=1)


def world_base() -> TrainConfig:
    """nightrain train world-base DATASET --base ENCODER --out RUN.

    Stage 0: a DPT head on a frozen encoder, trained on 5 % of the exact depth.
    """
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
    """nightrain train world-restoration DATASET --base BASE --out RUN.

    Stage 1: restoration between encoder and head (R1).
    """
    base = world_base()
    model = base.model.model_copy(update={"restoration": world_restoration_network()})
    return base.model_copy(update={"name": "world-restoration", "model": model})


def world_stereo() -> TrainConfig:
    """nightrain train world-stereo DATASET --base R1 --out RUN.

    Stage 2: the auxiliary view of the stereo partner, with everything else frozen.
    """
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
    """nightrain train kitti-base DATASET --out RUN.

    Stage 0 at full size: PixelFormer's decoder on Swin-L, with invertible lower stages.
    """
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
    """nightrain train kitti-restoration DATASET --base BASE --out RUN.

    Stage 1 at full size (R2), with the frozen parts of the paper's figure.
    """
    base = kitti_base()
    model = base.model.model_copy(
        update={"restoration": RestorationConfig(base_channels=128)}  # size M
    )
    role = RestorerRole(frozen=UPPER_STAGES, target="lidar")
    return base.model_copy(update={"name": "kitti-restoration", "model": model, "role": role})


def kitti_stereo() -> TrainConfig:
    """nightrain train kitti-stereo DATASET --base R2 --out RUN.

    Stage 2 at full size (R3): the rectified stereo partner, for half of the epochs.
    """
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
    """nightrain train nuscenes-restoration DATASET --base BASE --out RUN.

    Stage 1 on nuScenes' LiDAR at 768 x 448 (R2).
    """
    return at_size(kitti_restoration(), "nuscenes-restoration", (768, 448))


def robotcar_restoration() -> TrainConfig:
    """nightrain train robotcar-restoration DATASET --base BASE --out RUN.

    Stage 1 on RobotCar's LiDAR at 544 x 320, md4all's size (R2).
    """
    return at_size(kitti_restoration(), "robotcar-restoration", (544, 320))


def at_size(config: TrainConfig, name: str, size: tuple[int, int]) -> TrainConfig:
    """Return a run of another name whose images are of another size (width, height)."""
    model = config.model.model_copy(update={"input_size": size})
    data = config.data.model_copy(update={"input_size": size, "loss_size": size})
    return config.model_copy(update={"name": name, "model": model, "data": data})
