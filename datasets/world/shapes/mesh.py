"""Triangle meshes of simple bodies, which make up solids, in local coordinates."""

from dataclasses import dataclass
from functools import cache

import numpy as np

CYLINDER_SIDES = 16
_BOX_FACES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5],  # -x, +x
        [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],  # -y, +y
        [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],  # -z, +z
    ]
)  # fmt: skip
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangle mesh in local metres; faces are anticlockwise seen from outside."""

    vertices_m: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 3) int

    @property
    def triangles_m(self) -> np.ndarray:
        """Corners (F, 3, 3) of the triangles."""
        return self.vertices_m[self.faces]


def join_meshes(meshes: list[Mesh]) -> Mesh:
    """Concatenate meshes."""
    starts = np.cumsum([0, *(len(m.vertices_m) for m in meshes[:-1])])
    faces = [m.faces + start for m, start in zip(meshes, starts, strict=True)]
    return Mesh(np.concatenate([m.vertices_m for m in meshes]), np.concatenate(faces))


def block(half_m: np.ndarray, inset_m: np.ndarray) -> Mesh:
    """Box of half extents (3,) whose sides +x, -x, +y, -y lean in by insets (4,) at the top."""
    corners = _CORNERS * half_m
    top = _CORNERS[:, 2] > 0
    corners[top & (_CORNERS[:, 0] > 0), 0] -= inset_m[0]
    corners[top & (_CORNERS[:, 0] < 0), 0] += inset_m[1]
    corners[top & (_CORNERS[:, 1] > 0), 1] -= inset_m[2]
    corners[top & (_CORNERS[:, 1] < 0), 1] += inset_m[3]
    return Mesh(corners, _BOX_FACES)


def cylinder(half_m: np.ndarray) -> Mesh:
    """Prism of 16 sides about local z, its corners on the ellipse of half extents (3,)."""
    unit = _unit_cylinder()
    return Mesh(unit.vertices_m * half_m, unit.faces)


def ellipsoid(half_m: np.ndarray) -> Mesh:
    """Icosahedron subdivided twice, its corners on the ellipsoid of half extents (3,)."""
    unit = _unit_ball(2)
    return Mesh(unit.vertices_m * half_m, unit.faces)


def grid(points_m: np.ndarray) -> Mesh:
    """Surface through a grid of points (I, J, 3), front-facing towards i x j."""
    rows, columns = points_m.shape[:2]
    at = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = at[:-1, :-1].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel(), at[:-1, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh(points_m.reshape(-1, 3).astype(np.float64), faces)


def cards(centre_m: np.ndarray, across_m: np.ndarray, along_m: np.ndarray) -> Mesh:
    """Rhombs, one per leaf: centres, half diagonals across and along, (N, 3) each."""
    corners = np.stack(
        [centre_m - along_m, centre_m + across_m, centre_m + along_m, centre_m - across_m], 1
    )  # (N, 4, 3)
    first = 4 * np.arange(len(centre_m))[:, None]
    faces = np.concatenate([first + np.array(t) for t in ((0, 1, 2), (0, 2, 3))])
    return Mesh(corners.reshape(-1, 3), faces)


def moved_mesh(mesh: Mesh, R: np.ndarray, shift_m: np.ndarray) -> Mesh:
    """Rotate or stretch a mesh by R (3, 3) and translate it by a shift (3,) in metres."""
    return Mesh(mesh.vertices_m @ R.T + shift_m, mesh.faces)


def tube(axis_m: np.ndarray, radius_m: np.ndarray, sides: int = 6) -> Mesh:
    """Bent pipe with closed ends, through points (K, 3) with radii (K,)."""
    steps = np.diff(axis_m, axis=0)
    along = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    along = along / np.sqrt((along * along).sum(1, keepdims=True))
    x, y, z = along.T
    flat = np.abs(z) < 0.9
    u = np.stack([np.where(flat, y, -z), np.where(flat, -x, 0.0), np.where(flat, 0.0, x)], 1)
    u /= np.sqrt((u * u).sum(1, keepdims=True))
    v = np.cross(along, u)
    angle = np.arange(sides) * (2 * np.pi / sides)
    ring = np.cos(angle)[:, None, None] * u + np.sin(angle)[:, None, None] * v  # (sides, K, 3)
    return loft((axis_m + radius_m[:, None] * ring).transpose(1, 0, 2))


def loft(rings_m: np.ndarray) -> Mesh:
    """Surface over closed rings (K, M, 3), anticlockwise as seen from the last, with flat ends."""
    count, sides = rings_m.shape[:2]
    ring = np.arange(sides)
    after = (ring + 1) % sides
    faces = []
    for k in range(count - 1):
        a, b = ring + k * sides, after + k * sides
        faces += [np.stack([a, b, b + sides], 1), np.stack([a, b + sides, a + sides], 1)]
    hubs = count * sides + np.arange(2)
    last = (count - 1) * sides
    faces += [
        np.stack([after, ring, np.full(sides, hubs[0])], 1),
        np.stack([ring + last, after + last, np.full(sides, hubs[1])], 1),
    ]
    ends = rings_m[[0, -1]].mean(1)
    return Mesh(np.concatenate([rings_m.reshape(-1, 3), ends]), np.concatenate(faces))


def box(centre_m: tuple[float, float, float], half_m: tuple[float, float, float]) -> Mesh:
    """Upright box about a centre."""
    return Mesh(_CORNERS * half_m + centre_m, _BOX_FACES)


@cache
def _unit_cylinder() -> Mesh:
    angle = np.arange(CYLINDER_SIDES) * (2 * np.pi / CYLINDER_SIDES)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    low, high = np.insert(ring, 2, -1.0, 1), np.insert(ring, 2, 1.0, 1)
    vertices = np.concatenate([low, high, [[0, 0, -1.0], [0, 0, 1.0]]])
    i = np.arange(CYLINDER_SIDES)
    j = (i + 1) % CYLINDER_SIDES
    n, bottom, top = CYLINDER_SIDES, 2 * CYLINDER_SIDES, 2 * CYLINDER_SIDES + 1
    sides = [np.stack([i, j, j + n], 1), np.stack([i, j + n, i + n], 1)]
    caps = [
        np.stack([j, i, np.full(n, bottom)], 1),
        np.stack([i + n, j + n, np.full(n, top)], 1),
    ]
    return Mesh(vertices, np.concatenate([*sides, *caps]))


@cache
def _unit_ball(divisions: int) -> Mesh:
    golden = (1 + 5**0.5) / 2
    corners = [(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)]
    points = np.array([p[k:] + p[:k] for k in range(3) for p in corners], np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    triangles = _hull(points)
    for _ in range(divisions):
        a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
        pairs = ((a, b), (b, c), (c, a))
        ab, bc, ca = ((p + q) / np.linalg.norm(p + q, axis=1)[:, None] for p, q in pairs)
        triangles = np.concatenate(
            [np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
        )
    return Mesh(triangles.reshape(-1, 3), np.arange(3 * len(triangles)).reshape(-1, 3))


def _hull(points: np.ndarray) -> np.ndarray:
    """The 20 outward triangles (20, 3, 3) of an icosahedron's corners (12, 3)."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = apart < 1.01 * np.sort(apart, axis=1)[:, 1].max()
    found = []
    for i in range(12):
        for j in range(i + 1, 12):
            for k in range(j + 1, 12):
                if near[i, j] and near[j, k] and near[i, k]:
                    t = points[[i, j, k]]
                    out = np.dot(np.cross(t[1] - t[0], t[2] - t[0]), t.sum(0)) > 0
                    found.append(t if out else t[::-1])
    return np.array(found)
