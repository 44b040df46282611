import argparse

import pytest

from nightrain.benchmarks.image_size import image_size


def test_a_size_is_width_and_height() -> None:
    assert image_size("448x256") == (448, 256)


@pytest.mark.parametrize("text", ["", "448", "448x", "x256", "0x256", "448x256x3", "-4x8", "4 x 8"])
def test_a_wrong_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 448x256"):
        image_size(text)
