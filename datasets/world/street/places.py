"""Kinds of place: shop canyon, residential street, park, avenue and others."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nightrain.datasets.world.street.journeys import NOSE_M, REACH_M, Journey, draw_journey
from nightrain.datasets.world.street.markings import STOP_M
from nightrain.datasets.world.street.street import STREET_Y_M, Hills, Kerbside, Street

EGO_START_M = 60.0
VIEW_M = 190.0  # length of the street beyond the end of the drive
WHITE, YELLOW = (0.62, 0.62, 0.60), (0.60, 0.40, 0.06)

Theme = Literal["canyon", "residential", "park", "avenue", "industrial", "mixed"]
THEMES: tuple[Theme, ...] = ("canyon", "residential", "park", "avenue", "industrial", "mixed")
_SHARES = (0.26, 0.22, 0.15, 0.14, 0.09, 0.14)
_SIDES: dict[Theme, tuple[tuple[Kerbside, Kerbside], ...]] = {
    "canyon": (("shops", "shops"),),
    "residential": (("houses", "houses"),),
    "park": (("park", "shops"), ("park", "houses"), ("shops", "park"), ("park", "park")),
    "avenue": (("shops", "shops"), ("shops", "park"), ("yards", "shops")),
    "industrial": (("yards", "yards"), ("yards", "park")),
    "mixed": (("shops", "houses"), ("houses", "shops"), ("houses", "yards"), ("park", "yards")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place and the ego journey through it."""

    theme: Theme
    street: Street
    journey: Journey
    parked: float  # share of occupied parking spaces
    people: float  # density of people, 1 for a busy street
    autumn: bool
    overpass_m: float | None  # x of a bridge over the street

    @property
    def streets(self) -> tuple[Street, ...]:
        """Main street, and the cross street if there is one."""
        cross = self.street.cross
        return (self.street, cross) if cross else (self.street,)


def draw_place(rng: np.random.Generator, duration_s: float) -> Place:
    """Draw a place whose street is long enough for a drive of `duration_s` seconds."""
    theme = THEMES[int(rng.choice(len(THEMES), p=_SHARES))]
    journey = draw_journey(rng, duration_s, junction=bool(rng.random() < 0.55))
    junction = journey.event != "on" or rng.random() < 0.35
    drive_m = 1.2 * journey.speed_mps * duration_s
    street = _street(rng, theme, EGO_START_M + drive_m + VIEW_M, straight=junction)
    if junction:
        street = _with_cross(rng, street, journey, drive_m)
    bridge = rng.random() < (0.3 if theme in ("avenue", "industrial", "park") else 0.12)
    x = EGO_START_M + 0.5 * drive_m + float(rng.uniform(20, 70))
    clear = x < street.gap_m[0] - 30 or x > street.gap_m[1] + 30
    if not junction and not bridge and rng.random() < 0.2:
        low = EGO_START_M + drive_m * float(rng.uniform(0.1, 0.8)) + 12.0
        street = replace(street, river_m=(low, low + float(rng.uniform(25, 50))))
    busy = {"canyon": 1.0, "residential": 0.4, "park": 0.7, "avenue": 0.7, "industrial": 0.15}
    return Place(
        theme=theme,
        street=street,
        journey=journey,
        parked=float(rng.uniform(0.25, 0.9)),
        people=busy.get(theme, 0.5) * float(rng.uniform(0.3, 1.5)),
        autumn=bool(rng.random() < 0.2),
        overpass_m=x if bridge and (clear or not junction) else None,
    )


def _street(rng: np.random.Generator, theme: Theme, length_m: float, straight: bool) -> Street:
    sides = _SIDES[theme][int(rng.integers(len(_SIDES[theme])))]
    wide = theme in ("avenue", "industrial")
    setback = {"canyon": 0.0, "avenue": float(rng.choice([0.0, 3.0])), "industrial": 7.0}
    return Street(
        amplitude_m=0.0 if straight else float(rng.choice([0.0, 4.0, 8.0, 12.0])),
        wavelength_m=float(rng.uniform(300, 480)),
        phase_rad=float(rng.uniform(0, 2 * np.pi)),
        length_m=length_m,
        lane_m=float(rng.uniform(3.2, 3.7)),
        num_lanes=2 if wide and rng.random() < 0.75 else 1,
        parking_m=0.0 if wide and rng.random() < 0.6 else float(rng.uniform(2.1, 2.5)),
        pavement_m=float(rng.uniform(3.0, 5.0) if theme == "canyon" else rng.uniform(1.9, 3.6)),
        setback_m=setback.get(theme, float(rng.uniform(2.5, 7.0))),
        sides=sides,
        marking=WHITE if rng.random() < 0.6 else YELLOW,
        style=int(rng.integers(24)),
        hills=_hills(rng),
    )


def _hills(rng: np.random.Generator) -> Hills:
    """Hills: waves of 0.5 to 3 m over 80 to 300 m, at most 6 % steep; flat in some places."""
    if rng.random() < 0.3:
        return Hills()
    wavelengths = float(rng.uniform(160, 300)), float(rng.uniform(80, 150))
    steep = float(rng.uniform(0.01, 0.06))
    share = float(rng.uniform(0.4, 0.9))
    amplitudes = [steep * s * w / (2 * np.pi) for s, w in zip((share, 1 - share), wavelengths)]  # noqa: B905
    phases = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi))
    return Hills((amplitudes[0], amplitudes[1]), wavelengths, phases)


def _with_cross(
    rng: np.random.Generator, street: Street, journey: Journey, drive_m: float
) -> Street:
    """Add a cross street where the journey stops or turns."""
    half = max(110.0, drive_m - journey.event_m + 100.0)
    lane = float(rng.uniform(3.2, 3.5))
    cross = Street(
        length_m=2 * half,
        lane_m=lane,
        parking_m=float(rng.uniform(2.1, 2.4)),
        pavement_m=float(rng.uniform(2.4, 3.6)),
        setback_m=min(street.setback_m, 4.0),
        sides=("yards", "yards") if street.sides[0] == "yards" else ("shops", "shops")
        if "shops" in street.sides else ("houses", "houses"),
        marking=street.marking,
        style=int(rng.integers(24)),
        hills=street.hills,
    )  # fmt: skip
    x = EGO_START_M + journey.event_m
    if journey.event == "stop":
        x += NOSE_M + STOP_M[1] + cross.back_m
    elif journey.event == "left":
        x += REACH_M["left"] - 0.5 * lane
    elif journey.event == "right":
        x += REACH_M["right"] + 0.5 * lane
    else:
        x += 25.0
    aside = street.front_m + 16.0
    cross = replace(
        cross,
        origin_m=(x, STREET_Y_M - half),
        yaw_rad=np.pi / 2,
        gap_m=(half - street.back_m, half + street.back_m),
        built_gap_m=(half - aside, half + aside),
    )
    return replace(
        street, cross=cross, cross_at_m=x, gap_m=(x - cross.back_m, x + cross.back_m),
        built_gap_m=(x - cross.back_m, x + cross.back_m),
    )  # fmt: skip
