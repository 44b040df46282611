"""Weather words: remove words of weather and time of day from captions.

"On a sunny day" in a clear frame's caption would contradict a night prompt. The rules work on
words, without a parser: together with a weather word, they remove the preposition, article, adverb
or verb that depends on it.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from nightrain.datasets.conditions import CONDITIONS

TOKEN = re.compile(r"(\s*)(\w+(?:['’-]\w+)*|[^\w\s])")
MAX_PASSES = 50


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Always removed from captions: the words of every condition, and words that fit several.
NOUNS = _set("weather summer frost wind storm storms lightning cloud clouds").union(
    *(_set(row.caption_nouns) for row in CONDITIONS.values())
)
ADJECTIVES = _set("cloudy overcast stormy gloomy windy icy frosty").union(
    *(_set(row.caption_adjectives) for row in CONDITIONS.values())
)
WEATHER = NOUNS | ADJECTIVES

# Weather only before such a word: a "clear day", but not a "clear road".
FAIR = _set("clear bright dark grey gray blue fine dry nice beautiful cold warm hot dull lovely")
DAY = _set("day days sky skies")
TAILS = DAY | _set(
    "time times hours light conditions shower showers drops falling pouring shining shines setting "
    "rising covered soaked drenched dusted lit filled slicked"
)
MODIFIERS = FAIR | _set(
    "heavy light early late dense thick thin dim fresh fallen pouring falling strong white bad low "
    "spring autumn light-colored"
)
ADVERBS = _set("very rather partly mostly slightly quite so really extremely fairly somewhat")

ARTICLES = _set("a an the some its this that")
PREPOSITIONS = _set(
    "at in on during under through by with after before into from beneath amid amidst of against "
    "for despite because throughout until within without"
)
PARTICIPLES = _set("covered soaked drenched dusted lit filled shrouded blanketed caught surrounded")
COPULAS = _set("is are was were be being been looks look seems appears has have it's its")
DUMMIES = _set("it there this that which it's while when as because if since where")
CONJUNCTIONS = _set("and or but & ,")
FUNCTION_WORDS = (
    ARTICLES
    | PREPOSITIONS
    | COPULAS
    | DUMMIES
    | CONJUNCTIONS
    | _set("near next behind along around over to above below beside between who whose he she they")
)
SENTENCE_STARTS = ARTICLES | PREPOSITIONS | DUMMIES | _set("two three four several many people")
DANGLING = ARTICLES | PREPOSITIONS | COPULAS | _set("and or but & while when as , ; : -")


@dataclass(slots=True)
class _Token:
    gap: str
    text: str
    removed: bool = False

    @property
    def word(self) -> str:
        return self.text.casefold().replace("’", "'")


def strip_weather(caption: str) -> str:
    """Remove words of weather and time of day from a caption; idempotent.

    Only whole words match: "train", "brainy" and "nightclub" stay. In a caption without such words,
    only the white space is normalised.
    """
    text = " ".join(caption.split())
    for _ in range(MAX_PASSES):  # a removal can join words into a new phrase
        stripped = _strip_once(text)
        if stripped == text:
            break
        text = stripped
    return text


def is_weather(word: str) -> bool:
    """Whether a word, or a hyphenated part of it, names weather or a time of day."""
    word = word.casefold().replace("’", "'")
    return word in WEATHER or any(part in WEATHER for part in re.split(r"['-]", word))


def _strip_once(text: str) -> str:
    tokens = [_Token(gap, word) for gap, word in TOKEN.findall(text)]
    words = [
        "",
        "",
        *(token.word for token in tokens),
        "",
        "",
    ]  # padding: indices below stay in range
    start = 0
    while (run := _next_run(words, start)) is not None:
        first, last = _with_dependents(words, *run)
        for index in range(first, last + 1):
            tokens[index - 2].removed = True
        start = last + 1
    if not any(token.removed for token in tokens):
        return text
    return _joined(tokens)


def _next_run(words: list[str], start: int) -> tuple[int, int] | None:
    """Find the next weather phrase: its first and last index, or None."""
    for first in range(max(2, start), len(words) - 2):
        last = _run_end(words, first)
        if last is not None:
            return first, last
    return None


def _run_end(words: list[str], first: int) -> int | None:
    """Index of the last word of a weather phrase that begins at `first`, or None."""
    at = first
    while words[at] in MODIFIERS | ADVERBS or (words[at] == "," and words[at - 1] in MODIFIERS):
        at += 1  # "clear blue" sky, "early" morning
    fair_day = words[at] in DAY and at > first and words[at - 1] in FAIR
    whole_day = words[at] in DAY and words[at - 1] in {"during", "by", "of"}
    whole_day |= words[at] in DAY and words[at - 1] == "the" and words[at - 2] in {"during", "by"}
    in_the_dark = (
        first == at - 1
        and words[first] == "dark"
        and words[first - 2 : first] == ["in", "the"]
        and not _is_content(words[at])
    )
    if in_the_dark:
        return first
    if not (is_weather(words[at]) or fair_day or whole_day):
        return None
    while is_weather(words[at + 1]) or words[at + 1] in TAILS:
        at += 1
    if words[at + 1] in CONJUNCTIONS:  # "sunny and dry day", "rain and snow"
        further = _run_end(words, at + 2)
        if further is not None:
            return further
    return at


def _with_dependents(words: list[str], first: int, last: int) -> tuple[int, int]:
    """Extend a weather phrase by the surrounding words that depend on it."""
    after, before = words[last + 1], words[first - 1]
    adjective = words[last] in ADJECTIVES or "-" in words[last]
    if _is_content(after) and not (before == "at" and not adjective):
        return _attribute(words, first, last)  # "a wet street", "the night bus"
    of_it = before in COPULAS and words[first - 2] in DUMMIES  # "it is wet and people walk"
    if adjective and after in CONJUNCTIONS and _is_content(words[last + 2]) and not of_it:
        return first, last + 1  # "wet and cold streets"
    if after in COPULAS and words[last + 2] in TAILS:
        last += 2  # "the sun is shining"
    if last + 3 < len(words) and words[last + 1 : last + 4] == ["on", "the", "ground"]:
        last += 3  # snow
    if words[last + 1] == "and" and "with" in words[first - 2 : first]:
        return _without_article(words, first), last + 1  # "with puddles and a bus"
    return _phrase(words, first), last


def _attribute(words: list[str], first: int, last: int) -> tuple[int, int]:
    """Trim attributes before a noun that stays; adjectives other than weather stay, too."""
    while first < last and words[first] in MODIFIERS and not is_weather(words[first]):
        first += 1
    while words[first - 1] in ADVERBS:
        first -= 1
    if words[first - 1] in CONJUNCTIONS - {","}:
        first -= 1  # "cold and wet streets"
    return first, last


def _phrase(words: list[str], first: int) -> int:
    """First index of a phrase, including its article, preposition, participle, verb and subject."""
    first = _without_article(words, first)
    had_preposition = False
    while words[first - 1] in PREPOSITIONS:
        first, had_preposition = first - 1, True
    while words[first - 1] in PARTICIPLES | ADVERBS and (
        had_preposition or words[first - 1] in ADVERBS
    ):
        first -= 1
    if words[first - 1] in COPULAS:
        first -= 1
        while words[first - 1] in DUMMIES:
            first -= 1
    if words[first - 1] in CONJUNCTIONS:
        first -= 1
    return first


def _without_article(words: list[str], first: int) -> int:
    while words[first - 1] in ARTICLES and words[first - 1] != "that":
        first -= 1
    return first


def _is_content(word: str) -> bool:
    """Whether a word may be the noun that the words before it modify."""
    return (
        bool(word)
        and (word[0].isalnum() or word[0] == "_")
        and word not in FUNCTION_WORDS
        and not (word.endswith("ing") and word not in {"building", "crossing", "parking"})
    )


def _joined(tokens: list[_Token]) -> str:
    """Join the remaining tokens, without double commas and dangling words at the ends."""
    kept: list[_Token] = []
    for index, token in enumerate(tokens):
        if token.removed:
            continue
        if token.text in ",;:.!?" and (not kept or kept[-1].text in ",;:.!?"):
            if kept and token.text in ".!?":
                kept[-1] = token
            continue
        if index and tokens[index - 1].removed and token.text[0].isalnum():
            token.gap = " "
        kept.append(token)
    while tokens[-1].removed and kept and kept[-1].word in DANGLING:
        kept.pop()
    while tokens[0].removed and kept and kept[0].word in CONJUNCTIONS | {"while", ";", ":", "-"}:
        kept.pop(0)
    _agree_articles(kept)
    return "".join(token.gap + token.text for token in kept).strip()


def _agree_articles(tokens: list[_Token]) -> None:
    """Correct "a" and "an" before the words that now follow them."""
    for article, noun in pairwise(tokens):
        if article.word in ("a", "an") and noun.text[0].isalpha():
            vowel = noun.word[0] in "aeiou" or noun.word.startswith(("hour", "honest"))
            vowel &= not noun.word.startswith(("one", "once", "uni", "use", "euro"))
            article.text = article.text[0] + ("n" if vowel else "")
