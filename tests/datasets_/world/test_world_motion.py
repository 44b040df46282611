"""How the world's bodies move: ways, turns, the ground under the wheels, steps, nobody collides."""

import numpy as np
import pytest

from nightrain.datasets.world.objects.gait import Gait
from nightrain.datasets.world.objects.people import draw_person
from nightrain.datasets.world.scene.layout import EGO_BOX_M, draw_scene
from nightrain.datasets.world.scene.scene import Actor, Scene
from nightrain.datasets.world.shapes.solids import moved
from nightrain.datasets.world.street import paths
from nightrain.datasets.world.street.journeys import TURN_MPS, Journey, ego_motion, plan
from nightrain.datasets.world.street.motion import Drive, Motion
from nightrain.datasets.world.street.street import KERB_HEIGHT_M, Hills, Street

HILLS = Hills((1.5, 0.4), (200.0, 90.0), (0.3, 1.1))
DURATION_S = 6.0


@pytest.fixture(scope="module", params=[101, 107, 113, 121])
def scene(request: pytest.FixtureRequest) -> Scene:
    return draw_scene(np.random.default_rng(request.param), DURATION_S)


def _speeding_up() -> Drive:
    return Drive(np.array([-1.0, 1.0, 3.0, 6.0]), np.array([2.0, 8.0, 0.0, 5.0]))


def test_the_way_is_the_integral_of_the_speed() -> None:
    drive = _speeding_up()
    t = np.linspace(-3, 9, 24_001)
    way = np.array([drive.way_m(float(x)) for x in t])
    speed = np.array([drive.speed_mps(float(x)) for x in t])
    assert drive.way_m(0.0) == 0.0
    assert np.allclose(np.diff(way), (speed[1:] + speed[:-1]) / 2 * np.diff(t), atol=1e-5)
    assert drive.way_m(9.0) - drive.way_m(7.0) == pytest.approx(10.0)  # steady after the last knot


@pytest.mark.parametrize("angle_deg", [90.0, -90.0, 35.0])
def test_a_turn_ends_where_it_should_without_a_jump_of_curvature(angle_deg: float) -> None:
    angle = np.radians(angle_deg)
    bend = paths.turn((3.0, 4.0), 0.4, angle, 12.0)
    c, s = np.cos(0.4), np.sin(0.4)
    ahead, aside = np.array([[c, s], [-s, c]]) @ (bend.xy_m[-1] - (3.0, 4.0))
    assert ahead == pytest.approx(12.0, abs=1e-9)
    assert aside == pytest.approx(12.0 * np.tan(angle / 2), rel=1e-6)  # as of an arc: symmetric
    assert bend.heading_rad[-1] == pytest.approx(0.4 + angle)
    curvature = np.diff(bend.heading_rad) / np.diff(bend.way_m)
    assert abs(curvature[0]) < 0.02 and abs(curvature[-1]) < 0.02
    assert np.abs(np.diff(curvature)).max() < 0.01


def test_joined_paths_have_no_gap_and_one_heading() -> None:
    street = Street(length_m=100.0, lane_m=3.5, parking_m=0.0, pavement_m=2.0, setback_m=0.0)
    first = paths.lane(street, 1.75, 80.0, 30.0)  # heading pi
    second = paths.turn((30.0, float(first.xy_m[-1, 1])), -np.pi, -1.0, 9.0)
    both = paths.join([first, second])
    assert np.abs(np.diff(both.heading_rad)).max() < 0.05
    assert both.length_m == pytest.approx(first.length_m + second.length_m)
    assert np.linalg.norm(np.diff(both.xy_m, axis=0), axis=1).max() < 0.25


def test_a_plan_stops_at_its_line_and_goes_on() -> None:
    journey = Journey(event="stop", speed_mps=8.0, event_m=30.0, wait_s=2.0, sway=(0.05, 8.0, 1.0))
    drive = plan(journey, [], 30.0, 14.0)
    still = drive.speeds_mps == 0
    assert 1.0 < still.sum() * 0.1 < 3.0
    assert drive.way_m(float(drive.times_s[still][0])) == pytest.approx(30.0, abs=0.9)
    assert drive.speed_mps(14.0) > 4.0
    assert np.abs(np.diff(drive.speeds_mps)).max() / 0.1 < 3.5  # m/s2


