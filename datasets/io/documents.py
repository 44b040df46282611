"""Documents: YAML and JSON text, read so that every problem with it is a ValueError in words.

The parsers raise some ten kinds of errors, among them RecursionError for deep nesting. A mapping
that has a key twice is refused: parsers keep the last value without a word.
"""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from nightrain.datasets.errors import InvalidRequest, UnreadableFile
from nightrain.datasets.io.regular import read_regular

MAX_YAML_NODES = 100_000  # with aliases expanded, which may grow exponentially
MAX_INTEGER_CHARS = 100
SURROGATE = "\\ud"  # escape of half a character, which no file or terminal takes
MERGE = "tag:yaml.org,2002:merge"  # the key "<<", which adds another mapping's keys
INTEGER = "tag:yaml.org,2002:int"
TOO_LONG = "it holds an integer with too many digits"
DEEP = "it is nested too deeply"


def parse_yaml(data: str | bytes) -> Any:
    """Parse one document of plain YAML: no tags that construct objects; raises ValueError."""
    try:
        loader = _Loader(_text(data))
        try:
            node = loader.get_single_node()
            _require_bounded(node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError as error:
        raise ValueError(DEEP) from error
    except yaml.YAMLError as error:
        raise ValueError(_yaml_problem(error)) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Numbers and dates that do not exist, and explicit tags such as `!!bool 7`.
        raise ValueError(_value_problem(error)) from error


def parse_json(data: str | bytes) -> Any:
    """Parse a JSON document; raises ValueError."""
    try:
        text = _text(data)
        found = json.loads(text, object_pairs_hook=_unique)
        if SURROGATE in text.lower():
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except RecursionError as error:
        raise ValueError(DEEP) from error
    except ValueError as error:
        raise ValueError(_value_problem(error)) from error


def _text(data: str | bytes) -> str:
    try:
        return data if isinstance(data, str) else data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not valid UTF-8") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"found the key {twice!r} twice")
    return found


class _Loader(yaml.SafeLoader):
    """Loader of plain YAML that refuses a mapping with the same key twice."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Construct the text of a scalar; raises ConstructorError."""
        value = super().construct_scalar(node)
        problem = ""
        if node.tag == INTEGER and len(value) > MAX_INTEGER_CHARS:
            problem = TOO_LONG
        elif not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            problem = "found half a character"
        if problem:
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; raises ConstructorError."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            is_merge = key_node.tag == MERGE
            key = MERGE if is_merge else self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                problem = f"found a {type(key).__name__} as a key"
            elif key in seen:
                problem = f"found the key {key_node.value!r} twice"
            else:
                seen.add(key)
                continue
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        return super().construct_mapping(node, deep)


def _require_bounded(root: yaml.Node | None) -> None:
    """Raise ValueError for aliases that contain themselves or expand to too many nodes."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MAX_YAML_NODES + 1  # while it is counted: it contains itself
            sizes[id(node)] = 1 + sum(map(size, _children(node)))
        return sizes[id(node)]

    if root is not None and size(root) > MAX_YAML_NODES:
        raise ValueError(f"it has more than {MAX_YAML_NODES} values, aliases included")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, in one line."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{error.problem}{place}"


def _value_problem(error: Exception) -> str:
    if not isinstance(error, ValueError):
        return "a value does not fit its tag"
    text = " ".join(str(error).split())
    if isinstance(error, UnicodeEncodeError):
        return "it holds half a character"
    return TOO_LONG if "int_max_str_digits" in text else text


def read_object(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON file that holds an object, which is `what` ("the settings of a run").

    Raises InvalidRequest for a file that is missing, unreadable or holds anything else.
    """
    try:
        return dict(mapping(parse_json(read_regular(path))))
    except (FileNotFoundError, UnreadableFile, ValueError) as error:
        raise InvalidRequest(
            f"{path} cannot be read as {what}: {error}. Restore it from a copy, or remove it."
        ) from error


def mapping(value: object) -> Mapping[str, Any]:
    """Return a parsed document that is a mapping; raises ValueError for anything else."""
    if not isinstance(value, dict):
        found = "nothing" if value is None else f"a {type(value).__name__}"
        raise ValueError(f"found {found}, expected a mapping")
    return value
