"""Generation under SIGKILL, SIGTERM and company: the real command on small frames."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.runs import one_run
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.processes import DEADLINE_S, wait_until
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic

NUM_FRAMES, FRAMES_PER_SHARD = 48, 6
RECIPE = """
name: kill
engine: weather
depth: exact
size: [320, 192]
batch_size: 2
conditions:
  night: {lowest: 0.2, highest: 0.8}
  rain: {lowest: 0.2, highest: 0.8}
"""
NUM_VARIANTS = 2 * NUM_FRAMES
COMMAND = [sys.executable, "-m", "nightrain.flows.cli", "generate"]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("frames")
    ingest_synthetic(root / "dataset", SyntheticSource(NUM_FRAMES), FRAMES_PER_SHARD)
    (root / "recipe.yaml").write_text(RECIPE)
    return root


@pytest.fixture(scope="module")
def uninterrupted(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    root = tmp_path_factory.mktemp("whole") / "dataset"
    shutil.copytree(frames / "dataset", root)
    assert start(root, frames).wait() == 0
    return all_rows(root)


@pytest.fixture
def dataset(frames: Path, tmp_path: Path) -> Path:
    shutil.copytree(frames / "dataset", tmp_path / "dataset")
    return tmp_path / "dataset"


def start(
    root: Path, frames: Path, *options: str, environment: dict[str, str] | None = None
) -> subprocess.Popen:
    """The command, in a process of its own."""
    arguments = [str(root), "--recipe", str(frames / "recipe.yaml"), "--runner", "local"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    return subprocess.Popen([*COMMAND, *arguments, *options], env=variables, **quiet)


def num_visible(root: Path) -> int:
    """Rows that a reader sees now, each checked; nothing half-written may be among them."""
    manifest = Manifest(root)
    entries = [e for table in manifest.tables("variants") for e in manifest.entries(table)]
    return sum(len(list(manifest.reader(e.rows).rows(["sample_id", "image"]))) for e in entries)


def assert_complete(root: Path, expected: dict, num_variants: int = NUM_VARIANTS) -> None:
    """Nothing lost, nothing twice, every row as in an uninterrupted run, no orphan left."""
    report = verify(root)
    assert report.accepted and report.orphans == [] and report.num_quarantined == 0
    assert all_rows(root) == expected and len(expected) == num_variants
    for name in ("_tmp", "_leases", "_partial"):
        assert not [p for p in (root / name).glob("*")], name


@pytest.mark.slow
@pytest.mark.parametrize("num_kills", [3, pytest.param(20, marks=pytest.mark.campaign)])
def test_sigkills_lose_nothing(
    tmp_path: Path, frames: Path, uninterrupted: dict, num_kills: int
) -> None:
    """Each run is killed at a random moment of its work and followed by the same command.

    Where the work is done before the last kill, it begins again on a fresh copy.
    """
    rng, root, visible, kills = random.Random(0), tmp_path / "0", 0, 0
    shutil.copytree(frames / "dataset", root)
    while kills < num_kills:
        process = start(root, frames)
        if begins_to_work(process, root):
            time.sleep(rng.uniform(0.0, 0.4))
            process.kill()
        kills += process.wait() == -signal.SIGKILL
        assert num_visible(root) >= visible  # what is committed stays
        visible = num_visible(root)
        if visible == NUM_VARIANTS:
            assert start(root, frames).wait() == 0
            assert_complete(root, uninterrupted)
            root, visible = tmp_path / str(kills), 0
            shutil.copytree(frames / "dataset", root)
    assert start(root, frames).wait() == 0
    assert_complete(root, uninterrupted)


def begins_to_work(process: subprocess.Popen, root: Path) -> bool:
    """Wait until a process holds a shard; False where it ends without."""
    mine = f"-{process.pid}-"
    while process.poll() is None:
        for lease in (root / "_leases").glob("*.lease"):
            try:
                if mine in lease.read_text():
                    return True
            except FileNotFoundError:
                pass
        time.sleep(0.005)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [4, pytest.param(2, marks=pytest.mark.campaign)])
def test_processes_that_generate_the_same_plan_at_once(
    dataset: Path, frames: Path, uninterrupted: dict, num_processes: int
) -> None:
    processes = [start(dataset, frames) for _ in range(num_processes)]
    assert [process.wait() for process in processes] == [0] * num_processes
    assert_complete(dataset, uninterrupted)


@pytest.mark.slow
def test_a_process_takes_over_from_one_that_was_killed(
    dataset: Path, frames: Path, uninterrupted: dict
) -> None:
    """The survivor waits for the other's shard and makes it once its owner is dead."""
    processes = [start(dataset, frames), start(dataset, frames)]
    wait_for_a_lease(dataset, at_least=2)
    processes[0].kill()
    processes[0].wait()
    assert processes[1].wait() == 0
    assert_complete(dataset, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["serial", "workers"])
