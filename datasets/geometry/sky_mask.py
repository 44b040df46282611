"""Sky mask: pixels that show sky, which has no LiDAR returns and infinite depth."""

import cv2
import numpy as np

MIN_BRIGHTNESS = 110  # of 255; a clear or overcast day's sky
MIN_BLUE_BRIGHTNESS = 70
MIN_BLUE_EXCESS = 8  # blue over red
MAX_WARM_EXCESS = 25  # red over blue
RIM_COLUMNS = 7  # to each side, over which a rim is judged
RIM_PX = 4
MIN_RIM_CONTRAST = 40  # of 255, in the channel that differs most
MAX_TEXTURE = 14  # difference between the brightest and the darkest pixel in 3 x 3


def sky_mask(image: np.ndarray, returns: np.ndarray, horizon_row: np.ndarray) -> np.ndarray:
    """Find the sky of an image (H, W, 3) uint8, a few hundred pixels wide: bool (H, W).

    Sky is bright or blue, smooth, connected to the top edge, above the `horizon_row` (W,), and has
    no LiDAR `returns` bool (H, W). A night sky is not detected: much else is dark and smooth, too.
    """
    candidate = _looks_like_sky(image)
    candidate &= np.arange(len(image))[:, None] < horizon_row[None]
    blocked = cv2.dilate(returns.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    sky = _joined_to_top(candidate & ~blocked)
    return _ends_at_an_edge(_without_holes(sky, returns, horizon_row), image)


def enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge a mask (h, w) bool to `size` = (width, height), with a smooth outline."""
    return cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR) > 127


def _looks_like_sky(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    kernel = np.ones((3, 3), np.uint8)
    texture = cv2.subtract(cv2.dilate(grey, kernel), cv2.erode(grey, kernel))
    blue = cv2.subtract(image[..., 2], image[..., 0]) >= MIN_BLUE_EXCESS
    # Sunlit walls are warm; a sky is neutral or blue.
    warm = cv2.subtract(image[..., 0], image[..., 2]) > MAX_WARM_EXCESS
    bright = (grey >= MIN_BRIGHTNESS) | (blue & (grey >= MIN_BLUE_BRIGHTNESS))
    return bright & ~warm & (texture <= MAX_TEXTURE)


def _ends_at_an_edge(sky: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Keep the regions of `sky` (H, W) with an image edge along their lower rim.

    Glass and grey concrete look like sky, but continue unchanged below the highest LiDAR ring. Of a
    region that holds both, the columns with an edge are kept.
    """
    _, labels = cv2.connectedComponents(sky.astype(np.uint8), connectivity=4)
    row, column = np.nonzero(sky[:-1] & ~sky[1:])
    last = len(sky) - 1
    smooth = cv2.blur(image, (3, 3)).astype(np.int16)
    inner = smooth[np.maximum(row - RIM_PX, 0), column]
    outer = smooth[np.minimum(row + RIM_PX + 1, last), column]
    is_edge = np.abs(inner - outer).max(axis=1) > MIN_RIM_CONTRAST
    rim = labels[row, column]
    kept = np.zeros_like(sky)
    for label in np.unique(rim).tolist():
        of_region = rim == label
        if is_edge[of_region].mean() > 0.5:
            kept |= labels == label
            continue
        width = sky.shape[1]
        edges = np.bincount(column[of_region], weights=is_edge[of_region], minlength=width)
        total = np.bincount(column[of_region], minlength=width)
        shares = [
            cv2.blur(count.astype(np.float32)[None], (2 * RIM_COLUMNS + 1, 1))
            for count in (edges, total)
        ]
        kept |= (labels == label) & (shares[0] > 0.5 * shares[1])
    return kept


def _joined_to_top(candidate: np.ndarray) -> np.ndarray:
    _, labels = cv2.connectedComponents(candidate.astype(np.uint8), connectivity=4)
    at_top = np.unique(labels[:2])
    return _labelled(labels, at_top[at_top > 0])


def _without_holes(sky: np.ndarray, returns: np.ndarray, horizon_row: np.ndarray) -> np.ndarray:
    """Fill holes left by the texture test: along edges, at the rims of clouds, at distant birds."""
    closed = cv2.morphologyEx(sky.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    closed = cv2.dilate(closed, np.ones((3, 3), np.uint8))
    closed[returns] = 0
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - closed, connectivity=8)
    with_returns = np.unique(labels[returns])
    bottom = stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT]
    holes = np.flatnonzero(bottom < horizon_row.min() - 2)
    return (closed > 0) | _labelled(labels, np.setdiff1d(holes, np.append(with_returns, 0)))


def _labelled(labels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    table = np.zeros(labels.max() + 1, bool)
    table[chosen] = True
    return table[labels]
