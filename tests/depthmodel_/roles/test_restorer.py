"""Supervised training of parts of the family: what is frozen, each loss, resume, bad input."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.config import AuxViewConfig, RestorationConfig
from nightrain.depthmodel.decoder_config import StrictConfig
from nightrain.depthmodel.losses.restoration import RestorerLoss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.roles.restorer import RestorerObjective, RestorerRole
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.loop import make_accelerator
from nightrain.depthmodel.training.metrics_log import read_metrics
from nightrain.depthmodel.training.optimiser import OptimiserConfig
from nightrain.depthmodel.training.trainer import Trainer
from support.synthetic import ingest_synthetic
from support.tiny_depth_models import tiny_config, tiny_model
from support.tiny_training import data, outcome, run_config, train_tiny
from support.training import RectifiedSource

CARD = ModelCard(title="tiny", description="For tests.", data_set="none")
SMALL = RestorationConfig(base_channels=8, multipliers=(1, 2), num_blocks=1)
STRICT = StrictConfig(hidden_channels=8, condition_channels=8)
VIEW = AuxViewConfig(
    max_disparity_px=24.0, descriptor_channels=4, attention_channels=8, attention_window=4
)
RATES = {"encoder": 1e-3, "restoration": 1e-3, "decoder": 1e-3, "auxview": 1e-3}


SIZE = (64, 48)  # 16 divides both, as the strict decoder asks for


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames with stereo partners; a plain network in ROOT/../base."""
    root = tmp_path_factory.mktemp("restorer") / "dataset"
    ingest_synthetic(root, RectifiedSource(10), frames_per_shard=4)
    tiny_model(seed=5, input_size=SIZE).save_pretrained(root.parent / "base", CARD)
    return root


def sized(**changes: Any) -> TrainingSetConfig:
    return data(lidar_depth=True, input_size=SIZE, loss_size=SIZE, **changes)


def restorer(
    root: Path, parts: dict[str, Any], role: dict[str, Any], **changes: Any
) -> TrainConfig:
    fields: dict[str, Any] = {"target": "lidar", "base": root.parent / "base"} | role
    shown = {"data": sized(stereo="auxview" in parts)}
    return run_config(
        RestorerRole(**fields),
        model=tiny_config(input_size=SIZE, **parts),
        optimiser=OptimiserConfig(lr=RATES, num_warmup_steps=2),
        **shown | changes,
    )


def begin(config: TrainConfig, root: Path, run: Path) -> tuple[Trainer, RestorerObjective]:
    trainer = Trainer(config, root, run, make_accelerator(config, "cpu"))
    assert isinstance(trainer.objective, RestorerObjective)
    return trainer, trainer.objective


def test_ten_steps_change_what_is_trained_and_no_bit_of_what_is_frozen(
    root: Path, tmp_path: Path
) -> None:
    config = restorer(
        root, {"restoration": SMALL}, {"frozen": ("encoder", "decoder")}, num_steps=10
    )
    trainer, objective = begin(config, root, tmp_path / "run")
    before = {k: t.clone() for k, t in objective.model.state_dict().items()}
    for _ in range(10):
        trainer.do_step()
    trainer.close()
    after, averaged = objective.model.state_dict(), trainer.weights()
    for name, tensor in after.items():
        if name.startswith("restoration.unet.") and name.endswith("weight"):
            assert not torch.equal(tensor, before[name]), name
        elif not name.startswith("restoration.unet."):
            assert torch.equal(tensor, before[name]), name
            assert torch.equal(averaged[f"depth.{name}"], before[name]), name


def test_it_starts_as_the_base_with_the_features_statistics(root: Path, tmp_path: Path) -> None:
    config = restorer(root, {"restoration": SMALL}, {})
    _, objective = begin(config, root, tmp_path / "run")
    base = DepthModel.from_pretrained(root.parent / "base")
    image = torch.rand(2, 3, SIZE[1], SIZE[0])
    model = objective.model.eval()
    assert torch.equal(model(image).inverse_depth, base(image).inverse_depth)
    restoration = model.restoration
    assert restoration is not None and restoration.is_calibrated
    assert not torch.equal(restoration.mean, torch.zeros_like(restoration.mean))


