"""YAML and JSON documents: what cannot be read is one ValueError in words, whatever it is."""

import random

import pytest

from nightrain.datasets.io.documents import mapping, parse_json, parse_yaml

BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
BAD_YAML = {
    "a: 1\nb: {c: 1, c: 2}": "found the key 'c' twice in line 2, column 11",
    "1: a\n0x1: b": "found the key '0x1' twice",
    "{<<: {a: 1}, <<: {a: 2}}": "twice",
    "[" * 5000: "nested too deeply",
    "{a: " * 500 + "1" + "}" * 500: "nested too deeply",
    "a: " + "9" * 5000: "an integer with too many digits",
    "a: 0x" + "f" * 5000: "an integer with too many digits",
    'a: "\\ud800"': "half a character in line 1",
    "a: 2024-13-45": "month must be in 1..12",
    "a: 2024-01-01T99:99:99": "hour must be in 0..23",
    "&a [*a]": "aliases",
    "a: &x {b: *x}": "aliases",
    BOMB: "aliases",
    "a: !!python/object/apply:os.system [ls]": "could not determine a constructor",
    "{[1]: 2}": "as a key",
    "\x00": "unacceptable character",
    b"a: \xff": "byte 3 is not valid UTF-8",
    "a: *b": "undefined alias 'b' in line 1",
    "--- 1\n--- 2": "another document",
    "a: !!bool 7": "does not fit its tag",
    "a: !!timestamp 99": "does not fit its tag",
    "a: !!int ''": "does not fit its tag",
    "a: !!float x": "could not convert",
    "a: 'b": "found unexpected end of stream",
}
BAD_JSON = {
    "": "Expecting value",
    "[" * 100_000: "nested too deeply",
    "9" * 5000: "an integer with too many digits",
    '{"a": {"b": 1, "b": 2}}': "found the key 'b' twice",
    '{"a": "\\uD800"}': "half a character",
    b"\xff": "byte 0 is not valid UTF-8",
}


@pytest.mark.parametrize("text", BAD_YAML, ids=lambda text: repr(text)[:30])
def test_yaml_that_cannot_be_read_is_said_in_words(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".") as found:
        parse_yaml(text)
    assert BAD_YAML[text] in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: repr(text)[:30])
def test_json_that_cannot_be_read_is_said_in_words(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".") as found:
        parse_json(text)
    assert BAD_JSON[text] in str(found.value)


def test_plain_yaml_is_read_with_its_anchors() -> None:
    text = "a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne: [*a, 2024-02-29]"
    found = parse_yaml(text)
    assert found["d"] == {"b": 1, "c": 3} and found["e"][0] == {"b": 1, "c": 2}
    assert parse_yaml("") is None and parse_json('{"a": [1]}') == {"a": [1]}


def test_a_mapping_is_required_in_words() -> None:
    assert mapping({"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match="found nothing, expected a mapping"):
        mapping(None)
    with pytest.raises(ValueError, match="found a list"):
        mapping([])


@pytest.mark.parametrize("num_texts", [300, pytest.param(30_000, marks=pytest.mark.campaign)])
def test_random_yaml_and_json_raise_nothing_else(num_texts: int) -> None:
    """Pieces of valid text and of what parsers stumble over, in random order."""
    rng = random.Random(0)
    pieces = ["a", "b: ", "? ", "- ", "\n", "  ", "{", "}", "[", "]", ", ", "&x ", "*x", "<<: "]
    pieces += ["!!int ", "!!set ", "!!binary ", "!!omap ", "!!float ", "!!merge ", "!!null "]
    pieces += [
        "1e999",
        "0x",
        "1:2:3",
        "2024-99-99",
        '"',
        "'",
        "\t",
        "%",
        "@",
        "|",
        ">",
        "\x7f",
        "\ud800",
    ]
    for _ in range(num_texts):
        text = "".join(rng.choices(pieces, k=rng.randint(1, 12)))
        for parse in (parse_yaml, parse_json):
            try:
                parse(text)
            except ValueError as error:
                assert "\n" not in str(error), text
