"""Facade openings: windows, doors and shop fronts of each bay of each storey."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.shapes.noise import band, cell_random
from nightrain.datasets.world.shapes.points import Points

STOREY_M = 3.1
PLINTH_M = 0.5  # from the ground to the lowest floor
FRAME_M = 0.07


@dataclass(frozen=True, slots=True, kw_only=True)
class Bay:
    """Position of points (N,) on the grid of a facade; x counts bays, y storeys."""

    x: np.ndarray
    y: np.ndarray
    dx: np.ndarray  # width of a pixel, in bays
    dy: np.ndarray  # height of a pixel, in storeys
    pitch_m: np.ndarray  # width of a bay
    column: np.ndarray
    storey: np.ndarray
    built: np.ndarray  # 1 where the front has windows, 0 above the top floor
    shop: np.ndarray  # bool: a shop front
    door: np.ndarray  # bool: a door instead of a window
    half_open: np.ndarray  # half width of the opening, in bays
    low: np.ndarray  # its lower and upper edges, in storeys
    high: np.ndarray
    seed: np.ndarray

    def across(self, margin: float | np.ndarray) -> np.ndarray:
        """Coverage (N,) by the opening's width, less a margin on each side, in bays."""
        half = self.half_open - margin
        return band(self.x, self.column + 0.5 - half, self.column + 0.5 + half, self.dx)

    def rows(self, start: float | np.ndarray, end: float | np.ndarray) -> np.ndarray:
        """Coverage (N,) by a strip of the storey, in storeys from its floor."""
        return band(self.y, self.storey + start, self.storey + end, self.dy)


def bay_at(
    points: Points,
    u_m: np.ndarray,
    v_m: np.ndarray,
    half_u_m: np.ndarray,
    wide_m: np.ndarray,
    high_m: np.ndarray,
    seed: np.ndarray,
) -> Bay:
    """Bay of each point at u along and v up a facade, given pixel sizes in metres."""
    num_bays = np.maximum(np.round(2 * half_u_m / (2.3 + 0.25 * (seed % 5))), 1)
    pitch_m = 2 * half_u_m / num_bays
    x = (u_m + half_u_m) / pitch_m
    y = (v_m - PLINTH_M) / STOREY_M
    column, storey = np.floor(x), np.maximum(np.floor(y), 0)
    eaves_m = 2 * points.half_m[2] - 0.8
    upper = band(v_m, PLINTH_M + STOREY_M, eaves_m, high_m)
    shop = (seed % 7 < 3) & (storey == 0)
    door = (storey == 0) & ~shop & (cell_random(column, storey, seed % 191) < 0.2)
    return Bay(
        x=x,
        y=y,
        dx=wide_m / pitch_m,
        dy=high_m / STOREY_M,
        pitch_m=pitch_m,
        column=column,
        storey=storey,
        built=np.where(storey == 0, 1.0, upper),
        shop=shop,
        door=door,
        half_open=np.where(shop, 0.44, 0.19 + 0.025 * (seed % 5)),
        low=np.where(door, -PLINTH_M / STOREY_M, np.where(shop, 0.02, 0.27)),
        high=np.where(shop, 0.78, 0.80),
        seed=seed,
    )


def panes(bay: Bay) -> np.ndarray:
    """Coverage (N,) by glass: the opening without its frame and middle bar."""
    frame_u, frame_v = FRAME_M / bay.pitch_m, FRAME_M / STOREY_M
    glass = bay.across(frame_u) * bay.rows(bay.low + frame_v, bay.high - frame_v)
    middle = bay.column + 0.5
    bar = band(bay.x, middle - frame_u / 3, middle + frame_u / 3, bay.dx)
    return np.clip(glass - np.where(bay.door | bay.shop, 0, bar), 0, 1) * bay.built


def rooms(bay: Bay) -> np.ndarray:
    """Albedo (3, N) behind the glass: a dark room, or curtains and blinds drawn to some height."""
    chance = cell_random(bay.column, bay.storey, bay.seed % 173 + 200)
    drawn = 0.8 - 0.5 * cell_random(bay.column, bay.storey, bay.seed % 173 + 400)
    blind = (chance > 0.55) & (bay.y - bay.storey > drawn)
    curtain = (chance < 0.3) & (np.abs(bay.x - bay.column - 0.5) > 0.11)
    shade = np.where(blind, 0.34, np.where(curtain, 0.42, 0.02 + 0.05 * chance))
    warm = np.array([[1.0], [0.95], [0.86]], np.float32)
    return np.where(bay.shop, _goods(bay), warm * shade.astype(np.float32))


