"""What a surface does with light."""

from typing import NamedTuple

import numpy as np


class Look(NamedTuple):
    """Albedo (3, N), mirror share at right angles (N,), own light (3, N) in cd/m2 when lit."""

    albedo: np.ndarray
    mirror: np.ndarray
    emission_cd_m2: np.ndarray | None = None
