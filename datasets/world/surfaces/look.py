"""Optical properties of a surface."""

from typing import NamedTuple

import numpy as np


class Look(NamedTuple):
    """Albedo (3, N), mirror share at normal incidence (N,), emission (3, N) in cd/m2 when lit."""

    albedo: np.ndarray
    mirror: np.ndarray
    emission_cd_m2: np.ndarray | None = None
