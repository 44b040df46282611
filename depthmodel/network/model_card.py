"""Model card: architecture, provenance (data, recipe, commit, seed) and metrics of a saved network.

Rendered and read with huggingface_hub, so that the head is what the hub expects.
"""

import re
from pathlib import Path

import huggingface_hub
from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.documents import parse_yaml
from nightrain.datasets.io.untrusted import read_bytes
from nightrain.datasets.registry import is_reference
from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.decoder_config import DECODERS
from nightrain.depthmodel.network.model_folder import CARD, MAX_CONFIG_BYTES

LIBRARY = "nightrain"
HEAD = re.compile(r"---\r?\n(.*?\n)---\r?\n", re.DOTALL)  # YAML, of a card for the hub
PAPER = "IID-RDepth (Bai et al. 2026)"


class ModelCard(BaseModel):
    """Contents of a model card; the YAML head holds them for machines."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    title: str = Field(min_length=1, max_length=200)
    description: str = Field(min_length=1)  # in sentences
    data_set: str  # name and what identifies it
    recipe: str = ""  # of the variants it was trained on, by name and hash; "" = clear frames only
    commit: str = ""  # of this repository
    seed: int = 0
    command: str = ""  # that trained it
    metrics: dict[str, float] = {}  # "night/abs_rel": 0.192
    licence: str = "unknown"  # of the weights, which follows from the data and from the encoder

    def markdown(self, config: DepthConfig, digest: str, encoder: str) -> str:
        """Markdown text with a YAML head, of a model with this digest and encoder."""
        head = huggingface_hub.ModelCardData(
            library_name=LIBRARY,
            pipeline_tag="depth-estimation",
            license="other",
            nightrain=self.model_dump(mode="json") | {"digest": digest, "encoder": encoder},
        )
        return f"---\n{head.to_yaml()}\n---\n\n{self._body(config, digest, encoder)}"

    @classmethod
    def parse(cls, text: str) -> "ModelCard":
        """Read a card from its head; raises InvalidRequest."""
        try:
            head = HEAD.match(text)
            fields = dict(parse_yaml(head[1] if head else "")[LIBRARY])
            del fields["digest"], fields["encoder"]
            return cls.model_validate(fields)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest(
                f"this is not a nightrain model card ({type(error).__name__}); expected the "
                "README.md that save_pretrained writes"
            ) from error

    def _body(self, config: DepthConfig, digest: str, encoder: str) -> str:
        width, height = config.input_size
        rows = {
            "Network": config.network if config.has_own_network else config.encoder.label,
            "Encoder started from": encoder,
            "Input": f"{width} x {height} RGB, normalisation {config.normalisation}",
            "Output": f"depth in metres, {config.min_depth_m:g} to {config.max_depth_m:g}",
            "Data set": self.data_set,
            "Recipe of the variants": self.recipe or "none: clear frames only",
            "Commit": self.commit or "unknown",
            "Seed": str(self.seed),
            "Command": f"`{self.command}`" if self.command else "unknown",
            "Digest": digest,
            "Licence": self.licence,
        }
        lines = [f"# {self.title}", "", self.description, ""]
        lines += _table(("", ""), rows)
        lines += ["", "## Parts", ""]
        lines += _table(("part", "origin"), provenance(config))
        if self.metrics:
            lines += ["", "## Metrics", ""]
            lines += _table(("metric", "value"), {k: f"{v:.4g}" for k, v in self.metrics.items()})
        lines += [
            "",
            "## Use",
            "",
            "```python",
            "from nightrain.depthmodel.network.model import DepthModel",
            "from nightrain.depthmodel.network.predict import predict",
            "",
        ]
        lines += ['model = DepthModel.from_pretrained("this folder", device="cpu")']
        lines += ["depth_m = predict(model, [image])[0]  # (h, w, 3) uint8 RGB -> (h, w) metres"]
        return "\n".join([*lines, "```", ""])


def provenance(config: DepthConfig) -> dict[str, str]:
    """Origin of each part of a network: published, reconstructed from a figure, or new here.

    The text and code of IID-RDepth are not public; its part is known from its abstract and figure
    (docs/papers/iid_rdepth.md, section 1.1).
    """
    if config.has_own_network:
        return {"network": f"custom: {config.network}"}
    rows = {"encoder": _encoder(config)}
    rows |= DECODERS.load(config.decoder.kind).provenance(config.decoder)
    if restoration := config.restoration:
        rows["restoration"] = (
            f"{PAPER}: a diffusion from degraded features under depth supervision; "
            "reconstructed: residual shift after ResShift, its schedule, the UNet, the losses"
        )
        if restoration.kind == "one-step":
            rows["restoration"] = "new: the same UNet as a plain residual, a control of capacity"
        if restoration.num_components is not None:
            rows["subspace"] = (
                f"new: restores {restoration.num_components} principal components only"
            )
    if view := config.auxview:
        rows["auxiliary view"] = (
            f"{PAPER}: alignment and fusion of low-level features, the identity "
            f"without a view; reconstructed: alignment by {view.alignment}, window attention, "
            "deformable sampling, gate; new: matched inverse depth as evidence, down-weighting of "
            "views with few matches"
        )
    return rows


def _encoder(config: DepthConfig) -> str:
    kind = config.encoder.kind
    return f"custom: {kind}" if is_reference(kind) else f"published: {kind} of transformers"


def _table(head: tuple[str, str], rows: dict[str, str]) -> list[str]:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return lines + [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def read_card(folder: Path) -> ModelCard:
    """Read the card of a saved model; raises InvalidRequest."""
    try:
        return ModelCard.parse(read_bytes(folder, CARD, MAX_CONFIG_BYTES).decode())
    except (DamagedInput, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{folder} has no readable model card: {error}") from error
