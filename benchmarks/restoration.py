"""Restoration study: the effect of each part, against a control of equal capacity.

IID-RDepth, checks T9 and T11 (docs/papers/iid_rdepth.md); results: docs/studies/restoration.md.

    python -m nightrain.benchmarks.restoration DATASET --encoder MODEL --out DIR

MODEL is a network whose encoder learned depth, or "imagenet" for one that never did, the paper's
situation.

The study trains on the built-in world in all weather, with a frozen encoder and 5 % of the exact
depth. Stage 0 trains a head on the encoder; each arm starts from it and trains for the same number
of further steps. Scores are against the full exact depth of held-out frames, which show other
places. The twin arms start from a head that was trained on clear frames alone. They are shown clear
frames and their recorded twins at night and in rain, and keep that head, so that only the features
can change.

Run the same command again to resume. DIR/restoration.md and DIR/restoration.svg show the results so
far: RMSE, AbsRel and d1 beside those of a constant depth map, the change against R0 with its
standard error over places and seeds, and for restorations the RMSE after each step.
DIR/seed-SEED/ARM/score.json has the scores of each frame.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from nightrain.benchmarks.held_out_frames import SPLITS, recorded_conditions
from nightrain.benchmarks.image_size import image_size
from nightrain.benchmarks.restoration_arms import ARMS, TWINS, WEATHER, Arm
from nightrain.benchmarks.restoration_scores import arm_rows, constant_rows
from nightrain.benchmarks.restoration_tables import write_tables
from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.config import DepthConfig, RestorationConfig
from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.depthmodel.losses.restoration import RestorerLoss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.network.presets import world_depth
from nightrain.depthmodel.roles.restorer import RestorerRole
from nightrain.depthmodel.training.config import TrainConfig, checked
from nightrain.depthmodel.training.loop import train
from nightrain.depthmodel.training.restoration_presets import (
    WORLD_VIEW,
    world_base,
    world_restoration_network,
)

IMAGENET = "imagenet"
SUPERVISED_STEPS = 2  # of the four steps; decoding all four takes twice as long


def network(arm: Arm, encoder: DepthConfig) -> DepthConfig:
    """Return the network of an arm, based on the encoder's configuration."""
    restoration = None
    if arm.restoration is not None:
        fields = world_restoration_network().model_dump() | arm.restoration
        restoration = RestorationConfig.model_validate(fields)
    return encoder.model_copy(
        update={
            "decoder": encoder.decoder.model_copy(update={"lower": arm.lower}),
            "restoration": restoration,
            "auxview": WORLD_VIEW if arm.view else None,
        }
    )


def run_of(
    arm: Arm,
    encoder: DepthConfig,
    base: Path,
    seed: int,
    steps: int,
    weather: tuple[Condition, ...] = WEATHER,
) -> TrainConfig:
    """Return the training configuration of an arm, which is shown all `weather`."""
    preset = world_base()
    role = RestorerRole(
        base=base,
        view=arm.view or "stereo",
        frozen=arm.frozen,
        loss=RestorerLoss(deviation=arm.deviation, clear=arm.clear),
        supervised_steps=None if arm.restoration is None or arm.twins else SUPERVISED_STEPS,
    )
    shown: dict[str, Any] = {"conditions": weather}
    if arm.twins:
        shown = {"conditions": (Condition.CLEAR,), "twins": True, "variant_conditions": TWINS}
    data = _data(arm, encoder, **shown)
    changes = {"name": arm.name, "role": role, "data": data, "seed": seed, "num_steps": steps}
    config = preset.model_copy(update={**changes, "model": network(arm, encoder)})
    return checked(config)


def start_of(
    arm: Arm,
    encoder: DepthConfig,
    folder: Path,
    seed: int,
    steps: int,
    weather: tuple[Condition, ...] = WEATHER,
) -> TrainConfig:
    """Return stage 0 of an arm, which trains the decoder alone; `folder` has the encoder."""
    start = Arm(name=_start_name(arm), words="stage 0", lower=arm.lower)
    config = run_of(start, encoder, folder, seed, steps)
    conditions = (Condition.CLEAR,) if arm.clear_start else weather
    data = config.data.model_copy(update={"conditions": conditions})
    return config.model_copy(update={"data": data})


