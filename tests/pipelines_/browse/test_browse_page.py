"""The page in headless Chromium: it draws tiles, under its policy and without an error."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nightrain.pipelines.browse.index import SampleIndex
from nightrain.pipelines.browse.sample_rows import read_sample_rows
from support.browsing import NUM_FRAMES
from support.processes import DEADLINE_S

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
]


class Document(HTMLParser):
    """Elements of a document that a browser has built."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        """Attributes of the elements of a class."""
        return [of for _, of in self.elements if name in (of.get("class") or "").split()]


@pytest.fixture(scope="module")
def address(judged: Path) -> Iterator[str]:
    """Address of the page, served by the command itself, which SIGINT ends without an error."""
    command = [sys.executable, "-m", "nightrain.flows.cli", "browse", str(judged), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = next(line for line in server.stdout if "open http://" in line)
        yield line.split("open ")[1].strip()
        server.send_signal(signal.SIGINT)
        assert server.wait(DEADLINE_S) == 0


def opened(address: str, folder: Path) -> Document:
    """The document after its scripts ran; no error or refusal may be on the console."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--window-size=1280,900", f"--user-data-dir={folder}"),
            *(f"--timeout={int(DEADLINE_S * 1000)}", "--virtual-time-budget=20000"),
            *("--dump-dom", address),
        ],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        env={**os.environ, "HOME": str(folder)},
    )
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert done.returncode == 0 and not console, console
    found = Document(done.stdout)
    assert [of.get("data-ready") for tag, of in found.elements if tag == "body"] == ["true"]
    # Names of scenes are HTML here; a browser that parsed one would hold this image.
    assert not [of for tag, of in found.elements if tag == "img" and of.get("src") == "x"]
    return found


def test_the_grid_shows_tiles_with_pictures(address: str, tmp_path: Path) -> None:
    found = opened(address, tmp_path)
    tiles = [of for of in found.of_class("tile") if "hidden" not in of]
    assert len(tiles) >= 12 and all((of["href"] or "").startswith("/sample/") for of in tiles)
    assert len(found.of_class("loaded")) >= 12 and not found.of_class("broken")
    assert any("<img src=x onerror=alert(0)>" in (of.get("title") or "") for of in tiles)
    assert f"{3 * NUM_FRAMES} of {3 * NUM_FRAMES}" in found.texts
    folders = [text for text in found.texts if text.startswith("weather-")]
    assert len(folders) == 2 and found.texts.count("shown ") == 2  # the recipe's name before each


def test_a_permalink_shows_a_sample_and_its_pictures(
    address: str, judged: Path, tmp_path: Path
) -> None:
    index = SampleIndex(judged, read_sample_rows(judged))
    key = index.row(0)["key"]
    found = opened(f"{address}sample/{key}?kind=variant", tmp_path)
    sources = [of.get("src") for tag, of in found.elements if tag == "img"]
    assert {f"/picture/{key}/clear", f"/picture/{key}/image"} <= set(sources)
    assert "<img src=x onerror=alert(0)>" in found.texts and "Gate scores (" in "".join(found.texts)


def test_statistics_are_drawn(address: str, tmp_path: Path) -> None:
    found = opened(f"{address}statistics", tmp_path)
    assert len(found.of_class("histogram")) >= 5 and len(found.of_class("bar-row")) >= 5
    assert any(text.startswith("mean luma of ") for text in found.texts)
