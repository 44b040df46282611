"""Ego journeys: driving straight through, stopping at a light, or turning off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nightrain.datasets.world.street import paths
from nightrain.datasets.world.street.motion import Drive, Motion
from nightrain.datasets.world.street.paths import Path
from nightrain.datasets.world.street.street import Street

Event = Literal["on", "stop", "left", "right"]

BEFORE_S, AFTER_S, STEP_S = 1.5, 3.0, 0.1
GAIN_MPS2, BRAKE_MPS2 = 1.5, 1.9
NOSE_M = 3.9  # from the rear axle to the front bumper
REACH_M = {"right": 12.5, "left": 16.0}  # extent of a turn, forwards and sideways
TURN_MPS = {"right": 2.9, "left": 3.7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """Parameters of a drive, drawn before its street is known."""

    event: Event
    speed_mps: float
    event_m: float  # distance from the start to the stop line or to the start of the turn
    wait_s: float
    sway: tuple[float, float, float]  # share of the speed, period in seconds, phase


def draw_journey(rng: np.random.Generator, duration_s: float, junction: bool) -> Journey:
    """Draw a journey of `duration_s` seconds."""
    events: list[Event] = ["on", "stop", "left", "right"]
    event = events[int(rng.choice(4, p=[0.35, 0.25, 0.2, 0.2]))] if junction else "on"
    speed = float(rng.uniform(5.0, 11.5 if event == "on" else 9.0))
    when_s = float(rng.uniform(0.15, 0.5)) * duration_s
    return Journey(
        event=event,
        speed_mps=speed,
        event_m=max(speed * when_s, 12.0),
        wait_s=float(rng.uniform(2.0, 5.0)),
        sway=(float(rng.uniform(0.02, 0.12)), float(rng.uniform(6, 12)), float(rng.uniform(0, 6))),
    )


def ego_motion(
    rng: np.random.Generator, street: Street, journey: Journey, start_x_m: float, duration_s: float,
    stop_short_m: float,
) -> Motion:  # fmt: skip
    """Motion of the ego vehicle's rear axle from x; it stops `stop_short_m` before a line."""
    outer = street.num_lanes if journey.event == "right" else 1
    if journey.event in ("on", "stop") and street.num_lanes > 1:
        outer = int(rng.integers(1, street.num_lanes + 1))
    lane_d = -(outer - 0.5) * street.lane_m
    path = _path(street, journey, lane_d)
    start = path.nearest_way_m(*street.place(start_x_m, lane_d))
    limits, stop_m = [], None
    if journey.event == "stop":
        stop_m = journey.event_m - stop_short_m
    elif journey.event in ("left", "right"):
        reach, slow = REACH_M[journey.event], TURN_MPS[journey.event]
        begin = path.nearest_way_m(*street.place(_turn_x_m(street, journey), lane_d)) - start
        limits.append((begin + 0.15 * reach, begin + 1.35 * reach, slow))
    drive = plan(journey, limits, stop_m, duration_s)
    return Motion(
        path=path,
        hills=street.hills,
        start_m=start,
        drive=drive,
        drift_m=float(rng.uniform(0.04, 0.2)),
        drift_wave_m=float(rng.uniform(55, 110)),
        drift_phase_rad=float(rng.uniform(0, 2 * np.pi)),
        springs=float(rng.uniform(0.6, 1.2)),
    )


def plan(
    journey: Journey,
    limits: Sequence[tuple[float, float, float]],
    stop_m: float | None,
    duration_s: float,
) -> Drive:
    """Speed profile that keeps to limits (from way, to way, speed) and waits at a stop."""
    share, period, phase = journey.sway
    way, speed, waited = -BEFORE_S * journey.speed_mps, journey.speed_mps, 0.0
    times = np.arange(-BEFORE_S, duration_s + AFTER_S, STEP_S)
    speeds = []
    for t in times:
        speeds.append(speed)
        way += speed * STEP_S
        target = journey.speed_mps * (1 + share * np.sin(2 * np.pi * t / period + phase))
        for begin, end, slow in limits:
            if way < end:
                target = min(target, _allowed(slow, begin - way))
        if stop_m is not None and waited < journey.wait_s:
            target = min(target, _allowed(0.0, stop_m - way))
            waited += STEP_S * (speed < 0.05)
        change = float(np.clip(target - speed, -1.6 * BRAKE_MPS2 * STEP_S, GAIN_MPS2 * STEP_S))
        speed = max(speed + change, 0.0)
        speed = 0.0 if speed < 0.02 and target == 0 else speed
    soft = np.convolve(np.pad(speeds, 3, mode="edge"), np.full(7, 1 / 7), "valid")
    return Drive(times, np.where(soft < 0.01, 0.0, soft))


def _allowed(limit_mps: float, ahead_m: float) -> float:
    """Speed from which braking reaches a limit within `ahead_m` metres; v^2 = u^2 + 2 a s."""
    if limit_mps == 0.0 and ahead_m < 0.15:
        return 0.0
    return float(np.sqrt(limit_mps**2 + 2 * BRAKE_MPS2 * max(ahead_m, 0.0)))


def _path(street: Street, journey: Journey, lane_d: float) -> Path:
    if journey.event not in ("left", "right") or street.cross is None:
        return paths.lane(street, lane_d, -40.0, street.length_m + 100.0)
    cross, side = street.cross, 1 if journey.event == "left" else -1
    reach = REACH_M[journey.event]
    begin = _turn_x_m(street, journey)
    before = paths.lane(street, lane_d, -40.0, begin)
    heading = float(street.heading_rad(begin))
    x, y = before.xy_m[-1]
    bend = paths.turn((float(x), float(y)), heading, side * np.pi / 2, reach)
    middle = cross.length_m / 2
    after_x = middle + lane_d + side * reach  # along the cross street, to the left
    end = cross.length_m + 60.0 if side > 0 else -60.0
    after = paths.lane(cross, -side * 0.5 * cross.lane_m, after_x, end)
    return paths.join([before, bend, after])


def _turn_x_m(street: Street, journey: Journey) -> float:
    """x at which a turn begins so that it ends in the middle of the cross street's lane."""
    assert street.cross is not None and journey.event in ("left", "right")
    side = 1 if journey.event == "left" else -1
    return street.cross_at_m + side * 0.5 * street.cross.lane_m - REACH_M[journey.event]
