"""Strict settings: a number is a number and a truth value is a truth value, wherever it is."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BeforeValidator, Field, JsonValue, PositiveInt, ValidationError

from nightrain.datasets.validation import Settings, problems


class Kind(StrEnum):
    A = "a"


class Inner(Settings):
    count: int = 1


class Example(Settings):
    count: int = 1
    share: float = 1.0
    flag: bool = False
    maybe: int | None = None
    maybe_flag: bool | None = None
    bounded: Annotated[int, Field(ge=1)] = 1
    size: tuple[int, int] = (1, 2)
    sides: tuple[PositiveInt, ...] = ()
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    nested: dict[str, dict[str, float]] = Field(default_factory=dict)
    literal: Literal[1, "a"] = 1
    either: float | Literal["auto"] = "auto"
    number_or_text: int | str = 1
    kind: Kind = Kind.A
    path: Path = Path()
    text: str = ""
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = Field(default_factory=dict)
    anything: Any = None
    options: dict[str, JsonValue] = Field(default_factory=dict)
    percent: Annotated[float, BeforeValidator(lambda text: float(str(text).rstrip("%")))] = 1.0


REFUSED = [
    ({"count": True}, "count is True; expected a valid integer"),
    ({"count": "3"}, "count is '3'; expected a valid integer"),
    ({"count": 3.0}, "count is 3.0; expected a valid integer"),
    ({"share": False}, "share is False; expected a valid number"),
    ({"share": "0.5"}, "share is '0.5'; expected a valid number"),
    ({"flag": 1}, "flag is 1; expected a valid boolean"),
    ({"flag": "yes"}, "flag is 'yes'; expected a valid boolean"),
    ({"flag": 0.0}, "flag is 0.0; expected a valid boolean"),
    ({"maybe": True}, "maybe is True; expected a valid integer"),
    ({"maybe_flag": 0}, "maybe_flag is 0; expected a valid boolean"),
    ({"bounded": True}, "bounded is True; expected a valid integer"),
    ({"size": [True, 2]}, "size is [True, 2]; expected a valid integer"),
    ({"sides": [1, 2, True]}, "sides is [1, 2, True]; expected a valid integer"),
    ({"ranges": {"night": [0, True]}}, "expected a valid number"),
    ({"nested": {"a": {"b": "1"}}}, "expected a valid number"),
    ({"literal": True}, "literal is True"),
    ({"either": True}, "either is True; expected a valid number"),
    ({"number_or_text": True}, "number_or_text is True; expected a valid integer"),
    ({"inner": {"count": True}}, "inner.count is True; expected a valid integer"),
    ({"inners": [{"count": True}]}, "inners.0.count is True"),
    ({"by_name": {"a": {"count": "1"}}}, "by_name.a.count is '1'"),
    ({"other": 1}, "other is not an option"),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=[str(values) for values, _ in REFUSED])
def test_what_pydantic_would_convert_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as found:
        Example.model_validate(values)
    assert words in "; ".join(problems(Example, found.value))


def test_plain_values_are_taken_as_they_are() -> None:
    values = {
        "share": 2,
        "maybe_flag": True,
        "size": [3, 4],
        "ranges": {"night": [0, 0.5]},
        "either": 0.5,
        "literal": "a",
        "kind": "a",
        "path": "/x",
        "by_name": {"a": {"count": 2}},
        "anything": True,
        "percent": "7%",
        "options": {"deep": [True, "1", {"a": 1.0}]},
    }
    found = Example.model_validate(values)
    assert found.size == (3, 4) and found.path == Path("/x") and found.anything is True
    assert found.percent == 7.0  # a field that converts its own values
    assert found.ranges == {"night": (0.0, 0.5)} and found.options == values["options"]
    assert Example.model_validate_json(found.model_dump_json()) == found
    assert Example(share=np.float64(0.5)).share == 0.5
