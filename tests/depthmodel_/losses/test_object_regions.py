"""Reliability per object: regions of depth, means over them, and the mask they give."""

import math

import torch

from nightrain.depthmodel.losses.object_regions import mean_over_regions, object_regions


def scene() -> torch.Tensor:
    """A road that recedes from 5 to 40 m, a box at 4 m, a far wall, and pixels without depth."""
    depth_m = torch.logspace(math.log10(40), math.log10(5), 24)[:, None].repeat(1, 32)
    depth_m[:6] = 60.0
    depth_m[4:20, 10:16] = 4.0
    depth_m[10:14, 25:29] = 0.0
    return depth_m[None, None]


def by_flood_fill(depth_m: torch.Tensor, jump: float) -> dict[tuple[int, int], int]:
    """Slow oracle: a pixel belongs to a region unless a neighbour's depth jumps."""
    height, width = depth_m.shape

    def near(v: int, u: int) -> list[tuple[int, int]]:
        places = [(v + 1, u), (v - 1, u), (v, u + 1), (v, u - 1)]
        return [(a, b) for a, b in places if 0 <= a < height and 0 <= b < width]

    def differs(p: tuple[int, int], q: tuple[int, int]) -> bool:
        one, two = float(depth_m[p]), float(depth_m[q])
        if one == 0 or two == 0:
            return one != two
        return abs(math.log(one / two)) > math.log(jump)

    pixels = [(v, u) for v in range(height) for u in range(width)]
    inner = {p for p in pixels if depth_m[p] > 0 and not any(differs(p, q) for q in near(*p))}
    found: dict[tuple[int, int], int] = {}
    for seed in pixels:
        stack = [seed] if seed in inner and seed not in found else []
        number = len(set(found.values())) + 1
        while stack:
            place = stack.pop()
            if place in inner and place not in found:
                found[place] = number
                stack += near(*place)
    return found


def test_regions_are_the_parts_between_jumps_of_depth() -> None:
    depth_m = scene()
    regions = object_regions(depth_m)[0, 0]
    expected = by_flood_fill(depth_m[0, 0], 1.1)
    pairs = {
        (int(regions[p]), expected.get(p, 0))
        for p in map(tuple, torch.nonzero(regions + 1).tolist())
    }
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})  # one to one
    assert (0, 0) in pairs and len(pairs) >= 4
    assert regions[2, 2] != regions[23, 2] != regions[12, 12] and regions[11, 26] == 0


def test_errors_are_averaged_within_an_image_and_a_region() -> None:
    regions = torch.tensor([[1, 1, 0, 2], [2, 1, 1, 0]]).view(2, 1, 1, 4)
    inf = torch.inf
    error = torch.tensor([[1.0, 3.0, 9.0, inf], [4.0, 1.0, inf, 7.0]]).view(2, 1, 1, 4)
    means = mean_over_regions(error, regions)
    expected = torch.tensor([[2.0, 2.0, 9.0, inf], [4.0, 1.0, inf, 7.0]]).view(2, 1, 1, 4)
    assert torch.equal(means, expected)