@pytest.mark.parametrize(
    ("parts", "role", "expected"),
    [
        ({}, {}, {"silog"}),
        ({"restoration": SMALL}, {}, {"silog", "deviation", "residual"}),
        ({}, {"loss": RestorerLoss(extra={"smoothness": 1e-3})}, {"silog", "smoothness"}),
        ({"auxview": VIEW}, {"frozen": ("encoder", "decoder")}, {"silog"}),
        (
            {"restoration": SMALL, "decoder": STRICT},
            {"loss": RestorerLoss(projected=0.1), "num_epochs_before_projection": 1},
            {"silog", "deviation", "residual", "projected"},
        ),
    ],
)
def test_each_member_trains_with_its_own_losses(
    parts: dict[str, Any], role: dict[str, Any], expected: set[str], root: Path, tmp_path: Path
) -> None:
    config = restorer(root, parts, role, num_steps=6, report_every=1)
    report = train_tiny(config, root, tmp_path / "run")
    assert report.status == "finished"
    lines = read_metrics(tmp_path / "run")
    assert expected <= lines[-1].keys()
    assert not ({"deviation", "residual", "projected"} - expected) & lines[-1].keys()
    if "projected" in expected:
        assert "projected" not in lines[0]  # the first epoch has none
    DepthModel.from_pretrained(tmp_path / "run" / "model")


def test_a_run_that_was_stopped_ends_as_one_that_was_not(root: Path, tmp_path: Path) -> None:
    parts = {"restoration": SMALL, "auxview": VIEW}
    config = restorer(root, parts, {}, num_steps=8, checkpoint_every=4)
    train_tiny(config, root, tmp_path / "whole")
    steps = iter(range(100))
    train_tiny(config, root, tmp_path / "parts", stopped=lambda: next(steps) >= 5)
    train_tiny(config, root, tmp_path / "parts")
    (whole, lines), (parted, parted_lines) = (outcome(tmp_path / n) for n in ("whole", "parts"))
    assert lines == parted_lines
    assert whole.keys() == parted.keys()
    for name, value in whole.items():
        same = torch.equal(value, parted[name]) if isinstance(value, torch.Tensor) else True
        assert same, name


@torch.no_grad()
def test_steps_drawn_for_supervision_make_up_for_those_left_out(root: Path, tmp_path: Path) -> None:
    """Untrained, and without noise, all four steps have one depth: three ways to draw two."""
    found: dict[int | None, set[float]] = {}
    for count in (None, 1, 2):
        config = restorer(
            root,
            {"restoration": SMALL.model_copy(update={"kappa": 0.0})},
            {"supervised_steps": count, "loss": RestorerLoss(deviation=0.0, residual=0.0)},
        )
        trainer, objective = begin(config, root, tmp_path / f"run-{count}")
        batch = next(trainer._batches)
        found[count] = {float(objective.train()(batch, 0).total) for _ in range(30)}
    (every,), (last,) = found[None], found[1]
    assert every == pytest.approx((0.512 + 0.64 + 0.8 + 1) * last, rel=1e-4)
    assert len(found[2]) == 3 and sum(found[2]) / 3 == pytest.approx(every, rel=1e-4)


@torch.no_grad()
def test_restoration_trains_with_noise_and_predicts_without(root: Path, tmp_path: Path) -> None:
    config = restorer(root, {"restoration": SMALL}, {})
    trainer, objective = begin(config, root, tmp_path / "run")
    restoration = objective.model.restoration
    assert restoration is not None and restoration.config.effective_kappa > 0
    torch.manual_seed(2)
    for parameter in restoration.unet.parameters():  # the untrained one ignores its input
        torch.nn.init.normal_(parameter, std=0.1)
    batch = next(trainer._batches)

    def losses(*seeds: int) -> set[float]:
        found = set()
        for seed in seeds:
            torch.manual_seed(seed)
            found.add(float(objective(batch, 0).total))
        return found

    objective.train()
    assert len(losses(0, 1, 2)) == 3 and len(losses(1, 1)) == 1
    objective.eval()
    assert len(losses(0, 1, 2)) == 1


