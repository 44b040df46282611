"""Group keys: what rows can be grouped by, each as an SQL expression over the columns of a row.

Rows of frames, of variants and of quarantine have the same columns here (see rows.py), so that one
expression serves all three.
"""

from typing import Literal, get_args

GroupKey = Literal[
    "condition",
    "severity",
    "camera",
    "location",
    "scene",
    "log",
    "hour",
    "recipe",
    "engine",
    "source",
    "split",
]
GROUP_KEYS: tuple[GroupKey, ...] = get_args(GroupKey)
OF_LOGS = ("location", "log", "hour")  # keys that need the log of a scene
NONE = "none"  # group of the rows without a value
FIRST_TRUE_US = 631_152_000_000_000  # 1990; earlier times are nominal

_SEVERITY_BIN = "floor(severity::DOUBLE * 10 + 1e-6)"  # a float's 0.7 is below 0.7
_LOWEST = f"(CASE WHEN {_SEVERITY_BIN} > 9 THEN 9 ELSE {_SEVERITY_BIN} END)"  # keeps null
_HOUR = "hour(timezone(zone, make_timestamptz(timestamp_us)))"

SQL: dict[GroupKey, str] = {
    "condition": "condition",
    "severity": f"printf('%.1f to %.1f', {_LOWEST} / 10, ({_LOWEST} + 1) / 10)",
    "camera": "camera",
    "location": "location",
    "scene": "scene_id",
    "log": "log",
    "hour": f"CASE WHEN timestamp_us >= {FIRST_TRUE_US} THEN printf('%02d', {_HOUR}) END",
    "recipe": "of_recipe",
    "engine": "of_engine",
    "source": "source_dataset",
    "split": "split",
}


def key_columns(by: tuple[GroupKey, ...]) -> str:
    """SQL of the columns `key0`, `key1` and so on: the texts of the keys."""
    texts = (f"coalesce(({SQL[key]})::VARCHAR, '{NONE}')" for key in by)
    return ", ".join(f"{text} AS key{number}" for number, text in enumerate(texts))
