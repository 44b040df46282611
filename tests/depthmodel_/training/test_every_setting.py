"""Settings that studies need, each by `--set` on a plain run: it trains, and it takes effect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nightrain.depthmodel.auxview.search import WindowSearch
from nightrain.depthmodel.decoders.strict import StrictDecoder
from nightrain.depthmodel.losses.mixtures import StudentLoss
from nightrain.depthmodel.roles.restorer import RestorerRole
from nightrain.depthmodel.roles.student import StudentObjective
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.config_changes import fields_of, parsed, with_set
from nightrain.depthmodel.training.loop import make_accelerator
from nightrain.depthmodel.training.trainer import Trainer
from support.synthetic import ingest_synthetic, recipe
from support.tiny_depth_models import published, save_teacher, tiny_config
from support.tiny_training import data, label_as, make_dataset, run_config, student
from support.training import RectifiedSource, add_variants

SIZE = (64, 32)  # multiples of 16, for the strict decoder
STEPS = 2

Effect = Callable[[Trainer], bool]
RESTORED = (
    "model.restoration={base_channels: 8, multipliers: [1], num_blocks: 1}",
    "optimiser.lr.restoration=1e-3",
)
STRICT = (
    "model.decoder.kind=strict",
    "model.decoder.hidden_channels=8",
    "model.decoder.condition_channels=8",
)
VIEW = (
    "model.auxview={descriptor_channels: 4, attention_channels: 8, attention_window: 4, "
    "max_disparity_px: 24, window_cells: 2, search_radius_cells: 2, refine_radius_cells: 1}",
    "optimiser.lr.auxview=1e-3",
    "data.stereo=true",
    "role.aux_dropout=0.0",
)


def restoration(trainer: Trainer) -> Any:
    return trainer.objective.model.restoration


def is_strict(trainer: Trainer) -> bool:
    return isinstance(trainer.objective.model.decoder, StrictDecoder)


def searches(trainer: Trainer) -> bool:
    view = trainer.objective.model.auxview
    return view is not None and any(isinstance(m, WindowSearch) for m in view.modules())


def always(_trainer: Trainer) -> bool:
    return True


# What the run has before, what is set, and a check on the trainer; a name that ends with "student"
# is of a student, others of a restorer.
SETTINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Effect]] = {
    "strict decoder": ((), STRICT, is_strict),
    "projected target": (
        (*RESTORED, *STRICT, "role.num_epochs_before_projection=0"),
        ("role.loss.projected=0.5",),
        lambda t: t.means.sums["projected"] > 0,
    ),
    "stochastic chain": (
        RESTORED,
        ("model.restoration.stochastic=true",),
        lambda t: restoration(t).config.stochastic,
    ),
    "components": (
        RESTORED,
        ("model.restoration.num_components=4",),
        lambda t: len(restoration(t).basis) == 4,
    ),
    "full gradient": (
        RESTORED,
        ("model.restoration.full_gradient=true",),
        lambda t: restoration(t).config.full_gradient,
    ),
    "one step": (
        RESTORED,
        ("model.restoration.kind=one-step",),
        lambda t: restoration(t).config.effective_steps == 1,
    ),
    "supervised steps": (RESTORED, ("role.supervised_steps=1",), always),
    "window search": (VIEW, ("model.auxview.alignment=search",), searches),
    "depth above a metre": ((), ("role.loss.min_depth_m=10.0",), always),
    "model fields": (
        (),
        ("model.max_depth_m=60.0", "model.initial_depth_m=5", "model.normalisation=per-image"),
        lambda t: t.objective.model.config.max_depth_m == 60,
    ),
    "frozen parts": (
        (),
        ("role.frozen=[encoder]",),
        lambda t: not any(p.requires_grad for p in t.objective.model.encoder.parameters()),
    ),
    "random crops": (
        (),
        ("data.input_size=[48, 32]", "data.loss_size=[48, 32]", "data.crop_from=[64, 40]"),
        always,
    ),
    "printed mask, student": ((), ("role.loss.mask_mode=printed",), always),
    "mask over objects, student": ((), ("role.loss.mask_over=objects",), always),
    "no confidence, student": ((), ("role.loss.confidence=false",), always),
    "paper-literal, student": (
        (),
        ("data.p_clear=paper-literal",),
        lambda t: t.data.p_clear == 2 / 3,
    ),
    "p_clear, student": ((), ("data.p_clear=0.9",), lambda t: t.data.p_clear == 0.9),
    "reference, student": (
        (),
        ("role.loss.semantic=0.1", "role.reference={id_or_folder: REFERENCE}"),
        lambda t: (
            isinstance(t.objective, StudentObjective)
            and t.objective.reference is not None
            and t.objective.reference.encoder_name.startswith("reference@")
        ),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stereo pairs in stereo/, frames with neighbours, variants and labels in dataset/."""
    folder = tmp_path_factory.mktemp("settings")
    ingest_synthetic(folder / "stereo", RectifiedSource(6), frames_per_shard=4)
    make_dataset(folder / "dataset", 6)
    add_variants(folder / "dataset", recipe())
    label_as(folder / "dataset", save_teacher(folder / "teacher"))
    published(folder / "reference", "resnet")
    return folder


def plain(is_student: bool) -> TrainConfig:
    if is_student:
        variants = tuple(map(recipe().folder_of, recipe().conditions))
        shown = data(labels="tiny", neighbours=True, recipes=variants)
        role = {"loss": StudentLoss(semantic=0.0), "num_unmasked_epochs": 0}
        return student(role, data=shown, batch_size=3, report_every=50)
    return run_config(
        RestorerRole(frozen=(), target="lidar"),
        model=tiny_config(input_size=SIZE),
        data=data(lidar_depth=True, input_size=SIZE, loss_size=SIZE),
        report_every=50,
    )


def trained(config: TrainConfig, dataset: Path, run: Path) -> Trainer:
    trainer = Trainer(config, dataset, run, make_accelerator(config, "cpu"))
    for _ in range(STEPS):
        trainer.do_step()
    trainer.close()
    return trainer


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_trains_and_takes_effect(folder: Path, tmp_path: Path, name: str) -> None:
    before, changes, effect = SETTINGS[name]
    changes = tuple(c.replace("REFERENCE", str(folder / "reference")) for c in changes)
    is_student = name.endswith("student")
    dataset = folder / ("dataset" if is_student else "stereo")
    fields = with_set(fields_of(plain(is_student)), before)
    without = trained(parsed(fields), dataset, tmp_path / "without")
    found = trained(parsed(with_set(fields, changes)), dataset, tmp_path / "with")
    assert effect(found) and found.loss is not None
    ours, theirs = (dict(t.objective.trained.named_parameters()) for t in (found, without))
    same_names = ours.keys() == theirs.keys()
    assert not same_names or any(
        ours[n].shape != theirs[n].shape or not torch.equal(ours[n], theirs[n]) for n in ours
    )