def _goods(bay: Bay) -> np.ndarray:
    """Albedo (3, N) of a shop's display: shelves, figures and boxes in a dim room."""
    seed = bay.seed % 149
    style = cell_random(bay.column * 0, bay.column * 0, seed)
    across = np.where(style < 0.4, 3.0, 7.0)
    i, j = np.floor(bay.x * across), np.floor((bay.y - bay.storey) * 6)
    sharp = np.clip(2 - bay.dx * 2 * across, 0, 1) * np.clip(2 - bay.dy * 12, 0, 1)
    box = cell_random(i, j, seed + 600)
    u, v = bay.x * across - i, (bay.y - bay.storey) * 6 - j
    tall = 0.35 + 0.55 * cell_random(i, j, seed + 640)
    thing = band(u, 0.5 - 0.4 * box, 0.5 + 0.4 * box, bay.dx * across) * (v < tall) * (box > 0.25)
    tone = 0.035 + 0.10 * (v < 0.08) + 0.16 * thing * sharp * (0.4 + box)
    hue = np.stack([cell_random(i, j, seed + k) for k in (610, 620, 630)])
    return tone * (1 + 0.9 * sharp * thing * (hue - 0.5))


def is_open(seed: np.ndarray | int) -> np.ndarray:
    """Whether the shop of a facade is open at night; a closed shop leaves a dim light on."""
    return np.asarray(seed) // 7 % 5 < 3


def window_light(bay: Bay, glass: np.ndarray) -> np.ndarray:
    """Luminance (3, N) in cd/m2 of lit windows and shop windows."""
    chance = cell_random(bay.column, bay.storey, bay.seed % 167 + 800)
    level = cell_random(bay.column, bay.storey, bay.seed % 163 + 900)
    office = bay.seed % 3 == 0
    lit = chance < np.where(office, 0.10, 0.34)
    room = np.where(lit, 30 + 300 * level * level, 0.0)
    shop = np.where(is_open(bay.seed), 60 + 320 * level * level, 4 + 12 * level)
    warm = np.array([[1.30], [1.0], [0.62]], np.float32)
    cool = np.array([[0.97], [1.0], [1.03]], np.float32)
    tint = warm + (cool - warm) * (office | (level > 0.8))
    # Lamps hang from the ceiling: the window is darker towards the floor and in front of goods.
    share = bay.y - bay.storey
    fall = 0.35 + 0.65 * np.clip((share - 0.1) / 0.6, 0, 1)
    shown = np.minimum(rooms(bay) / np.where(bay.shop, 0.10, 0.42), 1.6)
    shown = np.where(bay.shop, 0.12 + 0.6 * shown, 0.35 + 0.65 * shown) * fall
    return np.where(bay.shop, shop, room * tint) * shown * glass


def fill(wall: np.ndarray, accent: np.ndarray, bay: Bay) -> tuple[np.ndarray, np.ndarray]:
    """Add openings to a wall (3, N); return its albedo and the coverage (N,) by mirroring glass."""
    trim = np.where(bay.seed % 2 == 0, np.float32(0.58), np.float32(0.16))
    hole = bay.across(0.0) * bay.rows(bay.low, bay.high) * bay.built
    sill = bay.across(-0.04) * bay.rows(bay.low - 0.045, bay.low) * bay.built * ~bay.door
    board = bay.shop * bay.rows(0.82, 1.02)
    glass = panes(bay) * np.where(bay.door, 0.25, 1.0)
    recess = bay.rows(bay.high - 0.07, bay.high) * hole  # the lintel's shadow
    albedo = wall + (accent - wall) * board
    albedo = albedo + (0.8 * trim + 0.1 - albedo) * sill
    albedo = albedo + (np.where(bay.door, accent, trim) - albedo) * hole
    albedo = albedo + (rooms(bay) - albedo) * glass
    return albedo * (1 - 0.5 * recess), glass
