"""Model exports: a depth network as ONNX or TorchScript, checked against the network itself."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.validation import Settings

if TYPE_CHECKING:
    import numpy as np

Runtime = Callable[["np.ndarray"], "np.ndarray"]  # images (B, 3, H, W) to inverse depth in 1/m
CHECKED_BATCHES = (1, 2, 3)  # a batch size that was traced as a constant shows in the others
TOLERANCE = 1e-3  # largest relative difference of inverse depth, and so of depth


class ExportModelJob(Settings):
    """Options of `nightrain export model`."""

    model: Path = Field(
        description="Model folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    to: Literal["onnx", "torchscript"] = Field(
        description="onnx: for ONNX Runtime, TensorRT and others; torchscript: for libtorch in C++"
    )
    out: Path = Field(description="File to write")


class ExportedModel(BaseModel):
    """Outcome of a model export."""

    out: str
    num_bytes: int
    digest: str  # of the network's weights
    input_size: tuple[int, int]  # width, height
    runtime: str | None  # that ran the file for the check; None: not installed, so not checked
    largest_difference: float | None  # of inverse depth, relative
    tolerance: float = TOLERANCE

    @property
    def check_line(self) -> str:
        """Outcome of the check in a sentence."""
        if self.runtime is None:
            return "not checked: onnxruntime is not installed; `pip install onnxruntime`"
        return (
            f"checked with {self.runtime}: depth differs from the network's by at most "
            f"{100 * (self.largest_difference or 0):.2g} % (limit {100 * self.tolerance:.2g} %)"
        )


def export_model(job: ExportModelJob) -> ExportedModel:
    """Export a network, run the file on test images, and compare with the network.

    A file that gives other depths is not kept. Raises InvalidRequest for that, and for a folder
    that holds no model; DiskFull.
    """
    from nightrain.depthmodel.network.export import export_onnx, export_torchscript
    from nightrain.depthmodel.network.model import DepthModel

    if job.out.is_dir():
        raise InvalidRequest(f"--out {job.out} is a folder; name a file in it, such as model.onnx.")
    model = DepthModel.from_pretrained(job.model).eval()
    report = ExportedModel(
        out=str(job.out),
        num_bytes=0,
        digest=model.digest,
        input_size=model.config.input_size,
        runtime=None,
        largest_difference=None,
    )

    def check(draft: Path) -> None:
        name, runtime = _onnx_runtime(draft) if job.to == "onnx" else _torchscript_runtime(draft)
        if runtime is not None:
            report.runtime = name
            report.largest_difference = largest_difference(model, runtime)

    export = export_onnx if job.to == "onnx" else export_torchscript
    export(model, job.out, check)
    report.num_bytes = job.out.stat().st_size
    return report


def largest_difference(model: "object", runtime: Runtime) -> float:
    """Largest relative difference of inverse depth on random images of several batch sizes.

    Raises InvalidRequest above TOLERANCE, and where the runtime cannot run a batch.
    """
    import numpy as np
    import torch

    from nightrain.depthmodel.network.model import DepthModel

    assert isinstance(model, DepthModel)
    width, height = model.config.input_size
    draw, largest = np.random.default_rng(0), 0.0
    for batch in CHECKED_BATCHES:
        images = draw.random((batch, 3, height, width), np.float32)
        with torch.no_grad():
            expected = model(torch.from_numpy(images)).inverse_depth.numpy()
        try:
            found = runtime(images)
        except Exception as error:  # of any runtime
            raise InvalidRequest(
                f"the exported network fails on {batch} images: {str(error).splitlines()[-1]}. "
                "Export it in the other format."
            ) from error
        if found.shape != expected.shape:
            raise InvalidRequest(
                f"the exported network returns {found.shape}, expected {expected.shape}. Export it "
                "in the other format."
            )
        largest = max(largest, float(np.max(np.abs(found / expected - 1))))
    if not largest <= TOLERANCE:
        raise InvalidRequest(
            f"the exported network's depth differs from the network's by up to {100 * largest:.2g} "
            f"%, expected at most {100 * TOLERANCE:.2g} %. Export it in the other format."
        )
    return largest


def _onnx_runtime(path: Path) -> tuple[str, Runtime | None]:
    try:
        import onnxruntime
    except ImportError:
        return "", None
    import numpy as np

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: "np.ndarray") -> "np.ndarray":
        return np.asarray(session.run(["inverse_depth"], {"image": images})[0])

    return f"onnxruntime {onnxruntime.__version__}", run


def _torchscript_runtime(path: Path) -> tuple[str, Runtime | None]:
    import warnings

    import torch

    with warnings.catch_warnings():  # of torch's plans for TorchScript
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(path), map_location="cpu")

    def run(images: "np.ndarray") -> "np.ndarray":
        with torch.no_grad():
            return module(torch.from_numpy(images)).numpy()

    return f"torch {torch.__version__}", run
