"""Image sensor: automatic exposure, photon and read noise, tone curve, sRGB.

The values are those of a global-shutter colour camera with 1600 pixels across at f/1.8, as in
nuScenes (Caesar et al. 2020: exposure limited to 20 ms): 4.5 um pixels with a full well of 8,000
electrons. One cd/m2 gives 0.2 lux on the sensor (E = pi L T / 4 N^2), and one lux gives about 5,000
electrons per second in a green pixel.
"""

from dataclasses import dataclass

import numpy as np

ELECTRONS_PER_CD_M2_S = 1000.0
FULL_WELL_E = 8000.0
READ_NOISE_E = 7.0  # electrons, before the gain
ADC_NOISE_E = 3.0  # after the gain, in electrons at gain 1
PATTERN_NOISE = 0.006  # relative differences between pixels (PRNU)
MAX_TIME_S = 0.020
MIN_TIME_S = 20e-6
MAX_GAIN = 10.0  # 20 dB
MEAN_CODE = 0.29  # mean of the signal's square root that the meter aims for
BRIGHT_SHARE = 0.8  # by day, upper limit of the brightest tenth, as a share of full signal
DIM_CD_M2, DIM_POWER = 400.0, 0.42  # below this white, the meter lets images become darker
WHITE_CD_M2 = (0.5, 3e5)  # the meter's range
SENSOR_WIDTH_PX = 1600
PIXELS_LIKE_ONE = 2.0  # demosaicing correlates neighbouring pixels
WHITE = 2.4  # tone curve: full signal, with middle grey at about 0.25
TOE = 1.12  # deepens the shadows, as camera curves do
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
_RAW = np.array([0.55, 1.0, 0.65], np.float32)  # signal of red, green and blue pixels on white
_BALANCE = 0.45  # degree to which white balance removes a colour cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Exposure time and gain."""

    time_s: float
    gain: float

    @property
    def white_cd_m2(self) -> float:
        """Luminance that just saturates the signal, cd/m2."""
        return FULL_WELL_E / (ELECTRONS_PER_CD_M2_S * self.time_s * self.gain)


def meter(radiance: np.ndarray) -> Exposure:
    """Meter the exposure for an image (H, W, 3) in cd/m2: time first, then gain, both limited."""
    height = len(radiance)
    seen = np.sort((radiance[height // 5 :: 3, ::3] @ _LUMINANCE).ravel())
    low, high = np.log(WHITE_CD_M2)
    for _ in range(18):  # bisect the luminance of white
        white = float(np.exp((low + high) / 2))
        coded = np.sqrt(np.clip(seen / white, 0, 1)).mean()  # roughly a camera's encoding
        wanted = MEAN_CODE * min(white / DIM_CD_M2, 1.0) ** DIM_POWER
        bright = seen[int(0.9 * len(seen))] > BRIGHT_SHARE * white and white > DIM_CD_M2
        low, high = (np.log(white), high) if coded > wanted or bright else (low, np.log(white))
    needed = FULL_WELL_E / (ELECTRONS_PER_CD_M2_S * float(np.exp(high)))  # time x gain
    time_s = float(np.clip(needed, MIN_TIME_S, MAX_TIME_S))
    return Exposure(time_s=time_s, gain=float(np.clip(needed / time_s, 1.0, MAX_GAIN)))


def develop(radiance: np.ndarray, exposure: Exposure, rng: np.random.Generator) -> np.ndarray:
    """sRGB image (H, W, 3) uint8 from luminance in cd/m2, with sensor noise."""
    signal = sense(radiance, exposure, rng)
    return _tone(signal * white_balance(radiance, exposure))


def sense(radiance: np.ndarray, exposure: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Signal (H, W, 3), 1 = full, from luminance in cd/m2: shot, read and pattern noise."""
    electrons = radiance * np.float32(ELECTRONS_PER_CD_M2_S * exposure.time_s)
    electrons = np.minimum(electrons, FULL_WELL_E / exposure.gain)
    noise = rng.standard_normal(radiance.shape, np.float32)
    noisy = electrons + noise * noise_e(electrons, exposure.gain, radiance.shape[1])
    return np.clip(noisy * np.float32(exposure.gain / FULL_WELL_E), 0, 1)


def noise_e(electrons: np.ndarray, gain: float, width_px: int) -> np.ndarray:
    """Standard deviation (..., 3) in electrons per sensor pixel, for an image `width_px` wide."""
    averaged = max((SENSOR_WIDTH_PX / width_px) ** 2 / PIXELS_LIKE_ONE, 1.0)
    dark = READ_NOISE_E**2 + (ADC_NOISE_E / gain) ** 2
    variance = electrons / _RAW + (PATTERN_NOISE * electrons) ** 2 + dark / _RAW**2
    return np.sqrt(variance / np.float32(averaged))


def white_balance(radiance: np.ndarray, exposure: Exposure) -> np.ndarray:
    """Gains (3,) that remove part of the colour cast, as cameras do."""
    seen = np.minimum(radiance[::4, ::4].reshape(-1, 3), exposure.white_cd_m2).mean(0) + 1e-6
    gains = np.clip((seen[1] / seen) ** _BALANCE, 0.7, 1.5)
    return (gains / (gains @ _LUMINANCE)).astype(np.float32)


def _tone(signal: np.ndarray) -> np.ndarray:
    level = np.clip(signal * np.float32(_STEPS), 0, _STEPS).astype(np.int32)
    return _CURVE[level]


def _curve(steps: int) -> np.ndarray:
    """Extended Reinhard (Reinhard et al. 2002) up to full signal, then sRGB's gamma."""
    x = np.linspace(0, WHITE, steps + 1)
    toned = np.clip(x * (1 + x / WHITE**2) / (1 + x) * 1.18, 0, 1) ** TOE
    encoded = np.where(toned < 0.0031308, 12.92 * toned, 1.055 * toned ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


_STEPS = 8191
_CURVE = _curve(_STEPS)
