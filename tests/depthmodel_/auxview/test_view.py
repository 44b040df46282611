"""Auxiliary images as the network takes them: resized, with intrinsics of their new size."""

import numpy as np
import pytest
import torch

from nightrain.depthmodel.auxview.view import AuxImage, stacked, view_of

SIZE = (48, 32)  # width, height of the network's input
CPU = torch.device("cpu")
T = np.diag([1.0, 1.0, 1.0, 1.0])
T[0, 3] = -0.54


def image(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 51, np.uint8)


def intrinsics(focal_px: float, width: int, height: int) -> np.ndarray:
    return np.array([[focal_px, 0, width / 2 - 0.5], [0, focal_px, height / 2 - 0.5], [0, 0, 1]])


def test_intrinsics_follow_their_own_image_to_the_new_size() -> None:
    """The image halves in width and height; the view, of another size, becomes a third."""
    view = AuxImage(image(144, 96), intrinsics(90, 96, 64), intrinsics(120, 144, 96), T)
    found = stacked([view], [image(96, 64)], SIZE, CPU)
    assert found is not None and found.K is not None and found.K_aux is not None
    np.testing.assert_allclose(found.K[0].numpy(), intrinsics(45, 48, 32), rtol=1e-6)
    np.testing.assert_allclose(found.K_aux[0].numpy(), intrinsics(40, 48, 32), rtol=1e-6)
    assert found.T_aux_camera is not None
    np.testing.assert_allclose(found.T_aux_camera[0].numpy(), T, rtol=1e-6)  # metres stay
    assert found.image.shape == (1, 3, 32, 48) and torch.all(found.image == 0.2)


def test_axes_are_scaled_apart() -> None:
    K = np.array([[100.0, 0, 59.5], [0, 80.0, 15.5], [0, 0, 1]])
    found = stacked([AuxImage(image(96, 16), K, K, T)], [image(96, 16)], SIZE, CPU)
    assert found is not None and found.K is not None
    expected = [[50.0, 0, 29.5], [0, 160.0, 31.5], [0, 0, 1]]  # half as wide, twice as high
    np.testing.assert_allclose(found.K[0].numpy(), expected, rtol=1e-6)


def test_a_missing_view_is_blank_and_absent() -> None:
    images = [image(96, 64), image(48, 32)]
    view = AuxImage(image(96, 64), intrinsics(90, 96, 64), intrinsics(90, 96, 64), T)
    found = stacked([None, view], images, SIZE, CPU)
    assert found is not None and found.present.tolist() == [False, True]
    assert not found.image[0].any() and found.K is not None and found.K.shape == (2, 3, 3)
    assert stacked([None, None], images, SIZE, CPU) is None


def test_geometry_is_given_for_all_views_or_for_none() -> None:
    known = AuxImage(image(96, 64), intrinsics(90, 96, 64), intrinsics(90, 96, 64), T)
    found = stacked([known, AuxImage(image(96, 64))], [image(96, 64)] * 2, SIZE, CPU)
    assert found is not None and found.present.all()
    assert found.K is None and found.K_aux is None and found.T_aux_camera is None


@pytest.mark.parametrize(("hidden", "wrong"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_views_of_a_batch_are_hidden_or_exchanged(hidden: float, wrong: float) -> None:
    stereo = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 4, 6)
    batch = {
        "stereo": stereo,
        "has_stereo": torch.tensor([1, 0, 1]),
        "shown_intrinsics": torch.eye(3).expand(3, 3, 3),
        "stereo_intrinsics": 2 * torch.eye(3).expand(3, 3, 3),
        "T_stereo_camera": torch.eye(4).expand(3, 4, 4),
        "clear_image": torch.zeros(3, 3, 4, 6),
    }
    found = view_of(batch, "stereo", hidden=hidden, wrong=wrong)
    assert found is not None
    assert found.present.tolist() == ([False] * 3 if hidden else [True, False, True])
    assert found.image[:, 0, 0, 0].tolist() == ([2.0, 0.0, 1.0] if wrong else [0.0, 1.0, 2.0])
    assert view_of(batch, "previous") is None
