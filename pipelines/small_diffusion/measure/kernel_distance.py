"""Kernel Inception distance on ImageNet features: samples against true pictures of other places.

All arms are compared alike: the places are split into halves at random, and one half of the arm is
compared with the other half of the true pictures. The floor is the true pictures' own. There is no
FID: its covariance has as many rows as features (496), and needs several times as many pictures.
"""

from collections.abc import Callable, Iterator

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.world.sensors.rig import CAMERAS
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.weather.engine import WeatherEngine
from nightrain.pipelines.small_diffusion.data.views import SIZE, control_of, exact_depth_m, shots_of
from nightrain.pipelines.small_diffusion.measure.figures import Figure
from nightrain.pipelines.small_diffusion.measure.frames import Frames
from nightrain.pipelines.small_diffusion.measure.judges import Judges
from nightrain.pipelines.small_diffusion.measure.samples import SEED, Samples

CONDITIONS = (Condition.NIGHT, Condition.RAIN)
SPLITS = 20
Distance = Callable[[np.ndarray, np.ndarray], float]


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared MMD of features (N, D), (M, D) with the kernel (x y / D + 1)^3.

    Binkowski et al. 2018, "Demystifying MMD GANs", section 4.
    """

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x.astype(np.float64) @ y.T.astype(np.float64) / x.shape[1] + 1) ** 3

    def within(x: np.ndarray) -> float:
        k = kernel(x, x)
        return float((k.sum() - np.trace(k)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def kid_of_halves(
    a: np.ndarray, b: np.ndarray, places: np.ndarray, *, splits: int = SPLITS, seed: int = 0
) -> tuple[float, float]:
    """Mean and deviation of KID over splits: half of the places of `a`, other half of `b`."""
    return of_halves(a, b, (places, places), kid, splits=splits, seed=seed)


def of_halves(
    a: np.ndarray,
    b: np.ndarray,
    places: tuple[np.ndarray, np.ndarray],
    distance: Distance,
    *,
    splits: int = SPLITS,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and deviation of a distance over splits: half of the places of `a`, the other of `b`.

    `places` are those of the rows of `a` and of `b`.
    """
    rng = np.random.default_rng(seed)
    names, found = np.unique(np.concatenate(places)), []
    for _ in range(splits):
        chosen = rng.permutation(names)[: len(names) // 2]
        of_a, of_b = np.isin(places[0], chosen), ~np.isin(places[1], chosen)
        found.append(distance(a[of_a], b[of_b]))
    return float(np.mean(found)), float(np.std(found))


def kid_figures(samples: Samples, judges: Judges) -> Iterator[Figure]:
    """KID of night and rain samples, with the floor, the weather engine and clear pictures."""
    frames, count = samples.frames, samples.count
    places = frames.places[:count]
    clear = judges.descriptors(frames.true(Condition.CLEAR)[:count])
    for condition in CONDITIONS:
        true = judges.descriptors(frames.true(condition)[:count])
        weather = samples.parts.arrays(
            f"weather-{condition}", lambda c=condition: {"images": by_weather(samples, c)}
        )
        floor, spread = kid_of_halves(true, true, places)
        others = {
            "weather engine": judges.descriptors(weather["images"]),
            "clear (constant)": clear,
        }
        references = {"real-real floor": floor, "its deviation": spread}
        references |= {n: kid_of_halves(d, true, places)[0] for n, d in others.items()}
        for mode in ("text2image", "image2image"):
            made = judges.descriptors(samples.under(condition, mode))
            value, deviation = kid_of_halves(made, true, places)
            yield Figure(
                measure="KID",
                name=f"{mode}, {condition}",
                value=value,
                goal=references["weather engine"],
                lower_is_better=True,
                references={"deviation": deviation, **references},
                samples=count,
                seeds=f"{SEED} + 1000 x condition + frame; splits 0",
            )


def by_weather(samples: Samples, condition: Condition) -> np.ndarray:
    """Variants (N, H, W, 3) of the clear frames by the weather engine, from exact depth."""
    depths = _exact_depths(samples)
    severities = np.random.default_rng(SEED).uniform(
        samples.numbers.lowest, samples.numbers.highest, samples.count
    )
    requests = [
        _request(samples.frames, n, condition, float(severities[n]), depths[n])
        for n in range(samples.count)
    ]
    engine = WeatherEngine()
    made = engine.finish(engine.begin(engine.embed(requests), batch_size=1))
    failed = [variant for variant in made if isinstance(variant, Exception)]
    if failed:
        raise failed[0]
    return np.stack([variant.image for variant in made if not isinstance(variant, Exception)])


def _exact_depths(samples: Samples) -> np.ndarray:
    """Depth (N, H, W) of the frames in metres, cast again as the views only hold controls."""
    frames = samples.frames
    names = np.unique(frames.places)

    def compute() -> dict[str, np.ndarray]:
        return {"depth_m": np.stack([exact_depth_m(int(place)) for place in names])}

    depths = samples.parts.arrays("exact-depth", compute)["depth_m"]
    if (control_of(depths[0, 0]) != frames.controls[0]).any():
        raise InvalidRequest(
            "The views were rendered by another version of the world than the installed one: their "
            "exact depth is unknown. Render them again into a new folder with --places."
        )
    return depths[np.searchsorted(names, frames.places), frames.shots]


def _request(
    frames: Frames, number: int, condition: Condition, severity: float, depth_m: np.ndarray
) -> Request:
    place, shot = int(frames.places[number]), int(frames.shots[number])
    mount = CAMERAS[shots_of(place)[shot][1]]
    return Request(
        sample_id=f"place-{place:05d}-{shot}",
        image=frames.true(Condition.CLEAR)[number],
        depth_m=depth_m,
        intrinsics=mount.intrinsics(SIZE),
        condition=condition,
        severity=severity,
        seed=SEED + number,
        T_ego_camera=mount.T_ego_camera(),
    )
