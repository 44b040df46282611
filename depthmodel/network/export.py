"""Export of a depth network, as ONNX for runtimes without torch or as TorchScript for C++."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import no_space_is_disk_full, write_whole
from nightrain.depthmodel.network.model import DepthModel

MAX_BYTES = 1_500_000_000  # protobuf is limited to 2 GB; larger weights need a second file
NOTES = "nightrain.json"  # file of the notes inside a TorchScript archive
Check = Callable[[Path], object]  # of a finished file, before it gets its name


class InverseDepth(nn.Module):
    """Depth network with one input and one output."""

    def __init__(self, model: DepthModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Inverse depth (B, 1, H, W) in 1/m of an image (B, 3, H, W)."""
        return self.model(image).inverse_depth


def export_onnx(model: DepthModel, path: str | Path, check: Check = lambda path: None) -> None:
    """Export a network from `image` (B, 3, H, W) in [0, 1] to `inverse_depth` (B, 1, H, W) in 1/m.

    B is dynamic; H and W are those of the model's input_size. Normalisation is included. The file's
    metadata holds the model's digest and configuration. Raises InvalidRequest for models too large
    for one file, and DiskFull.
    """
    num_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    if num_bytes > MAX_BYTES:
        raise InvalidRequest(
            f"the model has {num_bytes / 1e9:.1f} GB of weights, and one ONNX file holds "
            f"{MAX_BYTES / 1e9:.1f} GB: export a smaller encoder."
        )
    was_training = model.training
    try:
        program = _onnx_program(model)
    finally:
        model.train(was_training)
    program.model.metadata_props.update(_notes(model))
    _write(Path(path), program.save, check)


def export_torchscript(
    model: DepthModel, path: str | Path, check: Check = lambda path: None
) -> None:
    """Export a network as a traced TorchScript module, from and to the same as `export_onnx`.

    The archive's file `nightrain.json` holds the model's digest and configuration. Raises
    InvalidRequest for a network that cannot be traced, and DiskFull.
    """
    was_training = model.training
    try:
        with warnings.catch_warnings():  # sizes that are constants here, and torch's own plans
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(
                InverseDepth(model).eval(), (_example(model),), check_trace=False
            )
    except RuntimeError as error:
        raise InvalidRequest(
            f"the network cannot be traced: {str(error).splitlines()[0]}. Export it as ONNX."
        ) from error
    finally:
        model.train(was_training)

    def save(draft: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(traced, str(draft), _extra_files={NOTES: json.dumps(_notes(model))})

    _write(Path(path), save, check)


def _write(path: Path, save: Callable[[Path], object], check: Check) -> None:
    """Give a file its name once it is saved and checked."""

    def whole(draft: Path) -> None:
        save(draft)
        check(draft)

    with no_space_is_disk_full(path.parent):
        write_whole(path, whole)


def _notes(model: DepthModel) -> dict[str, str]:
    config = model.config.without_pretrained()
    return {"digest": model.digest, "config": config.model_dump_json()}


def _example(model: DepthModel) -> torch.Tensor:
    """Two images: torch.export would treat a batch of one as a constant."""
    width, height = model.config.input_size
    return torch.zeros(2, 3, height, width, device=next(model.parameters()).device)


def _onnx_program(model: DepthModel) -> torch.onnx.ONNXProgram:
    program = torch.onnx.export(
        InverseDepth(model).eval(),
        (_example(model),),
        dynamo=True,
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        input_names=["image"],
        output_names=["inverse_depth"],
        verbose=False,
    )
    if program is None:
        raise InvalidRequest("torch.onnx.export returned no program for this network")
    return program
