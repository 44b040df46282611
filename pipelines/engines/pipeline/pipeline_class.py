"""Pipeline classes of diffusers, read from their source: nothing is imported to check a recipe."""

import ast
import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.regular import files_below

DEFINITION = re.compile(r"^class (\w+Pipeline)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PipelineClass:
    """Signature of a pipeline class."""

    name: str
    keywords: frozenset[str]  # parameters of `__call__`
    parts: Mapping[str, str]  # parameters of `__init__`, with their annotations: models, tokenizers
    # Whether it draws from torch's global generator, as StableDiffusion3ControlNetPipeline does for
    # its control: then an image depends on its place in a batch.
    draws_unseeded: bool

    @property
    def takes_several_controlnets(self) -> bool:
        """Whether the class accepts more than one ControlNet."""
        return re.search(r"list\[|Multi\w*Model", self.parts.get("controlnet", "")) is not None


@functools.cache
def pipeline_class(name: str) -> PipelineClass:
    """Return the signature of a class; raises InvalidRequest if diffusers has none of the name."""
    if name not in _files():
        near = difflib.get_close_matches(name, _files(), n=3, cutoff=0.5)
        raise InvalidRequest(
            f"pipeline: diffusers has no pipeline class {name!r}; similar names: "
            f"{', '.join(near) or 'none'}."
        )
    call, init = _method(name, "__call__"), _method(name, "__init__")
    parts = {a.arg: ast.unparse(a.annotation) if a.annotation else "" for a in init}
    unseeded = ".sample()" in ast.unparse(_definition(name))
    return PipelineClass(name, frozenset(a.arg for a in call), parts, unseeded)


@functools.cache
def _files() -> dict[str, Path]:
    """File of each pipeline class that diffusers defines."""
    spec = find_spec("diffusers")
    if spec is None or spec.origin is None:
        raise InvalidRequest("engine 'pipeline': the package diffusers is not installed.")
    found: dict[str, Path] = {}
    for path in files_below(Path(spec.origin).parent / "pipelines", ".py"):
        for name in DEFINITION.findall(path.read_text(encoding="utf-8")):
            found.setdefault(name, path)
    return found


def _method(name: str, method: str) -> list[ast.arg]:
    """Parameters of a class's method, its own or a base's, without self."""
    found = _definition(name)
    for node in found.body:
        if isinstance(node, ast.FunctionDef) and node.name == method:
            return [*node.args.args[1:], *node.args.kwonlyargs]
    for base in map(ast.unparse, found.bases):
        if base in _files():
            return _method(base, method)
    return []


def _definition(name: str) -> ast.ClassDef:
    tree = ast.parse(_files()[name].read_text(encoding="utf-8"))
    return next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
