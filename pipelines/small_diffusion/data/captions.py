"""Training captions from the world's exact truth, in the form of generation prompts."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from nightrain.datasets.conditions import CONDITIONS, Condition
from nightrain.datasets.sources.nuscenes.objects import count_names
from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.scene.weather import Weather
from nightrain.pipelines.captions.metadata import MetadataCaptioner, about_frame
from nightrain.pipelines.captions.weather_words import strip_weather

CLEAR_PHRASES = ("On a clear day", "In the daytime", "By day")
LEAST_PIXELS = 12  # smaller objects are not counted
_CAPTIONER = MetadataCaptioner()


def visible_objects(scene: Scene, owners: np.ndarray) -> Counter[str]:
    """Count the actors seen, by category; `owners` (H, W) are actor numbers, -1 = none."""
    seen, sizes = np.unique(owners[owners >= 0], return_counts=True)
    shown = seen[sizes >= LEAST_PIXELS]
    return Counter(scene.actors[int(number)].category for number in shown)


def draw_prompt(scene: Scene, objects: Counter[str], rng: np.random.Generator) -> str:
    """Draw a prompt: a phrase of the condition, a caption and the intensity, some left out."""
    rest = caption(scene, objects, rng)
    words = [phrase(scene.weather, rng), rest, intensity(scene.weather)]
    if rng.random() < 0.15:
        words[1] = ""
    if rng.random() < 0.3:
        words[2] = ""
    return ", ".join(filter(None, words))


def caption(scene: Scene, objects: Counter[str], rng: np.random.Generator) -> str:
    """Caption without weather: "a street with 3 cars, 1 bus, shops"; the counts may be left out."""
    counts = objects if rng.random() < 0.8 else Counter[str]()
    about = about_frame(count_names(counts.elements()), strip_weather(scene.description))
    return _CAPTIONER.caption([np.zeros((1, 1, 3), np.uint8)], [about])[0]


def without_phrase(prompts: Sequence[str]) -> str:
    """Caption of the first prompt of a clear view that has one; "a street" if none has."""
    captions = (prompt.partition(", ")[2] for prompt in prompts)
    return next(filter(None, captions), "a street")


def phrase(weather: Weather, rng: np.random.Generator) -> str:
    """Draw a phrase of the condition that the weather bears out; the first one half of the time."""
    if weather.condition is Condition.CLEAR:
        return CLEAR_PHRASES[int(rng.integers(len(CLEAR_PHRASES)))]
    phrases = CONDITIONS[weather.condition].phrases
    fitting = [p for p in phrases if _fits(p, weather)]
    return phrases[0] if rng.random() < 0.5 else fitting[int(rng.integers(len(fitting)))]


def intensity(weather: Weather) -> str:
    """Words for the intensity of rain, snow or fog; "" where it is average."""
    rain, snow, sight = weather.rain_mm_per_h, weather.snow_mm_per_h, weather.visibility_m
    if weather.condition is Condition.FOG:
        return _scaled(-sight, -150.0, -75.0, "fog")
    if weather.condition is Condition.SNOW:
        return _scaled(snow, 0.7, 1.8, "snow")
    return _scaled(rain, 4.0, 12.0, "rain") if rain > 0 else ""


def _scaled(value: float, light: float, heavy: float, noun: str) -> str:
    return f"light {noun}" if value < light else f"heavy {noun}" if value > heavy else ""


def _fits(text: str, weather: Weather) -> bool:
    """Whether the weather is strong enough for a phrase that names its strength."""
    tests: Sequence[tuple[str, bool]] = (
        ("heavy rain", weather.rain_mm_per_h > 8.0),
        ("rainstorm", weather.rain_mm_per_h > 12.0),
        ("raindrops", weather.lens_drops > 15.0),
        ("puddles", weather.puddles > 0.2),
        ("snowstorm", weather.snow_mm_per_h > 1.5 and weather.snow_cover > 0.7),
        ("snow on the road", weather.snow_cover > 0.6),
        ("dense fog", weather.visibility_m < 110.0),
        ("thick fog", weather.visibility_m < 80.0),
        ("mist", weather.visibility_m > 130.0),
    )
    return all(holds for words, holds in tests if words in text)
