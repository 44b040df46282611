import numpy as np
import pytest

from nightrain.pipelines.engines.weather.optics.wet_glass import (
    APERTURE_MM,
    DISTANCE_MM,
    add_wet_glass,
    covered_aperture,
)


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def light() -> np.ndarray:
    return rng(9).uniform(0, 1, (120, 200, 3)).astype(np.float32)


def seen(picture: np.ndarray) -> np.ndarray:
    return np.ones(picture.shape[:2], np.float32)


def overlap_of_discs(distance: float, a: float, b: float) -> float:
    """Share of a disc of diameter a that lies in a disc of diameter b, by counting points."""
    grid = (np.arange(400) + 0.5) / 400 * a - a / 2
    x, y = np.meshgrid(grid, grid)
    inside = np.hypot(x, y) < a / 2
    return float((np.hypot(x - distance, y) < b / 2)[inside].mean())


@pytest.mark.parametrize("diameter_mm", [1.0, 2.5, 3.0, 6.0])
def test_covered_aperture_is_the_overlap_of_two_discs(diameter_mm: float) -> None:
    distances_mm = np.linspace(0, 5, 26, dtype=np.float32)
    found = covered_aperture(distances_mm, diameter_mm)
    exact = [overlap_of_discs(float(d), APERTURE_MM, diameter_mm) for d in distances_mm]
    np.testing.assert_allclose(found, exact, atol=2e-3)
    assert (found[distances_mm >= (APERTURE_MM + diameter_mm) / 2] < 1e-6).all()
    assert (np.diff(found) <= 1e-6).all()


def test_dry_glass_changes_nothing() -> None:
    np.testing.assert_allclose(
        add_wet_glass(light(), 0.0, seen(light()), rng(1)), light(), atol=1e-6
    )


def test_uniform_light_stays_uniform() -> None:
    grey = np.full((120, 200, 3), 0.4, np.float32)
    for seed in range(5):
        np.testing.assert_allclose(add_wet_glass(grey, 0.9, seen(grey), rng(seed)), grey, atol=1e-4)


def test_more_rain_hides_more() -> None:
    fine = light()

    def contrast(severity: float) -> float:
        return float(
            np.mean([add_wet_glass(fine, severity, seen(fine), rng(s)).std() for s in range(20)])
        )

    assert contrast(0.9) < contrast(0.4) < 0.97 * fine.std()


def test_the_same_seed_gives_the_same_drops() -> None:
    np.testing.assert_array_equal(
        add_wet_glass(light(), 0.7, seen(light()), rng(4)),
        add_wet_glass(light(), 0.7, seen(light()), rng(4)),
    )


def test_drops_are_wider_than_in_focus() -> None:
    """A drop's disc has the diameter (D + A) / d, so each hides more of the image than D / d."""
    assert DISTANCE_MM[0] > APERTURE_MM
    reach = covered_aperture(np.array([1.9, 2.1], np.float32), 1.0)
    assert reach[0] > 0 and reach[1] == 0
