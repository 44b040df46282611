"""Conditions: the weather and light of an image, and one table of their properties.

To add a condition, add a member to `Condition` and a row to `CONDITIONS`, then let an engine
generate it. Source readers, prompts, captions, columns and evaluation buckets take their values
from that row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """Weather and light of an image: one value per frame or variant.

    Training samples store a condition as its index in this order, so append new members at the end.
    """

    CLEAR = "clear"
    NIGHT = "night"
    RAIN = "rain"
    SNOW = "snow"
    FOG = "fog"
    NIGHT_RAIN = "night-rain"
    DUSK = "dusk"


@dataclass(frozen=True, slots=True)
class Quantity:
    """Physical quantity of a variant: a field of the column `physical`, its unit and meaning."""

    name: str
    unit: str
    meaning: str
    is_weather: bool = True  # False: a property of lamps or of the camera


VISIBILITY = Quantity("visibility_m", "m", "meteorological visibility: 5 % of a contrast is left")
RAIN_RATE = Quantity("rain_mm_per_h", "mm/h", "rain rate")
SNOW_RATE = Quantity("snow_mm_per_h", "mm/h", "snow rate, as water")
AMBIENT_LIGHT = Quantity("ambient_lux", "lux", "illuminance on the ground without any lamp")
STREET_LAMP = Quantity("street_lamp_cd", "cd", "luminous intensity of a street lamp", False)
SENSOR_GAIN = Quantity("sensor_gain", "1", "gain of the camera, which amplifies its noise", False)

# In the order of the fields of the column `physical`.
QUANTITIES = (VISIBILITY, RAIN_RATE, SNOW_RATE, AMBIENT_LIGHT, STREET_LAMP, SENSOR_GAIN)


@dataclass(frozen=True, slots=True)
class SeverityScale:
    """Logarithmic scale of a quantity over severity: equal steps multiply by equal ratios."""

    quantity: Quantity
    at_0: float
    at_1: float

    def at(self, severity: float) -> float:
        """Value at a severity in [0, 1], in the quantity's unit."""
        return self.at_0 * (self.at_1 / self.at_0) ** severity


