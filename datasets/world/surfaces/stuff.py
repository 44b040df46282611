"""Materials of street objects: metal, signs, wood, concrete, cloth, posters, skin."""

import numpy as np

from nightrain.datasets.world.shapes.noise import band, cell_random, fractal, pulse
from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.surfaces.look import Look

_STAINS = ((3.0, 0.12), (0.9, 0.12), (0.25, 0.12), (0.06, 0.12), (0.02, 0.1))
_WEAVE = ((0.5, 0.12), (0.15, 0.14), (0.05, 0.12))
POSTER_CD_M2 = 300.0


def metal_look(points: Points) -> Look:
    """Painted metal with a few stains."""
    x, y, z = points.local_m
    stains = fractal(x + y, z, points.pixel_m, ((1.0, 0.15), (0.2, 0.12), (0.05, 0.1)), 7)
    return Look(points.colour * (1 + stains), np.full_like(x, 0.03))


def sign_look(points: Points) -> Look:
    """Sign plate with a pale border and a symbol or words; its back is grey.

    `half_m` holds the number of corners, half the size and the height of the middle.
    """
    _, y, z = points.local_m
    corners, half, middle = points.half_m
    u, v = y / half, (z - middle) / half
    wide = np.maximum(points.width_m(1), points.width_m(2)) / half
    square = corners < 5
    edge = np.where(square, np.maximum(np.abs(u), np.abs(v)), np.hypot(u, v) * 1.02)
    border = band(edge, 0.84, 0.95, wide)
    style = points.seed % 4
    bar = band(np.abs(v), -1, 0.13, wide) * band(np.abs(u), -1, 0.6, wide)
    arrow = np.maximum(band(np.abs(u), -1, 0.1, wide) * (v < 0.45) * (v > -0.6),
                       band(np.abs(np.abs(u) + v - 0.45), -1, 0.12, wide) * (v > 0.05))  # fmt: skip
    words = pulse(v / 0.5 + 0.25, 0, 0.55, wide / 0.5) * pulse(u / 0.22, 0, 0.62, wide / 0.22)
    words = words * (np.maximum(np.abs(u), np.abs(v)) < 0.62)
    disc = band(np.hypot(u, v), -1, 0.66, wide)
    figure = np.choose(style, [bar, arrow, words, disc])
    face = points.colour + (0.66 - points.colour) * np.clip(border + figure, 0, 1)
    return Look(np.where(points.normal_local[0] < -0.5, face, 0.25), np.full_like(y, 0.02))


def concrete_look(points: Points) -> Look:
    """Cast concrete with board marks and stains that run down."""
    u, v, wide, high = _on_face(points)
    width = np.maximum(wide, high)
    runs = fractal(u * 2.5, v * 0.35, width, ((1.5, 0.25), (0.5, 0.2)), points.seed % 83)
    joint = np.maximum(pulse(u / 2.5, 0, 0.008, wide / 2.5), pulse(v / 1.2, 0, 0.012, high / 1.2))
    tone = (1 + fractal(u, v, width, _STAINS, 7) + runs) * (1 - 0.35 * joint)
    return Look(points.colour * np.maximum(tone, 0.2), np.zeros_like(u))


def wood_look(points: Points) -> Look:
    """Wooden boards with grain along them."""
    u, v, wide, high = _on_face(points)
    grain = fractal(u * 0.6, v * 6, np.maximum(wide, high), ((0.4, 0.25), (0.1, 0.2)), 17)
    return Look(points.colour * np.maximum(1 + grain, 0.2), np.full_like(u, 0.01))


def cloth_look(points: Points) -> Look:
    """Clothes and awnings: plain, striped or checked by seed, with folds."""
    x, y, z = points.local_m
    wide = points.pixel_m
    style = points.seed % 5
    cross = np.abs(points.half_m[0]) > 1.5  # an awning
    u = np.where(cross, x, z)
    size = np.where(cross, 0.5, 0.09).astype(np.float32)
    stripe = pulse(u / size, 0, 0.5, wide / size) * (style == 1)
    folds = fractal(x + y, z, wide, _WEAVE, points.seed % 71)
    albedo = points.colour + (points.accent - points.colour) * stripe
    return Look(albedo * np.maximum(1 + folds, 0.3), np.zeros_like(x))


def skin_look(points: Points) -> Look:
    """Skin and hair, almost plain."""
    x, y, z = points.local_m
    spots = fractal(x + y, z, points.pixel_m, ((0.1, 0.15), (0.03, 0.12)), points.seed % 67)
    return Look(points.colour * (1 + spots), np.full_like(x, 0.015))


def water_look(points: Points) -> Look:
    """River water: dark, with ripples of light and shade."""
    x, y = points.world_m[0], points.world_m[1]
    width = np.maximum(points.width_m(0), points.width_m(1))
    ripples = fractal(x, y * 0.6, width, ((2.5, 0.2), (0.8, 0.25), (0.25, 0.2)), 29)
    colour = np.array([[0.035], [0.045], [0.035]], np.float32)
    return Look(colour * np.maximum(1 + ripples, 0.2), 0.03 * np.maximum(1 + 2 * ripples, 0))


def pane_look(points: Points) -> Look:
    """Window pane that shows little of the room behind it."""
    x, _, z = points.local_m
    return Look(points.colour * np.ones_like(x), np.full_like(z, 0.25))


def poster_look(points: Points) -> Look:
    """Poster of coloured fields and lines of print; lit from behind at night."""
    x, y, z = points.local_m
    u = np.where(points.half_m[0] > points.half_m[1], x, y)
    seed = points.seed % 127
    i, j = np.floor(u / 0.31 + 0.13 * (seed % 5)), np.floor(z / 0.42 + 0.2 * (seed % 3))
    hue = np.stack([cell_random(i, j, seed + k) for k in (0, 40, 80)])
    wide, high = np.maximum(points.width_m(0), points.width_m(1)) * 0.7, points.width_m(2)
    words = pulse(z / 0.11, 0, 0.45, high / 0.11) * (cell_random(i, j, seed + 7) > 0.6)
    letters = pulse(u / 0.06, 0, 0.6, wide / 0.06)
    ground = np.stack([cell_random(0 * i, 0 * j, seed + k) for k in (20, 60, 100)])
    picture = 0.10 + 0.45 * ground + 0.35 * (hue - 0.5) * (cell_random(i, j, seed + 9) > 0.45)
    albedo = np.clip(picture, 0.03, 0.8) * (1 - 0.7 * words * letters)
    return Look(albedo.astype(np.float32), np.full_like(u, 0.04), POSTER_CD_M2 * albedo)


def _on_face(points: Points) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates u along and v up (or across) a face, and pixel widths along them."""
    face = np.abs(points.normal_local).argmax(axis=0)
    u_axis, v_axis = np.where(face == 0, 1, 0), np.where(face == 2, 1, 2)
    at = points.local_m
    u = np.take_along_axis(at, u_axis[None], 0)[0]
    v = np.take_along_axis(at, v_axis[None], 0)[0]
    return u, v, points.width_m(u_axis), points.width_m(v_axis)
