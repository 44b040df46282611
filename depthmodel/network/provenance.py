"""What each part of a network is: published, reconstructed from a figure, or new here."""

from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.strict_config import StrictConfig

PAPER = "IID-RDepth (Bai et al. 2026)"


def provenance(config: DepthConfig) -> dict[str, str]:
    """Each part of a network, with what of it is whose; the text and code of IID-RDepth are not
    public, so that what is said to be its is what its abstract and figure show.
    """
    rows = {"encoder": f"published: {config.backbone.kind} as transformers has it"}
    rows |= _decoder(config)
    if restoration := config.restoration:
        rows["restoration"] = (
            f"the paper's ({PAPER}): a diffusion from degraded features under depth supervision; "
            "reconstructed: residual shift after ResShift, its schedule, the UNet, the losses"
        )
        if restoration.kind == "one-step":
            rows["restoration"] = "new: the same UNet as a plain residual, a control of capacity"
        if restoration.num_components is not None:
            rows["subspace"] = f"new: restored are {restoration.num_components} components alone"
    if view := config.auxview:
        rows["auxiliary view"] = (
            f"the paper's ({PAPER}): alignment and fusion of low-level features, the identity "
            f"without a view; reconstructed: alignment by {view.alignment}, window attention, "
            "deformable sampling, gate; new: matched inverse depth as evidence, doubt of a view of "
            "which little matches"
        )
    return rows


def _decoder(config: DepthConfig) -> dict[str, str]:
    if isinstance(config.decoder, StrictConfig):
        return {
            "decoder": "new: isometries and couplings from a feature to log depth, invertible end "
            "to end with stated constants; the paper asks for the property"
        }
    couplings = (
        f"the paper's ({PAPER}): invertible lower stages; reconstructed: which streams they couple"
    )
    if config.decoder is not None:
        rows = {"decoder": "published: PixelFormer's wiring, written from its description"}
        return rows | ({"lower stages": couplings} if config.decoder.lower == "invertible" else {})
    rows = {"decoder": "published: DPT (Ranftl et al. 2021)"}
    return rows | ({"lower stages": couplings} if config.head.lower == "invertible" else {})
