"""What stands in the world: trees that let light through, lamps, lit windows, classes, bodies."""

from dataclasses import replace

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.world.export.nuscenes_tables import CATEGORIES
from nightrain.datasets.world.objects import cycles
from nightrain.datasets.world.objects.bridges import overpass
from nightrain.datasets.world.objects.buildings import draw as draw_buildings
from nightrain.datasets.world.objects.car_body import skin
from nightrain.datasets.world.objects.rivers import river
from nightrain.datasets.world.objects.trees import FIR, KINDS, ROUND, Grove, _grow
from nightrain.datasets.world.objects.vehicle_models import BUS, CARS, SALOON, TRUCK, VAN
from nightrain.datasets.world.objects.vehicles import Vehicle
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.scene.shop_lamps import is_shop, window_lamps
from nightrain.datasets.world.shapes.mesh import Mesh, tube
from nightrain.datasets.world.shapes.points import surface_points
from nightrain.datasets.world.shapes.raycast import Caster, Geometry
from nightrain.datasets.world.shapes.semantics import SKY, classes
from nightrain.datasets.world.shapes.solids import Shape, Solid, Solids, Surface, pack
from nightrain.datasets.world.street.ground_mesh import ground
from nightrain.datasets.world.street.markings import STOP_M, ZEBRA_M, markings
from nightrain.datasets.world.street.street import KERB_HEIGHT_M, Hills, Street
from nightrain.datasets.world.surfaces import materials

STREET = Street(
    length_m=160.0, lane_m=3.5, parking_m=2.2, pavement_m=3.0, setback_m=2.0,
    hills=Hills((1.0, 0.2), (150.0, 80.0), (0.4, 0.0)),
)  # fmt: skip


@pytest.fixture(scope="module", params=[102, 109, 122])
def scene(request: pytest.FixtureRequest) -> Scene:
    return draw_scene(np.random.default_rng(request.param), 3.0)


# --- the whole scene ---


def test_a_scene_is_drawn_again_to_the_last_bit() -> None:
    one, other = (draw_scene(np.random.default_rng(31), 2.0) for _ in range(2))
    for name in Solids.__dataclass_fields__:
        assert np.array_equal(getattr(one.static, name), getattr(other.static, name))
    assert [a.category for a in one.actors] == [a.category for a in other.actors]
    assert np.array_equal(one.ego.pose(1.1), other.ego.pose(1.1))


def test_another_condition_is_the_same_place_and_traffic() -> None:
    clear, night = (
        draw_scene(np.random.default_rng(33), 2.0, c) for c in (Condition.CLEAR, Condition.NIGHT)
    )
    for name in Solids.__dataclass_fields__:
        assert np.array_equal(getattr(clear.static, name), getattr(night.static, name))
    assert clear.lamps == night.lamps and len(clear.actors) == len(night.actors)
    for a, b in zip(clear.actors, night.actors, strict=True):
        assert np.array_equal(a.motion.pose(1.3), b.motion.pose(1.3))
        assert np.array_equal(a.solids.colour, b.solids.colour)


def test_scenes_keep_within_their_budgets(scene: Scene) -> None:
    assert 20_000 < len(scene.static.row) < 650_000
    moving = [a for a in scene.actors if not a.motion.is_still()]
    assert sum(len(a.solids.row) for a in moving) < 75_000
    here = scene.ego.pose(1.0)[:2, 3]
    near = [lamp for lamp in scene.at(1.0).lamps() if np.hypot(*(lamp.place_m[:2] - here)) < 60]
    assert 6 <= len(near) < 95
    assert scene.static.centre_m[:, :2].min() > -250 and scene.ego.pose(0.0)[:2, 3].min() > 0


def test_every_category_is_in_the_tables(scene: Scene) -> None:
    found = {a.category for a in scene.actors}
    assert len(found) > 2 and found <= set(CATEGORIES)
    assert scene.description.startswith("Clear weather, ")


def test_ego_lamps_look_ahead_and_a_little_down(scene: Scene) -> None:
    assert len(scene.ego_lamps) == 2
    for lamp in scene.ego_lamps:
        assert lamp.kind == "head" and lamp.place_m[0] > 3 and -0.1 < lamp.axis[2] < 0
    for actor in scene.actors:
        for lamp in actor.lamps:
            front = lamp.place_m[0] > 0
            assert (lamp.kind == "head") == front and lamp.axis[0] * (1 if front else -1) > 0.9
        assert not (actor.lamps and actor.is_parked)


# --- classes ---