NIGHT_SCALES = (
    SeverityScale(AMBIENT_LIGHT, 3.0, 0.08),  # dusk under street light spill; a moonlit road
    SeverityScale(STREET_LAMP, 2600.0, 500.0),
    SeverityScale(SENSOR_GAIN, 4.0, 24.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionProperties:
    """Row of `CONDITIONS`: a condition's properties for sources, engines, prompts, evaluation."""

    words: re.Pattern[str] | None = None  # words for it in sources' descriptions and tags
    combines: tuple[Condition, ...] = ()  # conditions that make up this one when named together
    is_night: bool = False  # lamps light the scene, not the sky
    scales: tuple[SeverityScale, ...] = ()  # physical meaning of severity; (): not simulated
    # Prompt phrases, put before a caption: the standard one, then variations. (): not prompted.
    phrases: tuple[str, ...] = ()
    caption_nouns: str = ""  # words removed from a clear frame's caption, separated by spaces
    caption_adjectives: str = ""
    buckets: tuple[str, ...] = ()  # evaluation buckets of its images, in addition to "all"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b{pattern}\b", re.IGNORECASE)


# "At night", "In a rainy day" and "In a snowy day" are the phrases of SSD; the others are ours.
# Tosi, Zama Ramirez and Poggi (ECCV 2024) report that varied prompts help.
CONDITIONS: Mapping[Condition, ConditionProperties] = {
    Condition.CLEAR: ConditionProperties(
        caption_nouns="day-time daytime daylight morning mornings afternoon afternoons noon midday "
        "sun sunlight sunshine",
        caption_adjectives="sunny sunlit cloudless",
        buckets=("day-clear",),
    ),
    Condition.NIGHT: ConditionProperties(
        words=_words("night(time)?"),
        is_night=True,
        scales=NIGHT_SCALES,
        phrases=(
            "At night",
            "At night under street lamps",
            "In the dark of the night",
            "Late at night with car headlights",
        ),
        caption_nouns="night nights nighttime nightfall midnight tonight moonlight darkness",
        caption_adjectives="moonlit",
        buckets=("night", "night-clear"),
    ),
    Condition.RAIN: ConditionProperties(
        words=_words("rain(y|ing)?"),
        scales=(SeverityScale(RAIN_RATE, 2.0, 100.0),),
        phrases=(
            "In a rainy day",
            "In heavy rain with a wet road",
            "In the rain with puddles and reflections",
            "In a rainstorm with raindrops on the lens",
        ),
        caption_nouns="rain rains rainstorm rainstorms raindrop raindrops rainfall rainwater "
        "drizzle downpour thunderstorm puddle puddles",
        caption_adjectives="rainy raining rained drizzling drizzly wet",
        buckets=("day-rain",),
    ),
    Condition.SNOW: ConditionProperties(
        words=_words("snow(y|ing|fall)?"),
        scales=(SeverityScale(SNOW_RATE, 0.5, 6.0),),
        phrases=(
            "In a snowy day",
            "In falling snow",
            "In a snowstorm with a white road",
            "In winter with snow on the road",
        ),
        caption_nouns="snow snowfall snowstorm snowstorms snowflake snowflakes blizzard sleet "
        "slush winter",
        caption_adjectives="snowy snowing snowed slushy wintry",
        buckets=("snow",),
    ),
    Condition.FOG: ConditionProperties(
        words=_words("fog(gy)?"),
        scales=(SeverityScale(VISIBILITY, 600.0, 30.0),),
        phrases=(
            "In a foggy day",
            "In dense fog",
            "In morning mist",
            "In thick fog with poor visibility",
        ),
        caption_nouns="fog mist haze smog",
        caption_adjectives="foggy misty hazy smoggy",
        buckets=("fog",),
    ),
    Condition.NIGHT_RAIN: ConditionProperties(
        combines=(Condition.NIGHT, Condition.RAIN),
        is_night=True,
        scales=(*NIGHT_SCALES, SeverityScale(RAIN_RATE, 2.0, 50.0)),
        phrases=(
            "In a rainy night",
            "At night in the rain with a wet road",
            "At night in heavy rain with reflections",
            "In the dark with raindrops on the lens",
        ),
        buckets=("night", "night-rain"),
    ),
    Condition.DUSK: ConditionProperties(
        words=_words("(dusk|twilight)"),
        caption_nouns="dusk dawn twilight sunrise sunset evening evenings",
        buckets=("dusk",),
    ),
}

SIMULATED_CONDITIONS = tuple(c for c in Condition if CONDITIONS[c].scales)
PROMPTED_CONDITIONS = tuple(c for c in Condition if CONDITIONS[c].phrases)
NIGHT_CONDITIONS = tuple(c for c in Condition if CONDITIONS[c].is_night)


def condition_named_in(text: str) -> Condition | None:
    """Return the condition that a description or list of tags names by whole words, or None.

    Combinations such as night and rain take precedence, then the order of `Condition` decides.
    """
    named = {c for c, row in CONDITIONS.items() if row.words and row.words.search(text)}
    combined = (c for c, row in CONDITIONS.items() if row.combines and named >= {*row.combines})
    return next(combined, None) or next((c for c in Condition if c in named), None)


def physical_values(condition: Condition, severity: float) -> dict[str, float]:
    """Return the physical values of a severity in [0, 1], by field of the column `physical`.

    Raises ValueError for a condition without a scale.
    """
    scales = CONDITIONS[condition].scales
    if not scales:
        raise ValueError(
            f"condition {str(condition)!r} has no severity scale; "
            f"conditions with one: {', '.join(SIMULATED_CONDITIONS)}"
        )
    return {scale.quantity.name: scale.at(severity) for scale in scales}
