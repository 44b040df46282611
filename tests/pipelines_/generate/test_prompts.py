"""Prompts: no weather word of a clear caption is left, and nothing else is lost."""

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nightrain.datasets.conditions import (
    CONDITIONS,
    PROMPTED_CONDITIONS,
    SIMULATED_CONDITIONS,
    Condition,
)
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.captions.prompts import prompt
from nightrain.pipelines.captions.weather_words import (
    DANGLING,
    DAY,
    FUNCTION_WORDS,
    MODIFIERS,
    PARTICIPLES,
    TAILS,
    WEATHER,
    is_weather,
    strip_weather,
)
from nightrain.pipelines.engines.diffusion.models.settings import NEGATIVE_PROMPT

FORBIDDEN = re.compile(
    r"\b(sunny|cloudy|overcast|night|rain|rainy|raining|snow|snowy|snowing|daytime|morning|evening|"
    r"dusk|dawn|fog|foggy|mist|misty|wet|puddles?|storm|weather|winter|afternoon|sunset)\b",
    re.IGNORECASE,
)
KEPT_WHATEVER_HAPPENS = (
    "train brainy nightclub raincoat knight terrain snowman's frostbite rainbow daylily sundress "
    "misty's crossing street car bus truck people man woman building traffic tree sign corner"
).replace("misty's ", "")
NOUNS = KEPT_WHATEVER_HAPPENS.split()
ANY_WORD = sorted(WEATHER | DANGLING | TAILS | MODIFIERS | FUNCTION_WORDS) + NOUNS
CAPTIONS = st.lists(st.sampled_from(ANY_WORD), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a man crossing the street at night", "a man crossing the street"),
        ("a car driving down a wet road in the rain", "a car driving down a road"),
        ("a city street on a sunny day with cars", "a city street with cars"),
        ("a street with traffic under a cloudy sky", "a street with traffic"),
        ("At night, a car is driving", "a car is driving"),
        ("a view of a highway on an overcast morning", "a view of a highway"),
        ("a street covered in snow", "a street"),
        ("a snow covered street with trees", "a street with trees"),
        ("a street with snow on the ground", "a street"),
        ("the road is wet", "the road"),
        ("it is raining and people are walking", "people are walking"),
        ("a man walking in the rain and holding a bag", "a man walking and holding a bag"),
        ("wet and cold streets", "cold streets"),
        ("cold and wet streets", "cold streets"),
        ("a wet asphalt road", "an asphalt road"),
        ("an overcast street", "a street"),
        ("the sun is shining on the street", "on the street"),
        ("a city with a clear blue sky and tall buildings", "a city with tall buildings"),
        ("a street with puddles and a bus", "a street with a bus"),
        ("a bus in the early morning light", "a bus"),
        ("a street during the day", "a street"),
        ("a street scene in the dark", "a street scene"),
        ("a truck on a rainy street at night with its headlights on", None),
        ("cars and rain and people", "cars and people"),
        ("Clear weather, straight street, parked cars", "straight street, parked cars"),
        ("a car while it is raining", "a car"),
        ("night", ""),
    ],
)
def test_what_leans_on_a_weather_word_goes_with_it(caption: str, expected: str | None) -> None:
    if expected is None:
        expected = "a truck on a street with its headlights on"
    assert strip_weather(caption) == expected


@pytest.mark.parametrize(
    "caption",
    [
        "a train with a brainy man at a nightclub",
        "a clear road ahead of a man in dark clothes",
        "a woman in a raincoat before Rainier Avenue",
        "a traffic light on a bright street, with a bus",
        "two people {0} %s {name} at 5 o'clock",
        "Parked truck, construction, intersection, turn left, following a van",
        "a bright and dark",
        "",
    ],
)
def test_captions_without_weather_words_are_kept_to_the_letter(caption: str) -> None:
    assert strip_weather(caption) == caption


@given(CAPTIONS)
@example("rain-soaked street and snow-covered cars")
@example("ſnow on the street")  # the long s folds to an s
def test_no_weather_word_is_left_and_no_other_word_is_lost(caption: str) -> None:
    stripped = strip_weather(caption)
    assert not FORBIDDEN.search(stripped)
    assert not [word for word in re.findall(r"\w+(?:['’-]\w+)*", stripped) if is_weather(word)]
    nouns = [word for word in caption.split() if word in NOUNS]
    assert [word for word in stripped.split() if word in NOUNS] == nouns


@given(CAPTIONS | st.text())
def test_stripping_twice_changes_nothing(caption: str) -> None:
    stripped = strip_weather(caption)
    assert strip_weather(stripped) == stripped


@given(st.text())
@example("a street; rain! {x} — (wet) “night”")
def test_any_text_comes_back_without_new_words(caption: str) -> None:
    stripped = strip_weather(caption)
    assert stripped == " ".join(stripped.split())
    new = set(re.findall(r"\w+", stripped)) - set(re.findall(r"\w+", caption))
    assert new <= {"a", "an", "A", "An"}  # which follow their noun


def test_every_weather_word_alone_is_gone() -> None:
    for word, noun in itertools.product(sorted(WEATHER), ("bus", "apple")):
        assert strip_weather(word) == "", word
        article = "an" if noun == "apple" else "a"
        assert strip_weather(f"a {word} {noun}") == f"{article} {noun}", word
        assert strip_weather(f"people near {article} {noun} in the {word}").endswith(noun), word
    assert not WEATHER & (DAY | PARTICIPLES)  # those go only beside a weather word


PHRASES = {
    Condition.NIGHT: "At night",
    Condition.RAIN: "In a rainy day",
    Condition.SNOW: "In a snowy day",
    Condition.FOG: "In a foggy day",
    Condition.NIGHT_RAIN: "In a rainy night",
}


def test_prompts_are_the_papers() -> None:
    caption = "a man crossing the street in front of a building"
    assert prompt(Condition.NIGHT, caption) == f"At night, {caption}"
    assert prompt(Condition.RAIN, caption) == f"In a rainy day, {caption}"
    assert prompt(Condition.SNOW, caption) == f"In a snowy day, {caption}"
    assert PROMPTED_CONDITIONS == SIMULATED_CONDITIONS == tuple(PHRASES)


@pytest.mark.parametrize("condition", PROMPTED_CONDITIONS)
def test_a_prompt_names_one_condition_and_keeps_the_rest(condition: Condition) -> None:
    made = prompt(condition, "A truck on a sunny day in heavy rain at night.")
    assert made == f"{PHRASES[condition]}, a truck"
    assert prompt(condition, "a rainy day") == PHRASES[condition]
    assert (
        prompt(condition, "{condition} 100 % %s") == f"{PHRASES[condition]}, {{condition}} 100 % %s"
    )


@pytest.mark.parametrize("condition", PROMPTED_CONDITIONS)
def test_varied_prompts_depend_on_the_seed_alone_and_all_come(condition: Condition) -> None:
    made = [prompt(condition, "a bus", varied_by_seed=seed) for seed in range(200)]
    assert made == [prompt(condition, "a bus", varied_by_seed=seed) for seed in range(200)]
    assert set(made) == {f"{phrase}, a bus" for phrase in CONDITIONS[condition].phrases}
    assert CONDITIONS[condition].phrases[0] == PHRASES[condition]
    assert prompt(condition, "a bus", varied_by_seed=2**63 - 1) in made


def test_the_negative_prompt_names_no_weather() -> None:
    assert not FORBIDDEN.search(NEGATIVE_PROMPT)


def test_the_clear_condition_has_no_prompt() -> None:
    with pytest.raises(InvalidRequest, match="'clear'"):
        prompt(Condition.CLEAR, "a bus")