def test_classes_follow_surfaces_and_labels(scene: Scene) -> None:
    solids = scene.at(0.5).solids
    row = np.arange(len(solids))
    found = classes(solids, row)
    assert (classes(solids, np.array([-1, -1])) == SKY).all()
    assert set(np.unique(found)) <= {*range(19), 255} and {0, 1, 2, 13} <= set(found)
    expected = {
        "vehicle.car": {13}, "vehicle.truck": {14}, "vehicle.bus.rigid": {15},
        "human.pedestrian.adult": {11}, "human.pedestrian.child": {11},
        "vehicle.motorcycle": {17, 12}, "vehicle.bicycle": {18, 12},
        "movable_object.trafficcone": {255}, "movable_object.barrier": {255},
    }  # fmt: skip
    for k, actor in enumerate(scene.actors):
        assert set(found[solids.owner == k]) <= expected[actor.category]
    lawn, road = solids.surface == Surface.LAWN, solids.surface == Surface.STREET
    assert (found[lawn] == 9).all() and (found[road] == 0).all()


# --- trees ---


def _blocked_share(mesh: Mesh, middle: np.ndarray, half_m: float) -> float:
    """Share of level rays through a square about the middle of a crown that meet something."""
    caster = Caster([Geometry(pack([Solid(shape=Shape.MESH, surface=Surface.LEAVES, mesh=mesh)]))])
    y, z = np.meshgrid(*[np.linspace(-half_m, half_m, 60)] * 2)
    start = np.stack([np.full(y.size, -5.0), y.ravel(), z.ravel() + middle[2]])
    return float(caster.blocked(start, np.repeat([[1.0], [0.0], [0.0]], y.size, 1)).mean())


@pytest.mark.parametrize("near", [True, False])
def test_light_shines_through_crowns_but_not_everywhere(near: bool) -> None:
    for kind in (ROUND, FIR):
        tree = _grow(kind, 0, near)
        assert tree.leaves is not None
        share = _blocked_share(tree.leaves, np.array([0, 0, 0.6]), 0.12)
        assert 0.35 < share < 0.99


def test_trees_have_height_one_and_far_ones_are_cheap() -> None:
    for kind in KINDS:
        near, far = _grow(kind, 1, True), _grow(kind, 1, False)
        top = near.wood.vertices_m[:, 2].max()
        assert 0.85 < top < 1.1 and abs(near.wood.vertices_m[:, 2].min()) < 0.05
        if near.leaves is not None and far.leaves is not None:
            assert len(far.leaves.faces) < 0.3 * len(near.leaves.faces)


def test_hedges_fill_their_box() -> None:
    rng = np.random.default_rng(0)
    grove = Grove(rng, False, np.zeros((1, 2)))
    solids = pack(list(grove.hedge(rng, (3.0, 2.0, 0.5), 0.3, (3.0, 0.3, 0.5))))
    points = solids.world_triangles_m().reshape(-1, 3) - [3.0, 2.0, 0.5]
    c, s = np.cos(0.3), np.sin(0.3)
    local = points @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert (np.abs(local[:, :2]) < [3.3, 0.6]).all() and local[:, 2].max() < 1.3
    assert np.ptp(local[:, 0]) > 5.8


# --- ground and buildings ---


def test_kerbs_are_upright_and_pavements_above_the_road() -> None:
    solids = pack(list(ground(STREET)))
    caster = Caster([Geometry(solids)])
    x = np.linspace(10, 150, 200)
    for d, lift, kind in (
        (0.0, 0.0, Surface.STREET),
        (STREET.half_road_m - 0.01, 0.0, Surface.STREET),
        (-STREET.half_road_m - 0.01, KERB_HEIGHT_M, Surface.PAVEMENT),
        (STREET.half_road_m + 2.9, KERB_HEIGHT_M, Surface.PAVEMENT),
    ):
        at = STREET.points_m(x, d)
        down = np.repeat([[0.0], [0.0], [-1.0]], 200, 1)
        hits = caster.cast(np.stack([*at, np.full(200, 9.0)]), down)
        assert (solids.surface[hits.row] == kind).all()
        assert np.allclose(9.0 - hits.t, STREET.hills.height_m(at[0]) + lift, atol=0.012)
    sideways = caster.cast(
        np.stack([*STREET.points_m(x, 0.0), STREET.hills.height_m(x) + 0.06]),
        np.repeat([[0.0], [1.0], [0.0]], 200, 1),
    )
    assert np.allclose(sideways.t, STREET.half_road_m) and (sideways.normal[1] < -0.99).all()