def test_the_ego_vehicle_turns_off_into_the_right_lane() -> None:
    cross = Street(
        origin_m=(120.0, 100.0), yaw_rad=np.pi / 2, length_m=300.0, lane_m=3.4, parking_m=2.2,
        pavement_m=3.0, setback_m=2.0, hills=HILLS,
    )  # fmt: skip
    street = Street(
        length_m=300.0, lane_m=3.5, parking_m=2.2, pavement_m=3.0, setback_m=2.0, hills=HILLS,
        cross=cross, cross_at_m=120.0,
    )  # fmt: skip
    for event, lane_d, heading in (("right", 1.7, -np.pi / 2), ("left", -1.7, np.pi / 2)):
        journey = Journey(
            event=event,
            speed_mps=7.0,
            event_m=35.0,
            wait_s=0.0,
            sway=(0.0, 8.0, 0.0),  # type: ignore[arg-type]
        )
        rng = np.random.default_rng(1)
        ego = ego_motion(rng, street, journey, 60.0, 20.0, 0.0)
        T = ego.pose(20.0)
        _, d = cross.coordinates(T[:1, 3], T[1:2, 3])
        assert d[0] == pytest.approx(lane_d, abs=0.25)
        assert np.arctan2(T[1, 0], T[0, 0]) == pytest.approx(heading, abs=0.05)
        yaw = np.unwrap([_yaw(ego, t) for t in np.arange(0, 20, 0.1)])
        assert 0.2 < np.abs(np.diff(yaw)).max() / 0.1 < 0.36  # rad/s
        speeds = [ego.speed_at_mps(t) for t in np.arange(0, 20, 0.1)]
        assert min(speeds) == pytest.approx(TURN_MPS[event], abs=0.4)


def _yaw(motion: Motion, t_s: float) -> float:
    T = motion.pose(t_s)
    return float(np.arctan2(T[1, 0], T[0, 0]))


def test_poses_are_rigid_smooth_and_as_fast_as_they_say(scene: Scene) -> None:
    times = np.arange(0.0, DURATION_S, 0.02)
    for motion in [scene.ego, *(a.motion for a in scene.actors[::7])]:
        T = np.array([motion.pose(float(t)) for t in times])
        R = T[:, :3, :3]
        assert np.allclose(R @ R.transpose(0, 2, 1), np.eye(3), atol=1e-12)
        assert np.allclose(np.linalg.det(R), 1.0)
        velocity = np.diff(T[:, :3, 3], axis=0) / 0.02
        assert np.abs(np.diff(velocity, axis=0)).max() < 0.25  # below 12 m/s2
        if motion.is_still():
            assert not velocity.any()
        elif motion.headway_s == 0:
            speed = [motion.speed_at_mps(float(t)) for t in times[1:]]
            assert np.allclose(np.linalg.norm(velocity, axis=1), speed, atol=0.35)


def test_the_springs_move_the_body_by_less_than_a_degree(scene: Scene) -> None:
    moved_at_all = 0.0
    for t in np.arange(0.0, DURATION_S, 0.05):
        T = scene.ego.pose(float(t))
        ground = scene.street.hills.stand(T[0, 3], T[1, 3], float(np.arctan2(T[1, 0], T[0, 0])))
        angle = np.degrees(np.arccos(np.clip(T[:3, 2] @ ground[:3, 2], -1, 1)))
        assert angle < 1.0 and abs(T[2, 3] - ground[2, 3]) < 0.03
        moved_at_all = max(moved_at_all, float(angle))
    assert moved_at_all > 0.05


def test_wheels_stand_on_the_ground_that_rays_meet(scene: Scene) -> None:
    moment = scene.at(2.0)
    cars = [a for a in scene.actors if a.category == "vehicle.car"][:25]
    low = []
    for actor in cars:
        T = actor.motion.pose(2.0)
        x, y = actor.size_m[0] * 0.3, actor.size_m[1] / 2 - 0.11
        corners = np.array([[sx * x, sy * y, 0.0] for sx in (-1, 1) for sy in (-1, 1)])
        low.append(corners @ T[:3, :3].T + T[:3, 3])
    feet = np.concatenate(low).T  # (3, N)
    static = type(moment.caster)([scene.static_geometry])
    down = np.repeat([[0.0], [0.0], [-1.0]], feet.shape[1], 1)
    hits = static.cast(np.add(feet, [[0.0], [0.0], [0.25]]), down)
    gap = hits.t - 0.25
    assert np.abs(gap).max() < 0.02


def test_the_ground_has_no_holes_and_roads_are_where_the_map_says(scene: Scene) -> None:
    street = scene.street
    rng = np.random.default_rng(3)
    x = rng.uniform(5.0, street.length_m - 5, 4000)
    d = rng.uniform(-60, 60, 4000)
    at = street.points_m(x, d)
    start = np.stack([*at, street.hills.height_m(at[0]) + 0.6])  # under most things
    ground = [r for r in range(8) if not scene.static.centre_m[r].any()]
    hits = scene.at(0.0).caster.cast(start, np.repeat([[0.0], [0.0], [-1.0]], 4000, 1))
    on_ground = np.isin(hits.row, ground)
    assert on_ground.mean() > 0.35 and np.isfinite(hits.t).all()
    lift = 0.6 - hits.t[on_ground]
    road = street.is_road(*at)[on_ground]
    assert np.abs(lift[road]).max() < 0.02 + KERB_HEIGHT_M * (street.cross is not None)
    assert (np.abs(lift[road]) < 0.02).mean() > 0.97  # round corners take a little
    assert np.abs(lift[~road] - KERB_HEIGHT_M).mean() < 0.03