@torch.no_grad()
def test_the_clear_loss_is_the_distance_to_the_clear_frames_features(
    root: Path, tmp_path: Path
) -> None:
    """An untrained restoration returns the features themselves at each of its steps."""
    loss = RestorerLoss(clear=2.0, deviation=0.0, residual=0.0)
    config = restorer(root, {"restoration": SMALL}, {"loss": loss}, data=sized(augmentation=None))
    trainer, objective = begin(config, root, tmp_path / "run")
    model = objective.model
    batch = dict(next(trainer._batches))
    assert torch.equal(batch["image"], batch["clear_image"])
    assert float(objective(batch, 0).parts["clear"]) == 0
    batch["image"] = 0.2 * batch["clear_image"]  # as at night
    found, size = objective(batch, 0), (SIZE[1], SIZE[0])
    night, clear = (model.packed(model.encode(batch[k]), size) for k in ("image", "clear_image"))
    assert model.restoration is not None
    expected = ((night - clear) / model.restoration.std[:, None, None]).square().mean()
    torch.testing.assert_close(found.parts["clear"], expected)
    torch.testing.assert_close(found.total, found.parts["silog"] + 2 * expected)


@torch.no_grad()
def test_views_are_hidden_as_often_as_asked(root: Path, tmp_path: Path) -> None:
    for hidden in (0.0, 1.0):
        config = restorer(root, {"auxview": VIEW}, {"aux_dropout": hidden})
        trainer, objective = begin(config, root, tmp_path / f"run-{hidden}")
        assert objective.model.auxview is not None
        torch.manual_seed(2)
        for parameter in objective.model.auxview.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        batch = next(trainer._batches)
        assert bool(batch["has_stereo"].any())
        found = objective.train()(batch, 0).total
        plain = objective({k: v for k, v in batch.items() if k != "stereo"}, 0).total
        assert torch.equal(found, plain) == (hidden == 1.0)


def test_a_batch_whose_views_are_all_hidden_has_gradients_of_zero(
    root: Path, tmp_path: Path
) -> None:
    """With everything but the view frozen, the loss would otherwise depend on no parameter."""
    frozen = {"aux_dropout": 1.0, "frozen": ("encoder", "decoder")}
    trainer, objective = begin(restorer(root, {"auxview": VIEW}, frozen), root, tmp_path / "run")
    trainer.do_step()
    trainer.close()
    assert objective.model.auxview is not None
    for parameter in objective.model.auxview.parameters():
        assert parameter.grad is not None and not bool(parameter.grad.any())


def test_a_batch_without_depth_has_a_finite_loss_of_zero_depth_error(
    root: Path, tmp_path: Path
) -> None:
    config = restorer(root, {"restoration": SMALL}, {})
    trainer, objective = begin(config, root, tmp_path / "run")
    batch = dict(next(trainer._batches))
    batch["lidar_depth_m"] = torch.zeros_like(batch["lidar_depth_m"])
    loss = objective(batch, 0)
    assert float(loss.parts["silog"]) == 0
    assert int(loss.statistics["images_without_depth"]) == len(batch["image"])
    loss.total.backward()
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_what_does_not_fit_together_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="only a strict decoder"):
        restorer(root, {"restoration": SMALL}, {"loss": RestorerLoss(projected=0.1)})
    clear = {"loss": RestorerLoss(clear=0.1)}
    with pytest.raises(ValidationError, match="only a network with restoration"):
        restorer(root, {}, clear)
    with pytest.raises(ValidationError, match=r"role\.frozen: .* if the encoder is frozen"):
        restorer(root, {"restoration": SMALL}, clear | {"frozen": ()})
    with pytest.raises(ValidationError, match="stereo partners"):
        restorer(root, {"auxview": VIEW}, {}, data=sized())
    with pytest.raises(ValidationError, match=r"data\.exact_depth"):
        restorer(root, {}, {"target": "exact"})
    wider = tiny_config("convnext", input_size=SIZE)
    other = restorer(root, {}, {}).model_copy(update={"model": wider})
    with pytest.raises(InvalidRequest, match="To start from another network"):
        begin(other, root, tmp_path / "run")
