"""Training presets of the restoration models R1 to R3, in stages.

The stages are those of IID-RDepth, section 4.6 (docs/papers/iid_rdepth.md):

    nightrain train world-base DATASET --base ENCODER --out BASE           # stage 0: the head
    nightrain train world-restoration DATASET --base BASE --out R1         # stage 1
    nightrain train world-stereo DATASET --base R1 --out R3                # stage 2

Sizes follow the paper's figure and PixelFormer. Results of the `world-*`
presets are in docs/studies/restoration.md; there are none of the `kitti-*` presets yet.
"""

from nightrain.datasets.geometry.crops import KB_SIZE
from nightrain.datasets.loader.augment import Augmentation
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.config import AuxViewConfig, DepthConfig, EncoderConfig, RestorationConfig
from nightrain.depthmodel.decoder_config import PixelFormerConfig
from nightrain.depthmodel.losses.restoration import RestorerLoss
from nightrain.depthmodel.network.presets import paper_depth, world_depth
from nightrain.depthmodel.roles.restorer import RestorerRole
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.optimiser import OptimiserConfig
from nightrain.depthmodel.weights import Weights

SPARSE_SHARE = 0.05  # of a rendered depth map, as sparse as a scan
# timm's copy holds safetensors, at a commit that the hub can fetch.
SWIN_LARGE = Weights(
    "timm/swin_large_patch4_window7_224.ms_in22k", "527060f327d9b866b17f2f7f400b2bb937c30460"
)
# PixelFormer: Adam without weight decay or clipping, 4e-5 to 4e-6; the last two rates are ours.
RATES = OptimiserConfig(
    lr={"encoder": 4e-5, "decoder": 4e-5, "restoration": 1e-4, "auxview": 1e-4},
    weight_decay=0.0,
    num_warmup_steps=0,
    clip_norm=1e6,
    decay_power=0.9,
    final_factor=0.1,
)
PIXELFORMER_AUGMENTATION = Augmentation(
    brightness=0.1,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
    gamma=0.1,
    channels=0.1,
    colour_probability=0.5,
    noise_probability=0.0,
    rotation_deg=1.0,
)
KITTI_CROP = (1120, 352)  # for training; KB_SIZE, 1216 x 352, for tests
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

    Stage 0 at full size: PixelFormer's decoder on Swin-L, with invertible lower stages. The recipe
    is PixelFormer's (docs/papers/iid_rdepth.md): random crops of 352 x 1120 of the KB crop, its
    augmentation, depth above 1 m, 20 epochs of 8. Group norms replace its batch norms.
    """
    model = DepthConfig(
        encoder=EncoderConfig(kind="swin", size="large", pretrained=SWIN_LARGE, drop_path=0.3),
        decoder=PixelFormerConfig(lower="invertible"),
        input_size=KB_SIZE,
    )
    return TrainConfig(
        name="kitti-base",
        role=RestorerRole(frozen=(), target="lidar", loss=RestorerLoss(min_depth_m=1.0)),
        model=model,
        data=TrainingSetConfig(
            input_size=KITTI_CROP,
            loss_size=KITTI_CROP,
            crop_from=KB_SIZE,
            augmentation=PIXELFORMER_AUGMENTATION,
        ),
        optimiser=RATES,
        num_steps=KITTI_STEPS,
        batch_size=8,
        num_workers=4,
        average_decay=None,
        precision="float32",
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
    role = base.role.model_copy(update={"frozen": UPPER_STAGES})
    return base.model_copy(update={"name": "kitti-restoration", "model": model, "role": role})


def kitti_stereo() -> TrainConfig:
    """nightrain train kitti-stereo DATASET --base R2 --out RUN.

    Stage 2 at full size (R3): the rectified stereo partner, for half of the epochs.
    """
    base = kitti_restoration()
    model = base.model.model_copy(update={"auxview": AuxViewConfig()})
    role = base.role.model_copy(update={"frozen": ("encoder", "decoder", "restoration")})
    still = PIXELFORMER_AUGMENTATION.model_copy(update={"rotation_deg": 0.0})  # a rectified pair
    data = base.data.model_copy(update={"stereo": True, "augmentation": still})
    return base.model_copy(
        update={
            "name": "kitti-stereo",
            "model": model,
            "role": role,
            "data": data,
            "num_steps": KITTI_STEPS // 2,
        }
    )


def nuscenes_base() -> TrainConfig:
    """nightrain train nuscenes-base DATASET --out RUN.

    Stage 0 on nuScenes' LiDAR at 768 x 448: kitti-base with resized frames and md4all's
    augmentation.
    """
    return _resized(kitti_base(), "nuscenes-base", (768, 448))


def nuscenes_restoration() -> TrainConfig:
    """nightrain train nuscenes-restoration DATASET --base BASE --out RUN.

    Stage 1 on nuScenes' LiDAR at 768 x 448 (R2), from nuscenes-base.
    """
    return _resized(kitti_restoration(), "nuscenes-restoration", (768, 448))


def robotcar_base() -> TrainConfig:
    """nightrain train robotcar-base DATASET --out RUN.

    Stage 0 on RobotCar's LiDAR at 544 x 320, md4all's size.
    """
    return _resized(kitti_base(), "robotcar-base", (544, 320))


def robotcar_restoration() -> TrainConfig:
    """nightrain train robotcar-restoration DATASET --base BASE --out RUN.

    Stage 1 on RobotCar's LiDAR at 544 x 320 (R2), from robotcar-base.
    """
    return _resized(kitti_restoration(), "robotcar-restoration", (544, 320))


def dinov2_base() -> TrainConfig:
    """nightrain train dinov2-base DATASET --out RUN.

    Stage 0 with DINOv2 ViT-B/14 and a DPT decoder at 784 x 448, for nuScenes; the encoder learns
    at a tenth of the decoder's rate.
    """
    base = nuscenes_base()
    rates = OptimiserConfig(
        lr={"encoder": 1e-5, "decoder": 1e-4, "restoration": 1e-4, "auxview": 1e-4}
    )
    dinov2 = base.model_copy(update={"model": paper_depth(), "optimiser": rates})
    return at_size(dinov2, "dinov2-base", (784, 448))


def dinov2_restoration() -> TrainConfig:
    """nightrain train dinov2-restoration DATASET --base BASE --out RUN.

    Stage 1 with DINOv2 (R1), from dinov2-base: features are restored inside 256 principal
    components, because a UNet of their full width of 1536 would be larger than the encoder.
    """
    base = dinov2_base()
    restoration = RestorationConfig(base_channels=128, num_components=256)
    model = base.model.model_copy(update={"restoration": restoration})
    role = base.role.model_copy(update={"frozen": ("encoder",)})
    update = {"name": "dinov2-restoration", "model": model, "role": role}
    return base.model_copy(update=update)


def at_size(config: TrainConfig, name: str, size: tuple[int, int]) -> TrainConfig:
    """Return a run of another name whose images are of another size (width, height)."""
    model = config.model.model_copy(update={"input_size": size})
    data = config.data.model_copy(update={"input_size": size, "loss_size": size})
    return config.model_copy(update={"name": name, "model": model, "data": data})


def _resized(config: TrainConfig, name: str, size: tuple[int, int]) -> TrainConfig:
    """The same on frames that are resized, not cropped, with md4all's augmentation."""
    plain = {"crop_from": None, "augmentation": Augmentation()}
    data = config.data.model_copy(update=plain)
    return at_size(config.model_copy(update={"data": data}), name, size)
