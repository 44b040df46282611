"""Model loading: quiet libraries, complete networks, and errors that begin with a recipe's key."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.io.documents import mapping, parse_json
from nightrain.datasets.io.regular import matching
from nightrain.datasets.registry import one_line
from nightrain.depthmodel.loading_reports import quiet, require_complete
from nightrain.depthmodel.weights import Found, Weights, about
from nightrain.pipelines.engines.weight_files import own_variant
from nightrain.pipelines.runs.device_errors import is_device_lost, is_out_of_memory


@contextmanager
def loading(key: str, weights: Weights) -> Iterator[None]:
    """Turn what the libraries raise for weights in the block into one sentence about a key.

    Raises InvalidRequest; errors of memory and of a lost device pass unchanged.
    """
    with about(key, weights):
        try:
            yield
        except NightrainError:
            raise
        except Exception as error:  # the libraries raise some twenty kinds
            if is_out_of_memory(error) or is_device_lost(error):
                raise
            raise InvalidRequest(
                f"it cannot be loaded ({_words(error)}). Check that it is complete and the model "
                "that this key needs."
            ) from error


def _words(error: Exception) -> str:
    """Words of a library's error, without its advice for programmers."""
    return one_line(error).partition(" If you want to ")[0].rstrip(". ")[:300]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Switch off the progress bars and reports of transformers and diffusers within the block."""
    with quiet(diffusers_logging, transformers_logging):
        yield


def load_network(
    kind: Any, found: Found, part: str, *, dtype: torch.dtype, variant: str | None, **options: Any
) -> Any:
    """Load a network of diffusers or transformers from a model's subfolder `part`; "" is its own.

    Raises InvalidRequest for files that lack weights or have others of another shape.
    """
    folder = found.folder / part
    _check_files(folder, part)
    options |= {
        "dtype": dtype,
        "variant": own_variant(Found(folder, found.name), variant),
        "use_safetensors": True,
        "local_files_only": True,
    }
    if issubclass(kind, transformers.PreTrainedModel):
        options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        net, report = cast(tuple[Any, Any], kind.from_pretrained(folder, **options))
        wrong = [f"{name} with {_shapes(shapes)}" for name, *shapes in report["mismatched_keys"]]
        require_complete(part, sorted(report["missing_keys"]), wrong)
        return net
    net = kind.from_pretrained(folder, **options)
    require_complete(part, missing_weights(net))
    return net


def _check_files(folder: Path, part: str) -> None:
    """Raise InvalidRequest for a configuration or weights file that cannot be read."""
    place = f"{part}/" if part else ""
    try:
        mapping(parse_json((folder / "config.json").read_bytes()))
    except FileNotFoundError:
        raise InvalidRequest(
            f"{place}config.json is missing. Use a complete copy of the model."
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"{place}config.json is not a JSON object ({error}). Copy it again."
        ) from error
    for file in matching(folder, "*.safetensors"):
        try:
            read_keys(file)
        except InvalidRequest as error:
            raise InvalidRequest(f"{place}{file.name}: {error}") from error


def _shapes(shapes: Sequence[Sequence[int]]) -> str:
    return " instead of ".join(str(tuple(shape)) for shape in shapes)


def read_keys(file: Path) -> list[str]:
    """Names of the tensors of a .safetensors file; raises InvalidRequest for a damaged one."""
    try:
        with safe_open(file, "pt") as tensors:
            return list(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise InvalidRequest(
            f"it is not a valid .safetensors file ({error}). Copy it again."
        ) from error


def missing_weights(net: Any) -> list[str]:
    """Names of weights that the files of a network of diffusers lacked."""
    return sorted(name for name, weight in net.named_parameters() if weight.is_meta)


def file_of(weights: Weights, file: str, found: Found) -> Path:
    """Path of a found file of weights."""
    return found.folder / (Path(weights.id_or_folder).name if weights.is_file else file)
