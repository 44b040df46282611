"""Checkpoints: whole or absent, digests, the optimiser's state bit for bit, the average."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn
from torch.optim.swa_utils import AveragedModel

from nightrain.datasets.errors import DiskFull, InvalidRequest
from nightrain.datasets.io.process import Owner
from nightrain.depthmodel import tensor_file
from nightrain.depthmodel.training import checkpoint as module
from nightrain.depthmodel.training.checkpoint import (
    Checkpoint,
    checkpoints,
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    save_checkpoint,
)
from nightrain.depthmodel.training.metrics_log import METRICS, MetricsLog, read_metrics
from nightrain.depthmodel.training.optimiser import (
    OptimiserConfig,
    make_average,
    make_optimizer,
    set_rate,
)
from support.power_cut import Disk


def one(step: int) -> Checkpoint:
    values = torch.arange(4.0) + step
    return Checkpoint(step, {"sampler": {"seed": 1}}, {"networks": {"a": values}})


def test_a_checkpoint_comes_back_and_only_the_last_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, one(step), keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-0000002", "step-0000010"]
    read = load_checkpoint(checkpoints(tmp_path)[-1])
    assert read.step == 10 and read.facts == {"sampler": {"seed": 1}}
    assert torch.equal(read.parts["networks"]["a"], torch.arange(4.0) + 10)


def test_a_checkpoint_that_fails_half_way_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, one(1))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_file, "save_file", full)
    with pytest.raises(DiskFull):
        save_checkpoint(tmp_path, one(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000001"]
    assert load_checkpoint(tmp_path / "step-0000001").step == 1


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and their folder are synced before the rename, the parent folder after it."""
    events: list[str] = []
    sync, rename = os.fsync, os.rename

    def note_sync(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def note_rename(source: Path, target: Path) -> None:
        events.append(f"rename to {Path(target).name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    parts = {name: {"a": torch.zeros(2)} for name in ("networks", "average", "optimizer")}
    save_checkpoint(tmp_path / "checkpoints", Checkpoint(7, {}, parts))
    at = events.index("rename to step-0000007")
    draft = events[at - 1]
    assert draft.startswith(".step-0000007.draft-")
    files = {f"{name}.safetensors" for name in parts} | {"state.json"}
    assert set(events[at - 5 : at]) == files | {draft}
    assert events[at + 1 :] == ["checkpoints"]


def test_a_checkpoint_in_a_new_run_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path, monkeypatch)
    save_checkpoint(tmp_path / "run" / "checkpoints", one(7))
    survivor = disk.restore(tmp_path / "restored") / "run" / "checkpoints"
    disk.close()
    assert load_checkpoint(checkpoints(survivor)[-1]).step == 7


def test_files_can_be_read_by_those_whom_the_umask_allows(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        path = save_checkpoint(tmp_path, one(1))
    finally:
        os.umask(mask)
    assert {p.stat().st_mode & 0o777 for p in path.iterdir()} == {0o644}


def test_a_full_disk_that_safetensors_reports_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_file, "save_file", full)
    with pytest.raises(DiskFull):
        save_checkpoint(tmp_path, one(2))


def test_drafts_of_killed_processes_are_removed_by_the_next_save(tmp_path: Path) -> None:
    dead = replace(Owner.me(), pid=2**30).token()
    (tmp_path / f".step-0000009.draft-{dead}.00000000").mkdir()
    save_checkpoint(tmp_path, one(1))
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000001"]


def test_a_checkpoint_whose_removal_was_interrupted_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state goes first, so that no half of a checkpoint is taken for one."""
    save_checkpoint(tmp_path, one(1))
    monkeypatch.setattr(module, "remove", lambda _: None)  # killed here
    save_checkpoint(tmp_path, one(2), keep=1)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-0000002"]


@pytest.mark.parametrize("damage", ["flip", "cut", "no state", "no JSON"])
def test_damage_is_refused_in_words(tmp_path: Path, damage: str) -> None:
    path = save_checkpoint(tmp_path, one(3))
    file = path / "networks.safetensors"
    if damage == "flip":
        data = bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "no state":
        (path / "state.json").write_text(json.dumps({"step": 3}))
    else:
        (path / "state.json").write_text("{")
    with pytest.raises(InvalidRequest, match="Remove step-0000003"):
        load_checkpoint(path)


def test_no_flipped_bit_of_the_state_is_resumed_from(tmp_path: Path) -> None:
    """A changed step or sampler state would train on other samples without a word."""
    path = save_checkpoint(tmp_path, one(3))
    state = path / "state.json"
    data = state.read_bytes()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        state.write_bytes(flipped)
        with pytest.raises(InvalidRequest, match="Remove step-0000003"):
            load_checkpoint(path)
    state.write_bytes(data)
    assert load_checkpoint(path).step == 3


def trained(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        loss = module(torch.randn(4, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_an_optimiser_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def begin() -> tuple[nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(0)
        net = nn.Linear(3, 2)
        return net, make_optimizer({"decoder": list(net.parameters())}, OptimiserConfig())

    whole, optimizer = begin()
    trained(whole, optimizer, range(8))
    first, optimizer = begin()
    trained(first, optimizer, range(5))
    parts = {"net": dict(first.state_dict()), "optimizer": optimizer_tensors(optimizer)}
    read = load_checkpoint(save_checkpoint(tmp_path, Checkpoint(5, {}, parts)))
    second, optimizer = begin()
    second.load_state_dict(read.parts["net"])
    load_optimizer_tensors(optimizer, read.parts["optimizer"])
    trained(second, optimizer, range(5, 8))
    assert torch.equal(whole.weight, second.weight) and torch.equal(whole.bias, second.bias)


def test_rates_warm_up_and_fall_to_zero_and_biases_do_not_decay() -> None:
    config = OptimiserConfig(lr={"decoder": 0.1}, num_warmup_steps=10, weight_decay=0.5)
    assert config.rate(0, 100) == pytest.approx(0.1)
    assert config.rate(9, 100) == pytest.approx(0.91) and config.rate(50, 100) == 0.5
    assert config.rate(100, 100) == 0.0
    net = nn.Linear(3, 2)
    optimizer = make_optimizer({"decoder": list(net.parameters())}, config)
    set_rate(optimizer, 0.25)
    groups = {g["params"][0].ndim: g for g in optimizer.param_groups}
    assert groups[2]["weight_decay"] == 0.5 and groups[1]["weight_decay"] == 0.0
    assert all(g["lr"] == 0.025 for g in groups.values())


def test_the_average_follows_its_closed_form_and_copies_buffers() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = make_average(net, 0.9)
    expected = net[0].weight.detach().clone()
    torch.testing.assert_close(average.module[0].weight, expected)
    for step in range(1, 40):
        with torch.no_grad():
            net[0].weight.fill_(float(step))
            net[1].running_mean.fill_(float(step))  # type: ignore[union-attr]
        average.update_parameters(net)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        torch.testing.assert_close(average.module[0].weight, expected)
    assert torch.equal(average.module[1].running_mean, torch.full((2,), 39.0))


def test_an_average_resumes_bit_for_bit(tmp_path: Path) -> None:
    def step(net: nn.Linear, average: AveragedModel, number: int) -> None:
        with torch.no_grad():
            net.weight.fill_(1.0 / number)
        average.update_parameters(net)

    torch.manual_seed(0)
    net = nn.Linear(2, 2)
    whole = make_average(net, 0.9)
    for number in range(1, 9):
        step(net, whole, number)
        if number == 5:
            parts = {"average": dict(whole.state_dict())}
            path = save_checkpoint(tmp_path, Checkpoint(5, {}, parts))
    resumed = make_average(nn.Linear(2, 2), 0.9)
    resumed.load_state_dict(load_checkpoint(path).parts["average"])
    for number in range(6, 9):
        step(net, resumed, number)
    assert torch.equal(whole.module.weight, resumed.module.weight)
    with pytest.raises(RuntimeError):
        make_average(nn.Linear(3, 2), 0.9).load_state_dict(parts["average"])


@pytest.mark.parametrize("last", ["", '{"step": 30, "lo', "\0\0\0", '{"step": 30'])
def test_only_an_incomplete_last_line_of_a_log_is_left_out(tmp_path: Path, last: str) -> None:
    (tmp_path / METRICS).write_text('{"step": 10}\n{"step": 20}\n' + last)
    assert [line["step"] for line in read_metrics(tmp_path)] == [10, 20]
    MetricsLog(tmp_path, first_step=20)
    assert (tmp_path / METRICS).read_text() == '{"step": 10}\n{"step": 20}\n'


@pytest.mark.parametrize(
    "line", ['{"step": 20, "lo', "", "[]", "7", '{"loss": 1}', "\0", "[" * 5000]
)
def test_any_other_damaged_line_of_a_log_is_one_sentence(tmp_path: Path, line: str) -> None:
    (tmp_path / METRICS).write_text('{"step": 10}\n' + line + '\n{"step": 30}\n')
    for read in (read_metrics, lambda folder: MetricsLog(folder, first_step=20)):
        with pytest.raises(InvalidRequest, match=r"metrics.jsonl, line 2: .*Restore the file"):
            read(tmp_path)


def test_a_log_goes_on_behind_the_checkpoint_and_holds_no_nan(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, first_step=0)
    for step in (10, 20, 30):
        log.report(step, {"loss": 1.0 / step})
    with open(tmp_path / METRICS, "a") as file:
        file.write('{"step": 40, "lo')  # killed while it wrote
    log = MetricsLog(tmp_path, first_step=20)
    log.report(30, {"loss": float("nan")})
    assert [line["step"] for line in read_metrics(tmp_path)] == [10, 20, 30]
    assert read_metrics(tmp_path)[-1]["loss"] is None
