"""Training that is killed for good, and training in two processes."""

import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from nightrain.depthmodel.training.checkpoint import checkpoints
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.metrics_log import read_metrics
from support.processes import DEADLINE_S, free_port, start, wait_until
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


def train_slowly(dataset: Path, run: Path) -> None:
    config = video_teacher(num_steps=30)
    train_tiny(config, dataset, run, on_step=lambda _done, _total: time.sleep(0.05))


def wait_for_line(run: Path, step: int, process: BaseProcess) -> None:
    """Until the log names a step; metrics of the steps after the last checkpoint are lost."""

    def is_there() -> bool:
        assert process.is_alive()
        return any(line["step"] >= step for line in read_metrics(run))

    wait_until(is_there, f"step {step} in the log")


def test_sigkill_loses_nothing_that_a_checkpoint_held(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset")
    whole, run = tmp_path / "whole", tmp_path / "run"
    config = video_teacher(num_steps=30)
    assert train_tiny(config, dataset, whole).status == "finished"
    for step in (6, 18):
        process = start(train_slowly, dataset, run)
        wait_for_line(run, step, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert checkpoints(run / "checkpoints") and not (run / "model").exists()
    assert (run / "_leases/run.lease").exists()  # the dead one's, which keeps nobody out
    assert train_tiny(config, dataset, run).status == "finished"
    (found, lines), (expected, expected_lines) = outcome(run), outcome(whole)
    assert lines == expected_lines and found.keys() == expected.keys()
    differing = [n for n, v in expected.items() if n != "step" and not bool((found[n] == v).all())]
    assert not differing


def train_as_a_rank(dataset: Path, run: Path, said: Path) -> None:
    """Train to a stop and then to the end, and note the reports; rank 0 stops after 3 steps."""
    seen: list[int] = []

    def stopped() -> bool:
        seen.append(1)
        return os.environ["RANK"] == "0" and len(seen) > 3

    for stop in (stopped, lambda: False):
        report = train_tiny(even_config(2), dataset, run, stopped=stop)
        with said.open("a") as file:
            file.write(f"{report.line}\n")


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
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    said, processes = [], []
    for rank in ("0", "1"):
        said.append(run.with_name(f"said-{rank}.txt"))
        environment = together | {"RANK": rank, "LOCAL_RANK": rank}
        processes.append(start(train_as_a_rank, dataset, run, said[-1], environment=environment))
    for process in processes:
        process.join(DEADLINE_S)
    assert [process.exitcode for process in processes] == [0, 0]
    return [path.read_text() for path in said]


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