def test_walls_go_down_to_the_ground_on_a_slope() -> None:
    for solid in draw_buildings(np.random.default_rng(2), STREET, main=False):
        if solid.surface is not Surface.CONCRETE or solid.half_m[0] < 2.5:
            continue  # footings
        x, _, z = solid.centre_m
        low = min(
            float(STREET.hills.height_m(x + dx)) for dx in (-solid.half_m[0], solid.half_m[0])
        )
        assert z - solid.half_m[2] < low + KERB_HEIGHT_M


def test_shop_windows_shine_towards_the_street() -> None:
    houses = list(draw_buildings(np.random.default_rng(2), STREET, main=False))
    lamps = list(window_lamps(STREET, houses))
    shops = [h for h in houses if h.surface is Surface.FACADE and is_shop(h.seed)]
    assert 3 < len(lamps) <= len(shops)
    for lamp in lamps:
        _, d = STREET.coordinates(np.array([lamp.place_m[0]]), np.array([lamp.place_m[1]]))
        heading = float(STREET.heading_rad(lamp.place_m[0]))
        left = -np.sin(heading) * lamp.axis[0] + np.cos(heading) * lamp.axis[1]
        assert left * np.sign(d[0]) == pytest.approx(-1.0)
        assert abs(d[0]) < STREET.front_m + 0.5
        foot = STREET.foot(lamp.place_m[0], 20.0)[2]
        assert 1.0 < lamp.place_m[2] - foot < 3.5


def test_a_bridge_leaves_room_for_a_bus() -> None:
    solids = pack(list(overpass(np.random.default_rng(1), STREET, 80.0, 5.0)))
    caster = Caster([Geometry(solids)])
    x, y = STREET.place(80.0, 1.0)
    z = float(STREET.hills.height_m(x))
    up = caster.cast(np.array([x, y, z]), np.array([[0.0], [0.0], [1.0]]))
    assert 4.3 < up.t[0] < 5.2
    along = caster.cast(np.array([x - 30, y, z + 3.3]), np.array([[1.0], [0.0], [0.0]]))
    assert np.isinf(along.t[0])


def test_a_river_runs_level_below_its_bridge() -> None:
    street = replace(STREET, river_m=(60.0, 95.0))
    solids = pack([*ground(street), *river(np.random.default_rng(0), street)])
    caster = Caster([Geometry(solids)])
    x = np.linspace(61, 94, 40)
    down = np.repeat([[0.0], [0.0], [-1.0]], 40, 1)
    for d, kind in ((0.0, Surface.STREET), (street.back_m + 6, Surface.WATER)):
        hits = caster.cast(np.stack([*street.points_m(x, d), np.full(40, 9.0)]), down)
        assert (solids.surface[hits.row] == kind).all()
        assert (np.ptp(hits.t) < 1e-9) == (kind == Surface.WATER)
    water, road = (solids.world_triangles_m()[np.isin(solids.row, np.flatnonzero(
        solids.surface == kind)), :, 2] for kind in (Surface.WATER, Surface.STREET))  # fmt: skip
    assert water.max() < road.min() - 1.5


# --- looks ---


def _look(solid: Solid, start: np.ndarray, ray: np.ndarray) -> materials.Look:
    """The look of a solid where rays (3, N) from places (3, N) meet it."""
    solids = pack([solid])
    hits = Caster([Geometry(solids)]).cast(start, ray)
    met = np.flatnonzero(hits.row >= 0)
    world = start[:, met] + ray[:, met] * hits.t[met]
    points = surface_points(
        solids, hits.row[met], world, hits.normal[:, met], ray[:, met], np.full(len(met), 0.01)
    )
    return materials.look(points, solids.surface[hits.row[met]], STREET)


def _front(seed: int) -> tuple[materials.Look, np.ndarray]:
    solid = Solid(
        shape=Shape.BLOCK, surface=Surface.FACADE, centre_m=(10.0, 0.0, 8.0),
        half_m=(9.0, 4.0, 8.0),
        colour=(0.6, 0.5, 0.4), seed=seed,
    )  # fmt: skip
    u, v = np.meshgrid(np.linspace(1.5, 18.5, 240), np.linspace(0.2, 15.8, 240))
    start = np.stack([u.ravel(), np.full(u.size, -20.0), v.ravel()])
    return _look(solid, start, np.repeat([[0.0], [1.0], [0.0]], u.size, 1)), v.ravel()


