"""Network presets: architectures for the papers' settings and for the built-in world.

`paper_*` are those of SSD (arXiv 2403.05056, sections on the network and its training): DINOv2
ViT-B/14 with a DPT head at 784 x 518, and a pose network on a ResNet-18.

`world_*` are small enough to train on two CPU cores, on the built-in world. Their encoder has
ImageNet weights that are installed with this package, so that no model hub is needed.
"""

from nightrain.depthmodel.config import (
    IMAGENET_EFFICIENTNET,
    DepthConfig,
    EncoderConfig,
    PoseConfig,
)
from nightrain.depthmodel.decoder_config import DptConfig
from nightrain.depthmodel.weights import Weights

DINOV2_BASE = Weights("facebook/dinov2-base")
RESNET_18 = Weights("microsoft/resnet-18")


def paper_depth(*, pretrained: bool = True) -> DepthConfig:
    """ViT-B/14 with a DPT decoder laid out as in Depth Anything; input 784 x 518."""
    weights = DINOV2_BASE if pretrained else None
    return DepthConfig(encoder=EncoderConfig(kind="dinov2", size="base", pretrained=weights))


def paper_pose(*, pretrained: bool = True) -> PoseConfig:
    """ResNet-18 on two frames; SSD uses 576 x 320."""
    return PoseConfig(size="18", pretrained=RESNET_18 if pretrained else None)


def world_depth(
    *, pretrained: bool = True, input_size: tuple[int, int] = (320, 192)
) -> DepthConfig:
    """EfficientNet-Lite0 with a light DPT decoder, 3.2 million weights; input 320 x 192."""
    weights = IMAGENET_EFFICIENTNET if pretrained else None
    decoder = DptConfig(
        reassemble_channels=(32, 32, 32, 32), fusion_channels=32, head_channels=16, detail="half"
    )
    return DepthConfig(
        encoder=EncoderConfig(kind="efficientnet", size="lite0", pretrained=weights),
        decoder=decoder,
        input_size=input_size,
    )


def world_pose() -> PoseConfig:
    """Pose network on a ResNet of a million weights.

    Its initial translations are ten times the default: at the world's frame rate a car moves about
    a metre per frame, and a short training cannot first grow the output a hundredfold.
    """
    return PoseConfig(size="micro", hidden_channels=64, translation_scale_m=0.1)
