"""Sky: its luminance and the light it gives, by weather. Linear RGB (3, N), cd/m2."""

import numpy as np

from nightrain.datasets.world.scene.weather import Sky, Weather
from nightrain.datasets.world.shapes.noise import fractal, smoothstep

_BLUE = np.array([[0.13], [0.27], [0.62]], np.float32)  # shares of the horizon's luminance
_PALE = np.array([[0.62], [0.72], [0.83]], np.float32)
_SUNLIGHT = np.array([[1.10], [0.99], [0.82]], np.float32)  # luminance 1, like the next
_BLUE_SHADE = np.array([[0.80], [1.0], [1.34]], np.float32)
_GREY = np.array([[0.97], [1.0], [1.05]], np.float32)
_DUSK_BLUE = np.array([[0.62], [0.98], [1.75]], np.float32)
_DUSK_GLOW = np.array([[2.0], [0.85], [0.30]], np.float32)
_CITY_GLOW = np.array([[1.45], [0.93], [0.55]], np.float32)
_CLOUD_OCTAVES = ((1.6, 0.5), (0.7, 0.27), (0.3, 0.14), (0.13, 0.08), (0.06, 0.04))
_AIR_HEIGHT_M = 150.0  # of the layer of thick air
_GROUND_SENDS_BACK = 0.09  # reflected share of the light, in a street half in shadow
_BLUE_SKY_LUX = 14_500.0  # illuminance for the shares _BLUE and _PALE of 10,000 cd/m2


def sunlight(weather: Weather) -> np.ndarray:
    """Illuminance (3, 1) of the sun on a plane facing it, lux."""
    return _SUNLIGHT * np.float32(weather.sun_lux)


def skylight(weather: Weather) -> tuple[np.ndarray, np.ndarray]:
    """Illuminance (3, 1) in lux on planes that face up and down."""
    tint = _tint(weather)
    up = tint * np.float32(weather.sky_lux)
    send_back = _GROUND_SENDS_BACK + 0.4 * weather.snow_cover
    level = weather.sun_lux * max(float(weather.sun[2]), 0.0)
    down = send_back * (up + _SUNLIGHT * np.float32(level))
    if weather.sky is Sky.NIGHT:
        down = 0.7 * up  # at night lit streets give planes that face down nearly as much
    return up, down.astype(np.float32)


def air_light(weather: Weather) -> np.ndarray:
    """Luminance (3, 1) of optically thick air: the limit for far surfaces."""
    return radiance(np.array([[1.0], [0.0], [0.05]], np.float32), weather)


def radiance(ray: np.ndarray, weather: Weather) -> np.ndarray:
    """Luminance (3, N) of the cloudless sky along unit rays (3, N)."""
    up = np.clip(ray[2], 0, 1).astype(np.float32)
    if weather.sky is Sky.NIGHT:
        glow = 0.35 + 1.5 * (1 - up) ** 5
        return _CITY_GLOW * (weather.sky_lux / np.pi * (0.5 + 0.5 * weather.cloud)) * glow
    if weather.sky is Sky.OVERCAST:
        # Between the CIE's overcast sky (1 + 2 sin h) / 3 (Moon and Spencer 1942) and an even sky,
        # since thick air whitens the horizon; E = pi L (a + 2 b / 3) for L (a + b sin h).
        zenith = weather.sky_lux / (np.pi * (0.6 + 0.4 * 2 / 3))
        return _GREY * np.float32(zenith) * (0.6 + 0.4 * up)
    if weather.sky is Sky.DUSK:
        return _dusk(ray, up, weather)
    blue = 1 - (1 - up) ** 3
    if weather.sky is Sky.HAZY:
        blue = 0.45 * blue
    air = _PALE + (_BLUE - _PALE) * blue
    near_sun = np.clip(weather.sun.astype(np.float32) @ ray, 0, 1)
    wide = 0.8 if weather.sky is Sky.HAZY else 0.35
    glow = np.array([[0.45], [0.38], [0.26]], np.float32) * (near_sun**24 + wide * near_sun**5)
    return (air + glow) * np.float32(1e4 * weather.sky_lux / _BLUE_SKY_LUX)


def _dusk(ray: np.ndarray, up: np.ndarray, weather: Weather) -> np.ndarray:
    level = np.hypot(weather.sun[0], weather.sun[1])
    sunwards = (ray[0] * weather.sun[0] + ray[1] * weather.sun[1]) / level
    low = (1 - up) ** 6
    glow = low * (0.25 + 0.75 * smoothstep(-0.3, 1.0, sunwards))
    tinted = _DUSK_BLUE * (0.75 + 0.5 * low) + (3.0 * _DUSK_GLOW) * glow
    return (tinted * np.float32(weather.sky_lux / np.pi * 0.8)).astype(np.float32)


def seen(ray: np.ndarray, weather: Weather, pixel_rad: float) -> np.ndarray:
    """Luminance (3, N) of the sky as the camera sees it; clouds fade into thick air."""
    above = cloudy(ray, weather, pixel_rad)
    path_m = _AIR_HEIGHT_M / np.maximum(ray[2], 0.02)
    clear = np.exp(-weather.extinction_per_m * path_m).astype(np.float32)
    air = air_light(weather)
    return air + (above - air) * clear


def cloudy(ray: np.ndarray, weather: Weather, pixel_rad: float) -> np.ndarray:
    """Luminance (3, N) of the sky with clouds on a plane overhead."""
    air = radiance(ray, weather)
    if weather.cloud <= 0 or weather.sky is Sky.NIGHT:
        return air.astype(np.float32)
    up = np.maximum(ray[2], 0.02).astype(np.float32)
    u, v = (ray[0] / up).astype(np.float32), (ray[1] / up).astype(np.float32)
    width = (pixel_rad / (up * up)).astype(np.float32)
    drift = np.float32(weather.sky_seed % 97)
    octaves = _CLOUD_OCTAVES
    body = 0.5 + fractal(u + drift, v - drift, width, octaves, weather.sky_seed)
    rise = smoothstep(0.02, 0.30, ray[2])
    if weather.sky is Sky.OVERCAST:
        return (air * (1 + 0.5 * rise * (body - 0.5))).astype(np.float32)
    lit = 0.5 + fractal(u + drift + 0.12, v - drift + 0.08, width, octaves[:3], weather.sky_seed)
    edge = 0.95 - 0.75 * weather.cloud
    cover = smoothstep(edge - 0.2, edge + 0.22, body) * rise * 0.9
    grey = 0.55 if weather.cloud > 0.5 else 0.8
    white = grey + (1.2 - grey) * np.clip(body - lit + 0.5, 0, 1)
    tint = _tint(weather) if weather.sky is Sky.DUSK else np.float32(1.0)
    shade = 0.5 if weather.sky is Sky.DUSK else 1.0
    cloud = tint * white * np.float32(shade * weather.sky_lux * 1e4 / _BLUE_SKY_LUX)
    return (air + (cloud - air) * cover).astype(np.float32)


def _tint(weather: Weather) -> np.ndarray:
    if weather.sky is Sky.NIGHT:
        return _CITY_GLOW
    if weather.sky is Sky.DUSK:
        return _DUSK_BLUE
    if weather.sky is Sky.OVERCAST:
        return _GREY
    clear = 1 - weather.cloud if weather.sky is not Sky.HAZY else 0.3
    return _GREY + (_BLUE_SHADE - _GREY) * np.float32(clear)
