"""Prompts: a condition's phrase, joined with a caption after its own weather words are removed.

Texts are joined, never formatted: braces and percent signs in a caption are ordinary characters.
"""

import numpy as np

from nightrain.datasets.conditions import CONDITIONS, PROMPTED_CONDITIONS, Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.captions.weather_words import SENTENCE_STARTS, strip_weather

PROMPT_STREAM = 2  # separates this draw from the other draws of a sample's seed


def prompt(condition: Condition, caption: str, *, varied_by_seed: int | None = None) -> str:
    """Return a prompt such as "At night, a man crossing the street" from a raw caption.

    With a sample's seed, one of the condition's phrases is drawn; without it, the first is used.
    Raises InvalidRequest for a condition without phrases.
    """
    phrases = CONDITIONS[condition].phrases
    if not phrases:
        raise InvalidRequest(
            f"condition {str(condition)!r} has no prompt phrases; supported conditions: "
            f"{', '.join(PROMPTED_CONDITIONS)}."
        )
    phrase = phrases[0]
    if varied_by_seed is not None:
        drawn = np.random.default_rng([varied_by_seed, PROMPT_STREAM]).integers(len(phrases))
        phrase = phrases[int(drawn)]
    rest = _as_a_clause(strip_weather(caption))
    return f"{phrase}, {rest}" if rest else phrase


def _as_a_clause(text: str) -> str:
    """Return a sentence that can follow a comma: no leading capital, no final full stop."""
    first, space, rest = text.partition(" ")
    if first.lower() in SENTENCE_STARTS:
        first = first.lower()
    return (first + space + rest).rstrip(" .")