def test_some_windows_are_lit_and_walls_are_not() -> None:
    home, _ = _front(3 + 7 * 4)
    office, _ = _front(3 + 7 * 6)  # divisible by 3: panels
    shop, v = _front(1 + 7 * 5)
    for look in (home, office, shop):
        assert look.emission_cd_m2 is not None and (look.emission_cd_m2 >= 0).all()
    light = [look.emission_cd_m2.mean(0) for look in (home, office, shop)]  # type: ignore[union-attr]
    assert 0.005 < (light[0] > 20).mean() < 0.2 and (light[1] > 20).mean() < (light[0] > 20).mean()
    assert light[0].max() < 600 and 150 < light[2][v < 3.5].max() < 1000
    assert (light[2][v < 3.0] > 20).mean() > 0.3
    closed, _ = _front(1 + 7 * 8)
    assert closed.emission_cd_m2 is not None and 0 < closed.emission_cd_m2[:, v < 3.0].max() < 80


def test_lamps_of_driven_vehicles_shine_and_of_parked_do_not() -> None:
    for model in (SALOON, BUS, TRUCK):
        vehicle = Vehicle(model=model, paint=(0.3, 0.3, 0.3), seed=4)
        for driven in (True, False):
            solids = vehicle.solids(driven)
            lamps = np.isin(solids.surface, (Surface.HEAD_LAMP, Surface.TAIL_LAMP))
            assert lamps.sum() == 2 and (solids.accent[lamps].sum(1) > 0).all() == driven


def test_zebra_and_stop_lines_lie_before_the_junction() -> None:
    street = replace(STREET, gap_m=(70.0, 90.0), style=0)
    s = np.array([70 - np.mean(ZEBRA_M), 70 - np.mean(STOP_M), 80.0, 90 + np.mean(STOP_M), 20.0])
    d = np.tile(np.arange(-3.4, 3.4, 0.01), (len(s), 1))
    flat = np.full(d.size, 0.01)
    cover, _ = markings(np.repeat(s, d.shape[1]), d.ravel(), flat, flat, street)
    share = cover.reshape(d.shape)
    right = d[0] < -0.2
    assert 0.4 < share[0].mean() < 0.6  # stripes
    assert share[1, right].mean() > 0.95 and share[1, ~right].mean() < 0.1
    assert share[2].max() == 0  # nothing is painted within the junction
    assert share[3, right].mean() < 0.1 and share[3, d[0] > 0.2].mean() > 0.95
    assert share[4].mean() < 0.1


# --- bodies ---


@pytest.mark.parametrize("model", [*dict.fromkeys(CARS), VAN, BUS, TRUCK])
def test_bodies_are_closed_and_as_large_as_they_say(model) -> None:
    paint, panes = skin(model.shell)
    triangles = np.concatenate([paint.triangles_m, panes.triangles_m])
    points = triangles.reshape(-1, 3)
    assert np.ptp(points[:, 0]) == pytest.approx(model.shell.length_m, abs=1e-6)
    assert np.ptp(points[:, 1]) == pytest.approx(model.shell.width_m, rel=0.01)
    assert points[:, 2].max() <= model.height_m + 0.03 and points[:, 2].min() > 0.1
    assert len(panes.faces) > 10
    # A ray from the side at door height meets the body where its half width says.
    solids = pack([Solid(shape=Shape.MESH, surface=Surface.BODYWORK, mesh=paint)])
    x = model.shell.axles_m[-1] - 0.9 * model.shell.wheel_m * 1.4
    hit = Caster([Geometry(solids)]).cast(
        np.array([x, -5.0, model.shell.floor_m + 0.3]), np.array([[0.0], [1.0], [0.0]])
    )
    assert 5 - hit.t[0] == pytest.approx(model.shell.width_m / 2, abs=0.09)


def test_a_tube_is_closed_and_round() -> None:
    mesh = tube(np.array([(0.0, 0, 0), (0, 0, 1), (0, 0.5, 2)]), np.array([0.2, 0.2, 0.1]), 12)
    triangles = mesh.triangles_m
    volume = np.einsum("ij,ij->i", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2]))
    closed = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]).sum(0)
    assert np.allclose(closed, 0, atol=1e-12)  # the faces of a closed body cancel out
    assert abs(volume.sum() / 6) == pytest.approx(0.2, rel=0.25)


@pytest.mark.parametrize("make", [cycles.bicycle, cycles.motorcycle])
def test_riders_sit_above_the_wheels(make) -> None:
    ridden, parked = make(np.random.default_rng(1), True), make(np.random.default_rng(1), False)
    assert len(ridden) > len(parked) and set(ridden.label) - set(parked.label) == {12}
    for solids in (ridden, parked):
        low = solids.world_triangles_m()[..., 2].min()
        assert -0.02 < low < 0.06
    rider = ridden.world_triangles_m()[ridden.label[ridden.row] == 12]
    assert rider[..., 2].max() > 1.45 and rider[..., 2].min() > 0.03
