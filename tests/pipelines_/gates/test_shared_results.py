"""What gates share: a picture's edges, and what networks see in clear frames, are computed once."""

import numpy as np

from nightrain.pipelines.gates.built_in.clear_frames import OfClearFrames
from nightrain.pipelines.gates.edge_directions import edge_directions

RNG = np.random.default_rng(0)


def picture() -> np.ndarray:
    return RNG.integers(0, 255, (18, 32, 3), dtype=np.uint8)


def test_the_edges_of_the_last_two_pictures_are_kept() -> None:
    clear, variant, other = picture(), picture(), picture()
    first, second = edge_directions(clear), edge_directions(variant)
    assert edge_directions(clear) is first and edge_directions(variant) is second
    edge_directions(other)
    again = edge_directions(clear)
    assert again is not first and np.allclose(again, first, atol=1e-6)
    assert not np.allclose(first, second, atol=1e-6)


def test_a_shard_of_frames_is_looked_at_once_for_all_conditions() -> None:
    frames, looked = [picture() for _ in range(128)], []

    def look(image: np.ndarray) -> list[np.ndarray]:
        looked.append(image)
        return [np.full((192, 320), image.mean(), np.float32)]

    of_clear_frame = OfClearFrames(look)
    for _ in range(4):
        for frame in frames:
            assert of_clear_frame(frame.copy())[0][0, 0] == np.float32(frame.mean())
    assert len(looked) == len(frames)


def test_no_more_bytes_are_kept_than_allowed() -> None:
    looked = []

    def look(image: np.ndarray) -> np.ndarray:
        looked.append(image)
        return np.zeros(100, np.uint8)

    of_clear_frame = OfClearFrames(look, most_bytes=250)
    a, b, c = picture(), picture(), picture()
    for frame in (a, b, a, c):  # c takes the place of b, which was not asked for as lately as a
        of_clear_frame(frame)
    assert len(looked) == 3
    of_clear_frame(a)
    assert len(looked) == 3
    of_clear_frame(b)
    assert len(looked) == 4
