"""Weather and light conditions of a frame or a variant."""

from enum import StrEnum


class Condition(StrEnum):
    """Weather and light of an image: one value per frame or variant."""

    CLEAR = "clear"
    NIGHT = "night"
    RAIN = "rain"
    SNOW = "snow"
    FOG = "fog"
    NIGHT_RAIN = "night-rain"
    DUSK = "dusk"


# Conditions that the engines generate; dusk is only recorded or rendered.
ADVERSE_CONDITIONS = tuple(c for c in Condition if c not in (Condition.CLEAR, Condition.DUSK))
