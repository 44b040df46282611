"""Pairing: which file belongs to which name, and what is said to be unclear."""

from nightrain.datasets.io.pairing import name_of, pair


def of(files: list[str], targets: list[str]) -> tuple[dict[str, str], object, object, list[str]]:
    paired = pair({f: name_of(f) for f in files}, {t: [name_of(f"{t}.x")] for t in targets})
    return paired.found, paired.doubled, paired.unclear, paired.unmatched


def test_the_stem_decides_and_folders_tell_equal_stems_apart() -> None:
    files = ["depth/a/1.png", "depth/b/1.png", "depth/2.png", "depth/9.png"]
    found, doubled, unclear, unmatched = of(files, ["img/a/1", "img/b/1", "img/a/2", "img/a/3"])
    assert found == {
        "img/a/1": "depth/a/1.png",
        "img/b/1": "depth/b/1.png",
        "img/a/2": "depth/2.png",
    }
    assert not doubled and not unclear and unmatched == ["depth/9.png"]
    found, *_ = of(["a/depth/1.png", "b/depth/1.png"], ["a/rgb/1", "b/rgb/1"])
    assert found == {"a/rgb/1": "a/depth/1.png", "b/rgb/1": "b/depth/1.png"}


def test_what_is_not_one_to_one_is_paired_with_nothing() -> None:
    found, doubled, _, _ = of(["x/1.png", "y/1.png"], ["img/1"])
    assert not found and doubled == {"img/1": ["x/1.png", "y/1.png"]}
    found, _, unclear, _ = of(["1.png", "2.png"], ["a/1", "b/1", "a/2"])
    assert found == {"a/2": "2.png"} and unclear == {"1.png": ["a/1", "b/1"]}


def test_a_target_may_have_several_names() -> None:
    paired = pair({"n008__CAM__17.jpg": ("17",)}, {"f": [("abc",), ("17",)], "g": [("18",)]})
    assert paired.found == {"f": "n008__CAM__17.jpg"}
