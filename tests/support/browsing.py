"""A dataset with accepted and rejected variants, and a client of its page."""

from dataclasses import replace
from pathlib import Path

from starlette.testclient import TestClient

from nightrain.datasets.frame import FrameRef
from nightrain.datasets.shards.manifest import Manifest
from nightrain.pipelines.browse.app import make_app
from nightrain.pipelines.browse.guard import Access
from nightrain.pipelines.browse.index import SampleIndex
from nightrain.pipelines.browse.live import LiveSamples
from nightrain.pipelines.browse.sample_rows import read_sample_rows
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SyntheticSource, ingest_synthetic

HOST = "127.0.0.1:8321"
ORIGIN = {"origin": f"http://{HOST}"}
RECIPE = """
name: shown
depth: exact
conditions: {night: {}, fog: {}}
gate_seeds: 1
gates:
  - {name: faults, least_spread: LOWEST}
  - {name: structure, by_condition: {night: LOOSE, fog: LOOSE}}
""".replace("LOOSE", "{most_lost: 1.0, most_novel: 1.0}")
NUM_FRAMES = 10


class NamedSource(SyntheticSource):
    """Frames of scenes whose names are HTML."""

    def ref(self, index: int) -> FrameRef:
        """Reference to a frame."""
        return replace(super().ref(index), scene_id=f"<img src=x onerror=alert({index // 4})>")


def make_judged(root: Path) -> None:
    """Ten clear frames, and their variants of two conditions; gates reject some of them."""
    ingest_synthetic(root, NamedSource(num_frames=NUM_FRAMES), frames_per_shard=4)
    _generate(root, "0")
    index = SampleIndex(root, read_sample_rows(root))
    spreads = sorted(index.rows.measures["faults.spread"][: 2 * NUM_FRAMES])
    _generate(root, f"{spreads[7] + 1e-4:.6f}")


def _generate(root: Path, lowest: str) -> None:
    path, stop = root.parent / f"{root.name}.yaml", Stop()
    path.write_text(RECIPE.replace("LOWEST", lowest))
    job = GenerateJob(dataset=root, recipe=str(path), max_rejected=1.0)
    assert not generate(job, executor=SerialExecutor(stop), stop=stop).failed


def client_of(root: Path, access: Access | None = None) -> TestClient:
    """A client of the page of a dataset, as a browser on this machine."""
    return TestClient(
        make_app(LiveSamples(root, "Ada", check_seconds=0), access),
        base_url=f"http://{HOST}",
        raise_server_exceptions=False,
        follow_redirects=False,
    )


def entry_paths(root: Path, prefix: str) -> list[Path]:
    """Data files of the last table below a prefix."""
    manifest = Manifest(root)
    table = manifest.tables(prefix)[-1]
    return [root / entry.rows.path for entry in manifest.entries(table)]