def test_nobody_drives_through_anybody(scene: Scene) -> None:
    for t in np.arange(0.0, DURATION_S, 0.3):
        boxes = [_footprint(a.motion.pose(float(t)), *a.size_m[:2], 0.0) for a in scene.actors]
        length, width, ahead = EGO_BOX_M
        boxes.append(_footprint(scene.ego.pose(float(t)), length, width, ahead))
        middles = np.array([b.mean(0) for b in boxes])
        for i in range(len(boxes)):
            for j in np.flatnonzero(np.linalg.norm(middles - middles[i], axis=1) < 12):
                if j > i:
                    assert _apart_m(boxes[i], boxes[j]) > -0.35, (scene.description, i, j, t)


def _footprint(T: np.ndarray, length: float, width: float, ahead: float) -> np.ndarray:
    corners = [(ahead + sx * length / 2, sy * width / 2) for sx in (-1, 1) for sy in (-1, 1)]
    return np.array(corners) @ T[:2, :2].T + T[:2, 3]


def _apart_m(a: np.ndarray, b: np.ndarray) -> float:
    """Gap between rectangles along the best separating axis (negative: how far they overlap)."""
    axes = [c[k] - c[0] for c in (a, b) for k in (1, 2)]
    gaps = []
    for axis in axes:
        u, v = a @ axis / np.linalg.norm(axis), b @ axis / np.linalg.norm(axis)
        gaps.append(max(u.min() - v.max(), v.min() - u.max()))
    return float(max(gaps))


def test_walking_is_rigid_and_the_lower_sole_stays_on_the_ground() -> None:
    person = draw_person(np.random.default_rng(4))
    gait: Gait = person.gait(0.3)
    rest = person.solids
    for way in np.linspace(0, 3, 23):
        posed = gait.pose(rest, float(way))
        assert np.array_equal(posed.row, rest.row) and np.array_equal(posed.colour, rest.colour)
        R = posed.R_world_local
        assert np.allclose(R @ R.transpose(0, 2, 1), np.eye(3), atol=1e-12)
        assert posed.world_triangles_m()[..., 2].min() == pytest.approx(0.0, abs=0.045)
    ahead = [gait.pose(rest, w).centre_m for w in (0.0, gait.stride_m / 2, gait.stride_m)]
    assert np.allclose(ahead[0], ahead[2]) and not np.allclose(ahead[0], ahead[1])


def test_boxes_hold_their_actors(scene: Scene) -> None:
    for actor in scene.actors:
        half = np.array(actor.size_m) / 2
        for t in (0.0, 1.3, 2.9):
            points = actor.at(t).world_triangles_m().reshape(-1, 3) - [0, 0, half[2]]
            inside = (np.abs(points) < half + 0.10).all(1).mean()
            assert inside > 0.93, (actor.category, actor.size_m, inside)


def test_rows_are_the_same_solids_at_all_times(scene: Scene) -> None:
    one, other = scene.at(0.1).solids, scene.at(3.7).solids
    for name in ("surface", "owner", "seed", "label", "colour", "half_m"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    for k in np.unique(one.owner[one.owner >= 0]):
        assert np.ptp(np.flatnonzero(one.owner == k)) + 1 == (one.owner == k).sum()


def test_who_moves_and_who_is_parked() -> None:
    scene = draw_scene(np.random.default_rng(107), DURATION_S)
    kinds = {(a.is_parked, a.is_moving(1.0)) for a in scene.actors}
    assert {(True, False), (False, True)} <= kinds and (True, True) not in kinds
    for actor in scene.actors:
        step = actor.motion.pose(1.05)[:3, 3] - actor.motion.pose(1.0)[:3, 3]
        if actor.motion.headway_s == 0:  # those follow the ego vehicle's speed
            assert (np.linalg.norm(step) / 0.05 > 0.04) == actor.is_moving(1.025)


def test_an_actor_without_a_gait_is_rigid(scene: Scene) -> None:
    actor: Actor = next(a for a in scene.actors if a.gait is None and not a.motion.is_still())
    a, b = (moved(actor.at(t), actor.motion.pose(t)).world_triangles_m() for t in (0.2, 1.7))
    size = [np.linalg.norm(np.diff(c, axis=1), axis=2) for c in (a, b)]
    assert np.allclose(*size, atol=1e-6)
