"""Image sizes on the command line of a benchmark."""

import argparse


def image_size(text: str) -> tuple[int, int]:
    """Width and height in pixels of "448x256"; raises ArgumentTypeError."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; expected WIDTHxHEIGHT in pixels, such as 448x256"
        )
    return int(width), int(height)