def of_places(config: TrainConfig, num_places: int | None) -> TrainConfig:
    """Limit the training frames to so many places; None: all."""
    data = config.data.model_copy(update={"max_drives": num_places})
    return config.model_copy(update={"data": data})


def _start_name(arm: Arm) -> str:
    return f"start-{'clear-' if arm.clear_start else ''}{arm.lower}"


def _data(arm: Arm, encoder: DepthConfig, **changes: Any) -> TrainingSetConfig:
    """Return the training data of an arm, at the size of the encoder's input."""
    fields = {
        "input_size": encoder.input_size,
        "loss_size": encoder.input_size,
        "stereo": arm.view == "stereo",
    }
    return world_base().data.model_copy(update=fields | changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--encoder", required=True, help="model that has the encoder, or imagenet")
    parser.add_argument("--out", type=Path, required=True, help="pass an existing one to resume")
    parser.add_argument("--arms", default=",".join(arm.name for arm in ARMS), help="arms to train")
    parser.add_argument("--seeds", default="0,1,2", help="seeds of each arm")
    parser.add_argument("--base-steps", type=int, default=1500, help="steps of stage 0")
    parser.add_argument("--steps", type=int, default=600, help="steps of each arm after stage 0")
    parser.add_argument("--places", type=int, help="train on so many places (default: all)")
    parser.add_argument("--split", choices=SPLITS, default="test", help="frames that are scored")
    parser.add_argument(
        "--size", type=image_size, help="WIDTHxHEIGHT of the input (default: MODEL's)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    arms = [arm for arm in ARMS if arm.name in options.arms.split(",")]
    _score_constant(options)
    for seed in map(int, options.seeds.split(",")):
        for arm in arms:
            _do(arm, seed, options)
            write_tables(options.out)
    print((options.out / "restoration.md").read_text())


def encoder_folder(encoder: str, out: Path) -> Path:
    """Return the model folder that has the encoder; "imagenet" is written to OUT/imagenet once."""
    if encoder != IMAGENET:
        return Path(encoder)
    folder = out / IMAGENET
    if not folder.exists():
        torch.manual_seed(0)  # of the decoder, which stage 0 trains
        card = ModelCard(title=IMAGENET, description="Not trained for depth.", data_set="ImageNet")
        DepthModel(world_depth()).save_pretrained(folder, card)
    return folder


def _do(arm: Arm, seed: int, options: argparse.Namespace) -> None:
    folder = options.out / f"seed-{seed}" / arm.name
    if (folder / "score.json").exists():
        return
    folder_of_encoder = encoder_folder(options.encoder, options.out)
    encoder = DepthModel.from_pretrained(folder_of_encoder).config
    encoder = encoder.model_copy(update={"input_size": options.size or encoder.input_size})
    start = options.out / f"seed-{seed}" / _start_name(arm)
    base_steps, places = options.base_steps, options.places
    recorded = recorded_conditions(options.dataset, "train")
    weather = tuple(condition for condition in WEATHER if condition in recorded)
    config = start_of(arm, encoder, folder_of_encoder, seed, base_steps, weather)
    config = of_places(config, places)
    seconds = train(config, options.dataset, start, device="cpu").seconds
    if arm.trained:
        config = run_of(arm, encoder, start / "model", seed, options.steps, weather)
        config = of_places(config, places)
        seconds = train(config, options.dataset, folder, device="cpu").seconds
    model = (folder if arm.trained else start) / "model"
    facts = {"arm": arm.name, "seed": seed, "split": options.split, "seconds": seconds}
    facts["parameters"] = sum(p.numel() for p in DepthModel.from_pretrained(model).parameters())
    facts["rows"] = arm_rows(model, arm, options.dataset, options.split)
    _save(folder, facts)
    print(f"seed {seed}: finished {arm.name}", flush=True)


def _score_constant(options: argparse.Namespace) -> None:
    folder = options.out / f"seed-0/{MEDIAN_DEPTH}"
    if (folder / "score.json").exists():
        return
    encoder = DepthModel.from_pretrained(encoder_folder(options.encoder, options.out)).config
    size = options.size or encoder.input_size
    rows = constant_rows(size, options.dataset, options.split)
    _save(folder, {"arm": MEDIAN_DEPTH, "seed": 0, "split": options.split, "rows": rows})


def _save(folder: Path, facts: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "score.json", json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
