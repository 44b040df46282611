"""`nightrain train` with --config and --set, `nightrain preset`, and parts of the user's own."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nightrain.datasets.io.record import read_record
from nightrain.depthmodel.config import IMAGENET_EFFICIENTNET
from nightrain.depthmodel.network import efficientnet
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.training.metrics_log import read_metrics
from nightrain.depthmodel.training.preset_registry import PRESETS
from nightrain.flows.cli import main
from support.tiny_depth_models import published
from support.tiny_training import lidar_teacher, make_dataset, student
from support.training import add_labels

MODULE = '''
import torch
from torch import nn

from nightrain.depthmodel.decoders.base import Decoder
from nightrain.depthmodel.losses.base import LossTerm, TermValue
from nightrain.depthmodel.network.model import DepthPrediction
from nightrain.depthmodel.network.own_network import OwnNetwork
from nightrain.depthmodel.roles.teacher import TeacherRole
from support.own_encoder import Pyramid


class Linear(Decoder):
    def __init__(self, encoder, depths):
        super().__init__(encoder, depths)
        self.leave = nn.Conv2d(encoder.channels[0], 1, 1)

    def forward(self, maps, size):
        return 1 / (self.depths.initial_m * self.leave(maps[0]).exp())


class Nearness(LossTerm):
    def __call__(self, inputs):
        return TermValue(inputs.inverse_depth.mean())


class Own(TeacherRole):
    def card_words(self, data):
        return "Of my own."


class Whole(OwnNetwork):
    """A network of one convolution."""

    def __init__(self, config, width=4):
        super().__init__(config)
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 1, 1))

    def forward(self, image, aux=None, *, generator=None):
        depth_m = self.config.initial_depth_m * self.body(image).exp()
        return DepthPrediction(1 / depth_m, (), ())


class Odd(Pyramid):
    """Its maps do not have the channels that it states."""

    def forward(self, image):
        return tuple(m[:, :2] for m in super().forward(image))
'''


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_dataset(tmp_path_factory.mktemp("config") / "dataset")
    add_labels(root)
    return root


@pytest.fixture(autouse=True)
def tiny_presets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "my_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    monkeypatch.setitem(PRESETS, "world-lidar-teacher", lambda: lidar_teacher(num_steps=2))
    monkeypatch.setitem(PRESETS, "world-student", lambda: student(num_steps=2))
    yield


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, and both outputs on one line each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nightrain", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, " ".join(captured.err.split())


def local(run: Path) -> tuple[object, ...]:
    return "--out", run, "--runner", "local", "--device", "cpu"


def test_a_printed_preset_trains_as_the_preset_does(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = call(capsys, "preset", "world-student", "--set", "seed=3")
    assert code == 0 and yaml.safe_load(text)["role"]["kind"] == "student"
    (tmp_path / "run.yaml").write_text(text)
    code, out, _ = call(
        capsys, "train", "--config", tmp_path / "run.yaml", root, *local(tmp_path / "a")
    )
    assert code == 0 and "step 2 of 2" in out
    assert call(capsys, "train", "world-student", root, *local(tmp_path / "b"), "--seed", 3)[0] == 0
    digests = {DepthModel.from_pretrained(tmp_path / n / "model").digest for n in "ab"}
    assert len(digests) == 1
    record = tmp_path / "a" / "run.json"  # and so does the record of a run
    code, out, _ = call(capsys, "train", "--config", record, root, *local(tmp_path / "c"))
    assert code == 0 and f"model {digests.pop()}" in " ".join(out.split())


def test_the_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(capsys, "preset")
    assert code == 0 and text.split() == list(PRESETS)


def test_options_win_over_set_which_wins_over_the_file(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, run = tmp_path / "run.yaml", tmp_path / "run"
    path.write_text(
        "preset: world-lidar-teacher\nnum_steps: 9\nbatch_size: 4\noptimiser: {clip_norm: 7}\n"
    )
    options = ("--set", "num_steps=8", "--set", "batch_size=2", "--steps", 1)
    lr = ("--set", "optimiser.lr.head=3e-4")
    assert call(capsys, "train", "--config", path, root, *local(run), *options, *lr)[0] == 0
    config = read_record(run / "run.json", "run", "run")["config"]
    assert (config["num_steps"], config["batch_size"]) == (1, 2)
    assert config["optimiser"]["clip_norm"] == 7 and config["optimiser"]["lr"]["decoder"] == 3e-4


def test_encoder_decoder_loss_and_role_of_ones_own_train(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = (
        "role.kind=my_parts:Own",
        "role.supervision=lidar",
        "role.loss={photometric: 0, smoothness: 0, velocity: 0, silog: 1}",
        'role.loss.extra={"my_parts:Nearness": 0.5}',
        "model.encoder.kind=my_parts:Pyramid",
        "model.encoder.options.width=4",
        "model.decoder.kind=my_parts:Linear",
    )
    options = [x for part in parts for x in ("--set", part)]
    run = tmp_path / "run"
    code, _, err = call(capsys, "train", "world-lidar-teacher", root, *local(run), *options)
    assert code == 0, err
    (line,) = read_metrics(run)
    assert line["my_parts:Nearness"] > 0
    config = DepthModel.from_pretrained(run / "model").config
    assert config.encoder.kind == "my_parts:Pyramid" and config.encoder.options == {"width": 4}
    assert config.decoder.kind == "my_parts:Linear"
    assert "Of my own." in (run / "model" / "README.md").read_text()


def test_a_whole_network_of_ones_own_trains_labels_and_is_scored(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ("model.network=my_parts:Whole", "model.network_options.width=6")
    options = [x for p in (*parts, "optimiser.lr.body=1e-3") for x in ("--set", p)]
    run = tmp_path / "run"
    code, _, err = call(capsys, "train", "world-lidar-teacher", root, *local(run), *options)
    assert code == 0, err
    model = DepthModel.from_pretrained(run / "model")
    assert type(model).__name__ == "Whole" and model.config.network_options == {"width": 6}
    assert [len(p) for p in model.parameters()] == [6, 6, 1, 1]
    assert "my_parts:Whole" in (run / "model" / "README.md").read_text()
    teach = ("--set", "role.teacher=null", *options)
    code, _, err = call(capsys, "train", "world-student", root, *local(tmp_path / "s"), *teach)
    assert code == 0, err
    scored = ("evaluate", run / "model", root, "--split", "all", "--out", tmp_path / "scores")
    code, out, err = call(capsys, *scored)
    assert code == 0 and "day-clear" in out, err


def test_changed_and_absent_weights_of_a_package_are_one_sentence(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = '{kind: efficientnet, size: lite0, pretrained: {id_or_folder: "PACKAGE"}}'
    encoder = encoder.replace("PACKAGE", IMAGENET_EFFICIENTNET.id_or_folder)
    options = ("--set", f"model.encoder={encoder}")
    where = ("train", "world-lidar-teacher", root, *local(tmp_path / "run"), *options)
    own = efficientnet.PACKAGED["lite0"]
    with monkeypatch.context() as patch:
        patch.setitem(efficientnet.PACKAGED, "lite0", replace(own, sha256="0" * 64))
        code, out, err = call(capsys, *where)
    assert code == 2 and "is changed: its sha256 is" in err and not out
    with monkeypatch.context() as patch:
        patch.setitem(efficientnet.PACKAGED, "lite0", replace(own, package="efficientnet_absent"))
        code, out, err = call(capsys, *where)
    assert code == 2 and "The package efficientnet-absent is not installed" in err and not out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.encoder.size=huge", "no resnet of size 'huge': 18, 50"),
        ("model.encoder={kind: swin, size: test, pretrained: {id_or_folder: FOLDER}}", "of type"),
        ("model.encoder={kind: resnet, size: '18', pretrained: {id_or_folder: FOLDER}}", "of size"),
        ("model.encoder={kind: dinov2, size: test}", "the sides must be multiples of DINOv2's"),
        ("model.network=my_parts:Pyramid", "is not a subclass of"),
        ("model.network=no_module:Net", "the module no_module cannot be imported"),
        ("model.network=my_parts:Whole", "optimiser.lr has no rate for 'body'"),
        ("model.network_options={a: 1}", "they belong to a network of your own"),
        ("model.encoder.kind=my_parts:Linear", "is not a subclass of"),
        ("model.encoder.kind=no_module:Encoder", "the module no_module cannot be imported"),
        ("model.encoder.kind=my_parts:Odd", "returns maps of 2 x 16 x 16, 2 x 8"),
        ("model.decoder.kind=my_parts:Pyramid", "is not a subclass of"),
        ("model.decoder.kind=my_parts:Absent", "the module my_parts has no Absent"),
        ("role.kind=my_parts:Nearness", "is not a subclass of"),
        ("role.kind=no_module:Role", "the module no_module cannot be imported"),
        ('role.loss.extra={"my_parts:Own": 1}', "is not a subclass of"),
        ('role.loss.extra={"no_module:Loss": 1}', "the module no_module cannot be imported"),
        ("optimiser.lr.hed=1e-3", "optimiser.lr has 'hed'; this run trains encoder, decoder"),
        ("model.restoration={base_channels: 8}", "optimiser.lr has no rate for 'restoration'"),
        ("optimiser.clipnorm=1", "expected clip_norm"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_exit_code_two(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    assignment: str,
    message: str,
) -> None:
    run = tmp_path / "run"
    if "FOLDER" in assignment:
        assignment = assignment.replace("FOLDER", str(published(tmp_path / "encoder", "resnet")))
    where = ("train", "world-lidar-teacher", root, *local(run), "--set", assignment)
    code, out, err = call(capsys, *where)
    assert code == 2 and message in err and "Traceback" not in err and not out
    assert not run.exists()


def test_a_command_without_preset_and_config_says_so(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "train", root, *local(tmp_path / "run"))
    assert code == 2 and "found neither PRESET nor --config; name one" in err
    (tmp_path / "run.yaml").write_text("preset: world-base\n")
    both = ("train", "world-student", root, "--config", tmp_path / "run.yaml")
    code, _, err = call(capsys, *both, *local(tmp_path / "run"))
    assert code == 2 and "found the preset 'world-student' and" in err
