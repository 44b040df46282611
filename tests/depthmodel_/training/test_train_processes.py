"""Training that is killed for good, and training in two processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nightrain.depthmodel.training.checkpoint import checkpoints
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.metrics_log import read_metrics
from support.tiny_depth_models import tiny_config
from support.tiny_training import (
    SIZE,
    lidar_teacher,
    make_dataset,
    outcome,
    train_tiny,
    video_teacher,
)

pytestmark = [pytest.mark.slow]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def start(dataset: Path, run: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "support.tiny_training", str(dataset), str(run)]
    return subprocess.Popen(command, env=ENVIRONMENT)


def wait_for_line(run: Path, step: int, process: subprocess.Popen) -> None:
    """Until the log names a step; metrics of the steps after the last checkpoint are lost."""
    give_up = time.monotonic() + 100
    while not any(line["step"] >= step for line in read_metrics(run)):
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_sigkill_loses_nothing_that_a_checkpoint_held(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset")
    whole, run = tmp_path / "whole", tmp_path / "run"
    config = video_teacher(num_steps=30)
    assert train_tiny(config, dataset, whole).status == "finished"
    for step in (6, 18):
        process = start(dataset, run)
        wait_for_line(run, step, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert checkpoints(run / "checkpoints") and not (run / "model").exists()
    assert (run / "_leases/run.lease").exists()  # the dead one's, which keeps nobody out
    assert train_tiny(config, dataset, run).status == "finished"
    (found, lines), (expected, expected_lines) = outcome(run), outcome(whole)
    assert lines == expected_lines and found.keys() == expected.keys()
    differing = [n for n, v in expected.items() if n != "step" and not bool((found[n] == v).all())]
    assert not differing


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


TWO = """
import os, sys
from pathlib import Path
from test_train_processes import even_config
from support.tiny_training import train_tiny

dataset, run = map(Path, sys.argv[1:])
seen = []
def stopped():  # one of the two is asked to stop after three steps
    seen.append(1)
    return os.environ["RANK"] == "0" and len(seen) > 3
for stop in (stopped, lambda: False):
    print(train_tiny(even_config(2), dataset, run, stopped=stop).line)
"""


def even_config(batch_size: int) -> TrainConfig:
    """A network without batch norm, whose statistics would be those of a process's share.

    Every frame has as many measured pixels, so the mean over a batch is the mean of its halves.
    """
    return lidar_teacher(
        model=tiny_config("convnext", input_size=SIZE),
        batch_size=batch_size,
        num_steps=6,
        report_every=1,
        checkpoint_every=50,
    )


def run_two(dataset: Path, run: Path) -> list[str]:
    """Two processes of one run; gives what each of them said."""
    port, processes = free_port(), []
    for rank in ("0", "1"):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
        environment = ENVIRONMENT | ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", TWO, str(dataset), str(run)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    ended = [process.communicate(timeout=200) for process in processes]
    assert [p.returncode for p in processes] == [0, 0], "\n".join(err[-2000:] for _, err in ended)
    return [out for out, _ in ended]


def test_two_processes_learn_what_one_learns_from_the_doubled_batch(tmp_path: Path) -> None:
    """Both stop where one of them was asked to, and both go on."""
    dataset = make_dataset(tmp_path / "dataset")
    train_tiny(even_config(4), dataset, tmp_path / "one")
    for said in run_two(dataset, tmp_path / "two"):
        assert "step 3 of 6" in said and "step 6 of 6" in said
    one, two = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert [line["step"] for line in two] == list(range(1, 7))
    for of_one, of_two in zip(one, two, strict=True):
        for name in ("loss", "silog", "lr", "epoch"):
            assert of_two[name] == pytest.approx(of_one[name], abs=1e-5), name
        # Sums in another order, which Adam's division by a small second moment makes larger.
        assert of_two["gradient_norm"] == pytest.approx(of_one["gradient_norm"], rel=1e-2)
    assert one[-1]["loss"] != pytest.approx(one[0]["loss"], abs=1e-3)
    assert (tmp_path / "two/model").exists()
