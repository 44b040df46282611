"""ONNX export of a depth network, for runtimes without torch."""

from pathlib import Path

import torch
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import no_space_is_disk_full, write_whole
from nightrain.depthmodel.network.model import DepthModel

MAX_BYTES = 1_500_000_000  # protobuf is limited to 2 GB; larger weights need a second file


class InverseDepth(nn.Module):
    """Depth network with one input and one output."""

    def __init__(self, model: DepthModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Inverse depth (B, 1, H, W) in 1/m of an image (B, 3, H, W)."""
        return self.model(image).inverse_depth


def export_onnx(model: DepthModel, path: str | Path) -> None:
    """Export a network from `image` (B, 3, H, W) in [0, 1] to `inverse_depth` (B, 1, H, W) in 1/m.

    B is dynamic; H and W are those of the model's input_size. Normalisation is included. The file's
    metadata holds the model's digest and configuration. Raises InvalidRequest for models too large
    for one file, and DiskFull.
    """
    path = Path(path)
    num_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    if num_bytes > MAX_BYTES:
        raise InvalidRequest(
            f"the model has {num_bytes / 1e9:.1f} GB of weights, and one ONNX file holds "
            f"{MAX_BYTES / 1e9:.1f} GB: export a smaller encoder."
        )
    was_training = model.training
    try:
        program = _traced(model)
    finally:
        model.train(was_training)
    notes = {"digest": model.digest, "config": model.config.without_pretrained().model_dump_json()}
    program.model.metadata_props.update(notes)
    with no_space_is_disk_full(path.parent):
        write_whole(path, program.save)


def _traced(model: DepthModel) -> torch.onnx.ONNXProgram:
    width, height = model.config.input_size
    device = next(model.parameters()).device
    program = torch.onnx.export(
        InverseDepth(model).eval(),
        # Two images: torch.export would treat a batch of one as a constant.
        (torch.zeros(2, 3, height, width, device=device),),
        dynamo=True,
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        input_names=["image"],
        output_names=["inverse_depth"],
        verbose=False,
    )
    if program is None:
        raise InvalidRequest("torch.onnx.export returned no program for this network")
    return program
