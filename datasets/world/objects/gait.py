"""Walking gait: limbs swing with the distance walked; the lower foot stays on the ground."""

from dataclasses import dataclass, replace

import numpy as np

from nightrain.datasets.world.shapes.solids import Solids

HIP_SWING_RAD, KNEE_BEND_RAD, ARM_SWING_RAD, ELBOW_RAD = 0.45, 0.85, 0.42, 0.35


@dataclass(frozen=True, slots=True)
class Limb:
    """Rows that rotate together about y at a joint, given in the parent limb's coordinates."""

    rows: tuple[int, ...]
    joint_m: tuple[float, float, float]
    parent: int  # index of a limb before it, -1 for the body
    role: str  # "thigh" | "shin" | "foot" | "arm" | "forearm"
    side: int  # 1 left, -1 right


@dataclass(frozen=True, slots=True)
class Gait:
    """Motion of a walker's solids; rows that are in no limb are the body, which only bobs."""

    limbs: tuple[Limb, ...]
    sole_m: float  # from the ankle down to the sole
    stride_m: float  # distance walked per full cycle
    phase_rad: float

    def pose(self, solids: Solids, way_m: float) -> Solids:
        """Pose the solids, built about their joints, after walking `way_m`."""
        phase = 2 * np.pi * way_m / self.stride_m + self.phase_rad
        angles = {(b.role, b.side): _angle(b, phase) for b in self.limbs if b.role != "foot"}
        return posed(solids, self.limbs, with_level_feet(self.limbs, angles), self.sole_m)


def with_level_feet(
    limbs: tuple[Limb, ...], angles_rad: dict[tuple[str, int], float]
) -> list[float]:
    """Add foot angles to limb angles by role and side, so that the feet stay level."""
    found = []
    for limb in limbs:
        leg = [angles_rad["thigh", limb.side], angles_rad["shin", limb.side]]
        found.append(-sum(leg) if limb.role == "foot" else angles_rad[limb.role, limb.side])
    return found


def posed(
    solids: Solids, limbs: tuple[Limb, ...], angles_rad: list[float], sole_m: float | None
) -> Solids:
    """Rotate limbs; with `sole_m`, place the lower sole on the ground z = 0."""
    R, centre = solids.R_world_local.copy(), solids.centre_m.copy()
    frames: list[np.ndarray] = []
    soles = []
    for limb, angle in zip(limbs, angles_rad, strict=True):
        parent = frames[limb.parent] if limb.parent >= 0 else np.eye(4)
        T = parent @ _turned(limb.joint_m, angle)
        frames.append(T)
        rows = list(limb.rows)
        R[rows] = T[:3, :3] @ R[rows]
        centre[rows] = centre[rows] @ T[:3, :3].T + T[:3, 3]
        if limb.role == "foot" and sole_m is not None:
            soles.append(T[2, 3] - sole_m)
    if soles:
        centre[:, 2] -= min(soles)
    return replace(solids, R_world_local=R, centre_m=centre)


def _angle(limb: Limb, phase_rad: float) -> float:
    """Angle of a limb about y; positive swings a hanging limb backwards."""
    swing = float(np.sin(phase_rad + (np.pi if limb.side < 0 else 0.0)))
    forward = -float(np.cos(phase_rad + (np.pi if limb.side < 0 else 0.0)))  # > 0: forward swing
    if limb.role == "thigh":
        return HIP_SWING_RAD * swing - 0.08
    if limb.role == "shin":
        return 0.12 + KNEE_BEND_RAD * max(forward, 0.0) ** 1.5
    if limb.role == "arm":
        return -ARM_SWING_RAD * swing
    return -ELBOW_RAD - 0.2 * max(-swing, 0.0)


def _turned(joint_m: tuple[float, float, float], angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    T = np.eye(4)
    T[:3, :3] = [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]
    T[:3, 3] = joint_m
    return T
