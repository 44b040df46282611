"""One severity axis in [0, 1] per condition, and the physical value it stands for."""

from nightrain.datasets.conditions import Condition

FOG_VISIBILITY_M = (600.0, 30.0)  # at severity 0 and at severity 1
RAIN_MM_PER_H = (2.0, 100.0)
SNOW_MM_PER_H = (0.5, 6.0)  # water equivalent
AMBIENT_LUX = (3.0, 0.08)  # dusk under street light spill; a moonlit country road
STREET_LAMP_CD = (2600.0, 500.0)
SENSOR_GAIN = (4.0, 24.0)
NIGHT_RAIN_MM_PER_H = (2.0, 50.0)


def log_scale(severity: float, ends: tuple[float, float]) -> float:
    """The value at `severity` between two ends, equal steps of severity being equal ratios."""
    return ends[0] * (ends[1] / ends[0]) ** severity


def physical_values(condition: Condition, severity: float) -> dict[str, float]:
    """What a severity means: visibility_m, rain_mm_per_h, snow_mm_per_h, ambient_lux, ...

    Raises ValueError for a condition without a physical scale.
    """
    match condition:
        case Condition.FOG:
            return {"visibility_m": log_scale(severity, FOG_VISIBILITY_M)}
        case Condition.RAIN:
            return {"rain_mm_per_h": log_scale(severity, RAIN_MM_PER_H)}
        case Condition.SNOW:
            return {"snow_mm_per_h": log_scale(severity, SNOW_MM_PER_H)}
        case Condition.NIGHT:
            return _night_values(severity)
        case Condition.NIGHT_RAIN:
            rain = log_scale(severity, NIGHT_RAIN_MM_PER_H)
            return {**_night_values(severity), "rain_mm_per_h": rain}
    raise ValueError(f"no severity scale for condition {condition!r}")


def _night_values(severity: float) -> dict[str, float]:
    return {
        "ambient_lux": log_scale(severity, AMBIENT_LUX),
        "street_lamp_cd": log_scale(severity, STREET_LAMP_CD),
        "sensor_gain": log_scale(severity, SENSOR_GAIN),
    }