def test_sigterm_ends_in_order(
    dataset: Path, frames: Path, uninterrupted: dict, options: list[str]
) -> None:
    process = start(dataset, frames, *options)
    wait_for_a_lease(dataset)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert not list((dataset / "_tmp").glob("*")) and not list((dataset / "_leases").glob("*"))
    assert verify(dataset).accepted
    assert start(dataset, frames).wait() == 0
    assert_complete(dataset, uninterrupted)


@pytest.mark.slow
def test_a_killed_parent_leaves_no_worker_behind(dataset: Path, frames: Path) -> None:
    process = start(dataset, frames, "--workers", "2")
    wait_for_a_lease(dataset)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    wait_until_gone(workers)


@pytest.mark.slow
def test_a_killed_flow_leaves_no_server_behind(
    dataset: Path, frames: Path, uninterrupted: dict, tmp_path: Path
) -> None:
    kill_a_flow_at_work(dataset, frames, tmp_path / "prefect")
    assert start(dataset, frames).wait() == 0
    assert_complete(dataset, uninterrupted)


@pytest.mark.slow
@pytest.mark.campaign  # in short: the test above, and the kills of test_diffusion_shards.py
def test_a_killed_flow_of_the_diffusion_engine_loses_nothing(tmp_path: Path) -> None:
    from support.tiny_diffusion import write_recipe

    whole, root, stop = tmp_path / "whole", tmp_path / "dataset", Stop()
    ingest_synthetic(whole, SyntheticSource(num_frames=6), frames_per_shard=3)
    shutil.copytree(whole, root)
    job = GenerateJob(dataset=whole, recipe=str(write_recipe(tmp_path)))
    generate(job, executor=SerialExecutor(stop), stop=stop)
    kill_a_flow_at_work(root, tmp_path, tmp_path / "prefect")
    assert num_visible(root) < 12
    assert start(root, tmp_path).wait() == 0
    assert_complete(root, all_rows(whole), num_variants=12)


def kill_a_flow_at_work(root: Path, recipe_folder: Path, prefect_home: Path) -> None:
    """SIGKILL a flow run that holds a shard, and see its temporary server go."""
    environment = {"PREFECT_HOME": str(prefect_home)}
    process = start(root, recipe_folder, "--runner", "prefect", environment=environment)
    wait_for_a_lease(root)
    servers = [pid for pid in children(process.pid) if "-m uvicorn" in command_of(pid)]
    assert servers
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until_gone(servers)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_is_exit_code_4_and_the_same_command_goes_on(
    dataset: Path, frames: Path, uninterrupted: dict, tmp_path: Path
) -> None:
    """A real full disk: a tmpfs with room for the frames and a part of the variants."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        root, ballast = small / "dataset", small / "ballast"
        shutil.copytree(dataset, root)
        free = shutil.disk_usage(small).free
        ballast.write_bytes(bytes(free - 65 * 1024 * 1024 - 400_000))
        assert start(root, frames).wait() == 4
        assert not verify(root).problems and not list((root / "_tmp").glob("*"))
        assert 0 < num_visible(root) < NUM_VARIANTS
        ballast.unlink()
        assert start(root, frames).wait() == 0
        assert_complete(root, uninterrupted)
    finally:
        subprocess.run(["umount", str(small)], check=False)


def wait_until_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(command_of(pid) for pid in pids), f"the end of {pids}")


def command_of(pid: int) -> str:
    """Command line of a process; "" where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def wait_for_a_lease(root: Path, at_least: int = 1) -> None:
    def shards() -> list[Path]:
        return [p for p in (root / "_leases").glob("*.lease") if p.stem != one_run.LEASE]

    wait_until(lambda: len(shards()) >= at_least, "work on a shard")


def children(pid: int) -> list[int]:
    """Living descendants of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found
