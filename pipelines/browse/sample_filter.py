"""Sample filter: which samples are shown, as conditions of SQL."""

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.errors import InvalidRequest

Text = Annotated[str, Field(max_length=300)]
Texts = Annotated[list[Text], Field(max_length=200)]

# Columns of which a filter lists values; a row has none, one or (of codes) several of them.
FACETS = {
    "kind": "kind",
    "condition": "condition",
    "recipe": "recipe",
    "engine": "engine",
    "split": "split",
    "camera": "camera",
    "source": "source_dataset",
    "verdict": "verdict",
    "code": "codes",
}
SEARCHED = ("prompt", "caption", "key", "frame_id", "source_id", "scene_id", "message")
Condition = tuple[str, list[Any]]  # SQL, and the values of its parameters


class SampleFilter(BaseModel):
    """Conditions that shown samples meet: one of the values of each list, and all of the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Texts = []
    condition: Texts = []
    recipe: Texts = []
    engine: Texts = []
    split: Texts = []
    camera: Texts = []
    source: Texts = []
    verdict: Texts = []
    code: Texts = []
    scene: Text = ""
    text: Text = ""
    frame: Text = ""
    between: Texts = []  # "alignment.agreement:0.2:0.8"; an end may be empty
    sort: Text = ""  # a measure, "frame", or "" for the order of the shards
    descending: bool = False

    def where(self, measures: Collection[str], without: str = "") -> Condition:
        """SQL of all conditions except those of one facet; raises InvalidRequest."""
        parts = [
            _one_of(name, values)
            for name in FACETS
            if (values := getattr(self, name)) and name != without
        ]
        if self.scene:
            parts.append(("contains(lower(scene_id), lower(?))", [self.scene]))
        if self.frame:
            parts.append(("frame_id = ?", [self.frame]))
        if self.text:
            parts.append(("contains(searched, lower(?))", [self.text]))
        parts += [_between(text, measures) for text in self.between]
        sql = " AND ".join(sql for sql, _ in parts) or "true"
        return sql, [value for _, values in parts for value in values]

    def order(self, measures: Collection[str]) -> str:
        """SQL of the order; rows without the measure are last. Raises InvalidRequest."""
        way = "DESC" if self.descending else "ASC"
        if not self.sort:
            return f"n {way}"
        if self.sort == "frame":
            return f"frame_position {way}, n"
        return f"{measure_column(self.sort, measures)} {way} NULLS LAST, n"


def measure_column(name: str, measures: Collection[str]) -> str:
    """Quoted column of a measure; raises InvalidRequest for an unknown one."""
    if name not in measures:
        raise InvalidRequest(
            f"found the measure {name!r:.80}, expected one of {', '.join(sorted(measures))}"
        )
    quoted = name.replace('"', '""')
    return f'"measure {quoted}"'


def _one_of(facet: str, values: list[str]) -> Condition:
    column = FACETS[facet]
    if facet == "code":
        return "list_has_any(codes, ?)", [values]
    return f"list_contains(?, coalesce({column}, 'none'))", [values]


def _between(text: str, measures: Collection[str]) -> Condition:
    """Range of a measure, both ends included; rows without the measure are left out."""
    name, *ends = text.rsplit(":", 2)
    try:
        low, high = (float(end) if end else None for end in ends)
    except ValueError as error:
        raise InvalidRequest(
            f"found the range {text!r:.80}, expected NAME:LOWEST:HIGHEST, such as severity:0.2:0.8"
        ) from error
    column = measure_column(name, measures)
    known = [(sign, end) for sign, end in ((">=", low), ("<=", high)) if end is not None]
    parts = [f"{column} IS NOT NULL", *(f"{column} {sign} ?" for sign, _ in known)]
    return " AND ".join(parts), [end for _, end in known]
