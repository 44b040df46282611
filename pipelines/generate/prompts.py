"""A clear frame's caption to the prompt of a variant: weather words out, the condition's in.

The paper's phrases are "At night", "In a rainy day" and "In a snowy day", put before a caption;
those of fog and of rain at night are ours. Texts are joined, never formatted: braces and percent
signs in a caption are characters like any other.
"""

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.captions.weather_words import SENTENCE_STARTS, strip_weather

PHRASES = {
    Condition.NIGHT: "At night",  # paper
    Condition.RAIN: "In a rainy day",  # paper
    Condition.SNOW: "In a snowy day",  # paper
    Condition.FOG: "In a foggy day",  # ours
    Condition.NIGHT_RAIN: "In a rainy night",  # ours
}
# Tosi, Zama Ramirez and Poggi 2024 saw that varied prompts help; these words are ours. The first of
# each is the phrase above.
VARIED_PHRASES = {
    Condition.NIGHT: (
        "At night",
        "At night under street lamps",
        "In the dark of the night",
        "Late at night with car headlights",
    ),
    Condition.RAIN: (
        "In a rainy day",
        "In heavy rain with a wet road",
        "In the rain with puddles and reflections",
        "In a rainstorm with raindrops on the lens",
    ),
    Condition.SNOW: (
        "In a snowy day",
        "In falling snow",
        "In a snowstorm with a white road",
        "In winter with snow on the road",
    ),
    Condition.FOG: (
        "In a foggy day",
        "In dense fog",
        "In morning mist",
        "In thick fog with poor visibility",
    ),
    Condition.NIGHT_RAIN: (
        "In a rainy night",
        "At night in the rain with a wet road",
        "At night in heavy rain with reflections",
        "In the dark with raindrops on the lens",
    ),
}
PROMPT_STREAM = 2  # keeps this draw apart from the other draws of a sample's seed


def prompt(condition: Condition, caption: str, *, varied_by_seed: int | None = None) -> str:
    """ "At night, a man crossing the street" of a condition and a raw caption.

    With the sample's seed the condition's phrase is drawn from `VARIED_PHRASES`. Raises
    InvalidRequest for the clear condition.
    """
    if condition not in PHRASES:
        raise InvalidRequest(
            f"No prompt is made for the condition {str(condition)!r}: there are phrases for "
            f"{', '.join(PHRASES)}."
        )
    phrase = PHRASES[condition]
    if varied_by_seed is not None:
        choices = VARIED_PHRASES[condition]
        drawn = np.random.default_rng([varied_by_seed, PROMPT_STREAM]).integers(len(choices))
        phrase = choices[int(drawn)]
    rest = _as_a_clause(strip_weather(caption))
    return f"{phrase}, {rest}" if rest else phrase


def _as_a_clause(text: str) -> str:
    """A sentence to stand behind a comma: no capital at its start, no full stop at its end."""
    first, space, rest = text.partition(" ")
    if first.lower() in SENTENCE_STARTS:
        first = first.lower()
    return (first + space + rest).rstrip(" .")
