"""Parts of a measurement, each saved whole, so that a repeated command resumes."""

import hashlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nightrain.datasets.io.atomic import make_folder, write_whole
from nightrain.datasets.io.regular import sha256_of
from nightrain.pipelines.small_diffusion.measure.figures import Figure

Arrays = dict[str, np.ndarray]


class Parts:
    """Folder of saved parts; its name holds a digest of everything that determines them."""

    def __init__(self, out: Path, kind: str, facts: Mapping[str, Any]) -> None:
        text = json.dumps(facts, sort_keys=True)
        self.folder = out / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        make_folder(self.folder)
        write_whole(self.folder / "facts.json", json.dumps(facts, indent=1, sort_keys=True))

    def arrays(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of a part, computed unless saved."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            buffer = io.BytesIO()
            with reported(name):
                np.savez_compressed(buffer, **compute())  # pyright: ignore[reportArgumentType]
            write_whole(path, buffer.getvalue())
        with np.load(path, allow_pickle=False) as found:
            return dict(found)

    def figures(self, name: str, compute: Callable[[], Sequence[Figure]]) -> list[Figure]:
        """Return the figures of a part, computed unless saved."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            with reported(name):
                found = [figure.to_json() for figure in compute()]
            write_whole(path, json.dumps(found, indent=1))
        return [Figure.from_json(data) for data in json.loads(path.read_text())]


@contextmanager
def reported(name: str) -> Iterator[None]:
    """Report the start and the duration of a block."""
    started = time.monotonic()
    say(f"{name} ...")
    yield
    say(f"{name}: {time.monotonic() - started:.1f} s")


def say(text: str) -> None:
    """Print a line of progress to the standard error."""
    print(text, file=sys.stderr, flush=True)


def digest_of_files(folder: Path, paths: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{sha256_of(path)}  {path.relative_to(folder)}\n".encode())
    return digest.hexdigest()
