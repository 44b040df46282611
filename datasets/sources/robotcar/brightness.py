"""Mean image brightness, measured once: md4all's filter needs it for 18,000 images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nightrain.datasets.errors import BrokenSource
from nightrain.datasets.io.atomic import replace_file, unwritable_is_refused
from nightrain.datasets.sources.robotcar.camera import VISIBLE_ROWS

Pixels = Callable[[str, int], np.ndarray]  # (traverse, time) to an image (H, W, 3) uint8
SAVE_EVERY = 500  # images; measuring that many takes about 10 s


class Brightness:
    """Mean brightness (0 to 1) of the top 768 rows by traverse and time, cached in `folder`.

    A file `<traverse>.brightness` has lines "<timestamp> <mean>"; delete it if images have changed.
    """

    def __init__(self, folder: Path | None, pixels: Pixels) -> None:
        self._folder, self._pixels = folder, pixels
        self._means: dict[str, dict[int, float]] = {}
        self._num_new = 0

    def of(self, traverse: str, times_us: tuple[int, int, int]) -> tuple[float, float, float]:
        """Means of the current, the previous and the next images.

        `times_us` is in chronological order. Raises DamagedInput for an image that cannot be read.
        """
        previous, current, following = (self._mean(traverse, time_us) for time_us in times_us)
        return current, previous, following

    def save(self) -> None:
        """Write new measurements to the folder, if there is one.

        Raises InvalidRequest if it cannot be written, DiskFull.
        """
        if self._folder is None or not self._num_new:
            return
        with unwritable_is_refused(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for traverse, means in self._means.items():
                lines = (f"{time_us} {mean:.6f}\n" for time_us, mean in sorted(means.items()))
                path = self._path(self._folder, traverse)
                replace_file(self._folder, path, "".join(lines).encode())
        self._num_new = 0

    def _mean(self, traverse: str, time_us: int) -> float:
        means = self._means.setdefault(traverse, self._read(traverse))
        if time_us not in means:
            means[time_us] = float(self._pixels(traverse, time_us)[:VISIBLE_ROWS].mean() / 255)
            self._num_new += 1
            if self._num_new >= SAVE_EVERY:
                self.save()
        return means[time_us]

    def _read(self, traverse: str) -> dict[int, float]:
        if self._folder is None or not self._path(self._folder, traverse).is_file():
            return {}
        path = self._path(self._folder, traverse)
        try:
            rows = [line.split() for line in path.read_text().splitlines()]
            return {int(time_us): float(mean) for time_us, mean in rows}
        except ValueError as error:
            raise BrokenSource(f"{path} is damaged ({error}); delete it") from error

    def _path(self, folder: Path, traverse: str) -> Path:
        return folder / f"{traverse}.brightness"
