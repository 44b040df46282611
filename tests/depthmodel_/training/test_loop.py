"""The training loop: runs that go on bit for bit, refusals, numbers that are not finite."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.record import read_record
from nightrain.datasets.shards.leases import Lease
from nightrain.depthmodel.losses.weighted_sum import NonFiniteLoss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import read_card
from nightrain.depthmodel.network.pose import PoseNet
from nightrain.depthmodel.training import trackers
from nightrain.depthmodel.training.checkpoint import checkpoints, load_checkpoint
from nightrain.depthmodel.training.loop import make_accelerator
from nightrain.depthmodel.training.metrics_log import Means, read_metrics
from nightrain.depthmodel.training.trainer import Trainer
from support.tiny_training import (
    POSE,
    lidar_teacher,
    make_dataset,
    outcome,
    train_tiny,
    video_teacher,
)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("frames") / "dataset")


@pytest.fixture(scope="module")
def whole(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 steps that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    report = train_tiny(video_teacher(), frames, run)
    assert report.status == "finished" and report.step == 12 and report.num_frames == 10
    return run


def test_a_finished_run_records_its_model_and_what_it_left_out(whole: Path) -> None:
    result = read_record(whole / "result.json", "result", "the result of a run")
    assert {name: result[name] for name in ("step", "num_uncontrolled")} == {
        "step": 12,
        "num_uncontrolled": 0,
    }
    assert result["digest"] == DepthModel.from_pretrained(whole / "model").digest


def assert_same(run: Path, whole: Path) -> None:
    (found, lines), (expected, expected_lines) = outcome(run), outcome(whole)
    assert found.keys() == expected.keys() and len(expected) > 50
    differing = [
        name
        for name, value in expected.items()
        if not (torch.equal(found[name], value) if name != "step" else found[name] == value)
    ]
    assert not differing
    assert lines == expected_lines and [m["step"] for m in lines] == [2, 4, 6, 8, 10, 12]


class Killed(Exception):
    """What takes the place of a signal."""


def killer(at: int) -> Any:
    def on_step(done: int, _total: int) -> None:
        if done == at:
            raise Killed

    return on_step


def stopped_after(step: int) -> dict[str, Any]:
    steps: list[int] = []
    return {
        "on_step": lambda done, _: steps.append(done),
        "stopped": lambda: steps[-1:] == [step],
    }


# A run that was interrupted


@pytest.mark.parametrize("stops", [(5,), (6,), (1, 4, 11)])  # 3 steps are an epoch
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    frames: Path, whole: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    for stop in stops:
        report = train_tiny(video_teacher(), frames, tmp_path / "run", **stopped_after(stop))
        assert report.stopped and report.step == stop and "run it again" in report.line
        assert load_checkpoint(checkpoints(tmp_path / "run/checkpoints")[-1]).step == stop
    assert train_tiny(video_teacher(), frames, tmp_path / "run").status == "finished"
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("step", [2, 7, 9, 12])  # the last checkpoint is at 0, 4, 8 and 12
def test_a_run_that_died_between_checkpoints_ends_as_one_that_did_not(
    frames: Path, whole: Path, tmp_path: Path, step: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train_tiny(video_teacher(), frames, run, on_step=killer(step))
    report = train_tiny(video_teacher(), frames, run)
    assert (
        report.status == "finished"
        and report.digest == DepthModel.from_pretrained(run / "model").digest
    )
    assert_same(run, whole)


def test_workers_change_nothing_not_even_in_the_middle(
    frames: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_tiny(video_teacher(num_workers=1), frames, run, **stopped_after(5))
    train_tiny(video_teacher(num_workers=0), frames, run, **stopped_after(10))
    train_tiny(video_teacher(num_workers=1), frames, run)
    assert_same(run, whole)


def test_another_seed_is_another_run(frames: Path, whole: Path, tmp_path: Path) -> None:
    train_tiny(video_teacher(seed=1), frames, tmp_path / "run")
    found, expected = outcome(tmp_path / "run")[0], outcome(whole)[0]
    assert not torch.equal(
        found["networks.depth.decoder.logit.weight"],
        expected["networks.depth.decoder.logit.weight"],
    )


def test_means_go_on_to_the_last_bit_through_json() -> None:
    whole, first = Means(), Means()
    values = [{"loss": 0.1 * k, "seen": 1 / (k + 3)} for k in range(5)]
    for value in values:
        whole.add(value)
    for value in values[:2]:
        first.add(value)
    second = Means(json.loads(json.dumps(first.state_dict())))
    for value in values[2:]:
        second.add(value)
    means = second.take()
    assert means == whole.take() and means["loss"] == pytest.approx(0.2)
    assert second.state_dict() == {"num_steps": 0, "sums": {}}


# What a run leaves


def test_a_finished_run_says_so_and_does_nothing(frames: Path, whole: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    report = train_tiny(video_teacher(), frames, whole, on_step=killer(1))
    assert report.status == "already" and "already finished" in report.line
    assert report.digest == DepthModel.from_pretrained(whole / "model").digest
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()} == before


def test_the_model_is_the_average_and_its_card_says_what_made_it(frames: Path, whole: Path) -> None:
    last = load_checkpoint(checkpoints(whole / "checkpoints")[-1])
    model = DepthModel.from_pretrained(whole / "model")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, last.parts["average"][f"module.depth.{name}"])
    assert not torch.equal(
        model.decoder.logit.weight, last.parts["networks"]["depth.decoder.logit.weight"]
    )
    card = read_card(whole / "model")
    assert card.data_set.startswith("dataset, frames ") and card.seed == 0
    assert "frames from video" in card.description


def test_the_pose_network_lies_beside_the_model_and_loads(whole: Path) -> None:
    last = load_checkpoint(checkpoints(whole / "checkpoints")[-1])
    random_state = torch.get_rng_state()
    pose = PoseNet.from_pretrained(whole / "pose")
    assert torch.equal(torch.get_rng_state(), random_state) and not pose.training
    assert pose.config == POSE
    for name, tensor in pose.state_dict().items():
        assert torch.equal(tensor, last.parts["average"][f"module.pose.{name}"])


@pytest.mark.parametrize("damage", ["no folder", "no weights", "cut", "other size", "other config"])
def test_a_damaged_pose_network_is_refused(whole: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "pose"
    if damage != "no folder":
        shutil.copytree(whole / "pose", folder)
    config, weights = folder / "config.json", folder / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-8])
    elif damage == "other size":
        other = POSE.model_copy(update={"hidden_channels": 8})
        PoseNet(other).save_pretrained(tmp_path / "other")
        shutil.copy(tmp_path / "other/config.json", config)
    elif damage == "other config":
        config.write_text(config.read_text().replace("0.01", "0.02", 1))
    with pytest.raises(InvalidRequest, match="pose"):
        PoseNet.from_pretrained(folder)


def test_pictures_are_written_and_change_nothing(frames: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_tiny(video_teacher(pictures_every=5), frames, run)
    assert [p.name for p in sorted((run / "pictures").iterdir())] == [
        "step-0000005.png",
        "step-0000010.png",
    ]
    assert_same(run, whole)


def test_a_process_may_train_in_another_precision_after(frames: Path, tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16", "float32"):
        config = lidar_teacher(num_steps=1, precision=precision)
        train_tiny(config, frames, tmp_path / f"{precision}-{len(list(tmp_path.iterdir()))}")
    first, middle, last = (
        read_metrics(run)[0]["loss"]
        for run in sorted(tmp_path.iterdir(), key=lambda p: p.name.rpartition("-")[2])
    )
    assert first == last and first != middle and middle == pytest.approx(first, rel=0.05)


# A run that is continued beyond its end


def test_more_steps_continue_a_finished_run_at_the_longer_runs_rates(
    frames: Path, whole: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    longer, first = video_teacher(num_steps=18), read_metrics(run)
    with pytest.raises(Killed):
        train_tiny(longer, frames, run, on_step=killer(15))
    assert not (run / "result.json").exists()  # the shorter run's
    with pytest.raises(InvalidRequest, match=r"config\.num_steps was 18, is 12"):
        train_tiny(video_teacher(), frames, run)
    report = train_tiny(longer, frames, run)
    assert report.status == "finished" and report.step == 18
    lines = read_metrics(run)
    assert lines[: len(first)] == first and [m["step"] for m in lines[len(first) :]] == [14, 16, 18]
    for line in lines[len(first) :]:  # logged before the step is counted
        assert line["lr"] == pytest.approx(1e-3 * (1 - (line["step"] - 1) / 18))
    stored = read_record(run / "run.json", "run", "run")
    assert stored["config"]["num_steps"] == 18
    assert stored["extended"] == [{"num_steps": 12, "at_step": 12}]
    assert "Continued from step 12 of 12 to 18 steps" in read_card(run / "model").description
    assert train_tiny(longer, frames, run).status == "already"


def test_a_continued_run_is_the_same_however_it_is_interrupted(
    frames: Path, whole: Path, tmp_path: Path
) -> None:
    runs = [Path(shutil.copytree(whole, tmp_path / name)) for name in ("one", "two")]
    train_tiny(video_teacher(num_steps=16), frames, runs[0])
    train_tiny(video_teacher(num_steps=16), frames, runs[1], **stopped_after(13))
    train_tiny(video_teacher(num_steps=16), frames, runs[1])
    (found, lines), (expected, expected_lines) = outcome(runs[1]), outcome(runs[0])
    assert lines == expected_lines
    assert all(bool((found[n] == v).all()) for n, v in expected.items() if n != "step")


# Trackers


def test_tensorboard_gets_what_the_log_gets_once(frames: Path, whole: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, config = tmp_path / "run", video_teacher(tracker="tensorboard")
    train_tiny(config, frames, run, **stopped_after(7))
    train_tiny(config, frames, run)
    assert_same(run, whole)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == pytest.approx({line["step"]: line["loss"] for line in read_metrics(run)})


def test_a_tracker_that_is_not_installed_is_one_sentence(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequest, match=r"'wandb' needs the package wandb.*pip install wandb"):
        train_tiny(lidar_teacher(tracker="wandb"), frames, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 11}, r"config.num_steps was 12, is 11"),
        ({"seed": 4}, r"config.seed was 0, is 4"),
        ({"average_decay": None}, r"config.average_decay was 0.9, is None"),
    ],
)
def test_the_same_folder_with_other_settings_is_refused(
    frames: Path, whole: Path, changes: dict[str, Any], message: str
) -> None:
    before = outcome(whole)[1]
    with pytest.raises(InvalidRequest, match=message):
        train_tiny(video_teacher(**changes), frames, whole)
    assert outcome(whole)[1] == before


@pytest.mark.parametrize(
    ("name", "advice"),
    [("run.json", "Restore it from a copy"), ("result.json", "the last checkpoint gives it anew")],
)
@pytest.mark.parametrize("how", ["changed", "cut", "empty"])
def test_a_damaged_record_of_a_run_is_one_sentence(
    frames: Path, whole: Path, tmp_path: Path, name: str, advice: str, how: str
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    text = (run / name).read_text()
    changed = {"changed": text.replace("1", "2", 1), "cut": text[: len(text) // 2], "empty": ""}
    (run / name).write_text(changed[how])
    with pytest.raises(
        InvalidRequest, match=rf"{name} is not a valid (run|result) record: .*{advice}"
    ):
        train_tiny(video_teacher(), frames, run)
    if name == "result.json":
        (run / name).unlink()
        assert train_tiny(video_teacher(), frames, run).status == "finished"
        assert (run / name).read_text() == text


def test_the_same_folder_with_other_data_is_refused(whole: Path, tmp_path: Path) -> None:
    other = make_dataset(tmp_path / "dataset", num_frames=9)
    with pytest.raises(InvalidRequest, match=r"other settings or data: tables\.frames was"):
        train_tiny(video_teacher(), other, whole)
    other.rename(tmp_path / "other")
    with pytest.raises(InvalidRequest, match="dataset was dataset, is other"):
        train_tiny(video_teacher(), tmp_path / "other", whole)


def test_a_run_that_cannot_begin_leaves_its_folder_to_others(frames: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(
        InvalidRequest,
        match="10 samples for each of 1 processes, expected at least a batch of 11",
    ):
        train_tiny(video_teacher(batch_size=11), frames, run)
    assert train_tiny(lidar_teacher(num_steps=1), frames, run).status == "finished"


def test_a_second_process_at_the_same_run_is_refused(frames: Path, tmp_path: Path) -> None:
    run, config, tried = tmp_path / "run", lidar_teacher(num_steps=3), list[int]()

    def second(done: int, _total: int) -> None:
        tried.append(done)
        with pytest.raises(InvalidRequest, match="another process trains in"):
            train_tiny(config, frames, run)

    assert train_tiny(config, frames, run, on_step=second).status == "finished" and len(tried) == 3
    lease = Lease.take(run, "run")  # the first one gave it back
    assert lease is not None


def test_a_damaged_checkpoint_is_refused_and_the_one_before_goes_on(
    frames: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train_tiny(video_teacher(), frames, run, on_step=killer(9))
    last = checkpoints(run / "checkpoints")[-1]
    file = last / "networks.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(InvalidRequest, match="Remove step-0000008 to resume"):
        train_tiny(video_teacher(), frames, run)
    shutil.rmtree(last)
    train_tiny(video_teacher(), frames, run)
    assert_same(run, whole)


def test_a_checkpoint_of_another_network_is_refused(frames: Path, tmp_path: Path) -> None:
    for name, config in (("a", lidar_teacher()), ("b", video_teacher())):
        with pytest.raises(Killed):
            train_tiny(config, frames, tmp_path / name, on_step=killer(5))
    shutil.rmtree(tmp_path / "a/checkpoints")
    shutil.copytree(tmp_path / "b/checkpoints", tmp_path / "a/checkpoints")
    with pytest.raises(InvalidRequest, match="is a checkpoint of another network"):
        train_tiny(lidar_teacher(), frames, tmp_path / "a")


# What is not finite


@pytest.fixture
def trainer(frames: Path, tmp_path: Path) -> Iterator[Trainer]:
    """A run after a step, with a checkpoint of it."""
    config = video_teacher(checkpoint_every=1, report_every=1)
    trainer = Trainer(config, frames, tmp_path / "run", make_accelerator(config, "cpu"))
    trainer.do_step()
    yield trainer
    trainer.close()


def parameters_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    networks = trainer.objective.trained
    return {name: p.detach().clone() for name, p in networks.named_parameters()}


def assert_untouched(trainer: Trainer, before: dict[str, torch.Tensor]) -> None:
    for name, parameter in parameters_of(trainer).items():
        torch.testing.assert_close(parameter, before[name], rtol=0, atol=0, equal_nan=True)
    (last,) = checkpoints(trainer.run / "checkpoints")
    parts = load_checkpoint(last).parts
    assert all(bool(t.isfinite().all()) for part in parts.values() for t in part.values())
    (line,) = read_metrics(trainer.run)
    assert line["step"] == 1 and "NaN" not in (trainer.run / "metrics.jsonl").read_text()
    assert all(value is not None for value in line.values())


def test_a_network_of_nan_is_named_and_nothing_is_written(trainer: Trainer) -> None:
    with torch.no_grad():
        trainer.objective.model.decoder.logit.weight.fill_(float("nan"))
    before = parameters_of(trainer)
    with pytest.raises(
        NonFiniteLoss, match=r"smoothness is not finite.*output .* for [0-9a-f]{20}"
    ):
        trainer.do_step()
    assert_untouched(trainer, before)


def test_a_picture_of_nan_is_named(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = next(trainer._batches)
    batch["image"][1, :, 3, 4] = float("nan")
    monkeypatch.setattr(trainer, "_batches", iter([batch]))
    before = parameters_of(trainer)
    with pytest.raises(NonFiniteLoss) as raised:
        trainer.do_step()
    assert batch["sample_id"][1] in str(raised.value)
    assert_untouched(trainer, before)


def test_a_gradient_of_nan_takes_no_step_although_the_loss_is_finite(trainer: Trainer) -> None:
    trainer.objective.model.decoder.logit.weight.register_hook(lambda g: g * float("nan"))
    before = parameters_of(trainer)
    with pytest.raises(NonFiniteLoss, match=r"gradient's norm is nan.*samples: [0-9a-f]{20}"):
        trainer.do_step()
    assert_untouched(trainer, before)


# What is learned


def test_the_loss_of_one_batch_falls(tmp_path: Path) -> None:
    one_batch = make_dataset(tmp_path / "dataset", num_frames=3)
    shown = lidar_teacher().data.model_copy(update={"augmentation": None})
    config = lidar_teacher(num_steps=60, report_every=1, checkpoint_every=60, data=shown)
    train_tiny(config, one_batch, tmp_path / "run")
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    assert losses[-1] < 0.5 * losses[0], losses


def test_lidar_needs_no_neighbours_and_names_its_parts(frames: Path, tmp_path: Path) -> None:
    train_tiny(lidar_teacher(num_steps=2), frames, tmp_path / "run")
    (line,) = read_metrics(tmp_path / "run")
    assert line["loss"] == pytest.approx(line["silog"]) and line["images_without_depth"] == 0
    assert not (tmp_path / "run/pose").exists()


# Compiled networks


def compiled_loss(frames: Path, run: Path) -> float:
    train_tiny(lidar_teacher(compile=True, num_steps=2, report_every=1), frames, run)
    return read_metrics(run)[-1]["loss"]


def test_a_compiled_run_learns_the_same(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the traced graph run as it is, since compiling it takes minutes of one core."""
    seen: list[int] = []

    def as_traced(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        seen.append(len(graph.graph.nodes))
        return graph.forward

    torch.compiler.reset()
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module: compile_module(module, backend=as_traced)
    )
    train_tiny(lidar_teacher(num_steps=2, report_every=1), frames, tmp_path / "plain")
    plain = read_metrics(tmp_path / "plain")[-1]["loss"]
    assert compiled_loss(frames, tmp_path / "run") == pytest.approx(plain, rel=1e-5)
    assert seen and max(seen) > 50
    assert DepthModel.from_pretrained(tmp_path / "run/model").config == lidar_teacher().model


@pytest.mark.campaign
def test_a_run_compiled_by_inductor_learns_the_same(frames: Path, tmp_path: Path) -> None:
    train_tiny(lidar_teacher(num_steps=2, report_every=1), frames, tmp_path / "plain")
    plain = read_metrics(tmp_path / "plain")[-1]["loss"]
    assert compiled_loss(frames, tmp_path / "run") == pytest.approx(plain, rel=1e-3)
