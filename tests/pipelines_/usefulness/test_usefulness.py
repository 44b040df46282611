"""Studies of tiny networks on a tiny dataset: every arm, interruptions, failures, refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.shards.leases import Lease
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.recipe_records import folder_of
from nightrain.depthmodel.config import IMAGENET_EFFICIENTNET, EncoderConfig
from nightrain.depthmodel.evaluation.results import read_evaluation
from nightrain.depthmodel.losses.weighted_sum import NonFiniteLoss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.pipelines.runs.stop import Stop
from nightrain.pipelines.usefulness import run_arms, scoring
from nightrain.pipelines.usefulness.arms import ARMS, Arm, dose_arm, recipe_arms, select_arms
from nightrain.pipelines.usefulness.job import UsefulnessJob
from nightrain.pipelines.usefulness.plan import plan_study
from nightrain.pipelines.usefulness.steps_on_val import smallest_on_plateau
from nightrain.pipelines.usefulness.student import student_config
from nightrain.pipelines.usefulness.study import run as study_run
from nightrain.pipelines.usefulness.study.run import UsefulnessReport, run_usefulness
from support.synthetic import ingest_synthetic, recipe
from support.tiny_depth_models import save_teacher, tiny_config
from support.training import add_variants
from support.usefulness import SHOWN, make_labels, make_study_dataset, source


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_study_dataset(tmp_path_factory.mktemp("made") / "dataset")


@pytest.fixture
def job(made: tuple[Path, Path], tmp_path: Path) -> UsefulnessJob:
    return UsefulnessJob(
        dataset=made[0],
        teacher=made[1],
        variants="test",
        out=tmp_path / "out",
        arms=("clear", "weather"),
        seeds=(0,),
        steps=2,
        batch_size=2,
        device="cpu",
    )


def changed(job: UsefulnessJob, **changes: Any) -> UsefulnessJob:
    return job.model_copy(update=changes)


def study(job: UsefulnessJob) -> UsefulnessReport:
    return run_usefulness(job, stop=Stop())


def digest(job: UsefulnessJob, arm: str, seed: int = 0) -> str:
    return read_record(job.out / arm / f"seed-{seed}" / "result.json", "result", "result")["digest"]


def result(job: UsefulnessJob) -> dict[str, Any]:
    return json.loads((job.out / "usefulness.json").read_text())


def arm_of(job: UsefulnessJob, name: str) -> dict[str, Any]:
    (found,) = [arm for arm in result(job)["arms"] if arm["facts"]["arm"]["name"] == name]
    return found


# The arms


# Arms that this dataset and its teacher can train. Those of another recipe and of more labels have
# a test of their own, without training.
OF_ANOTHER_RECIPE = {"diffusion", "both", "diffusion-exact"}
TRAINED = {*ARMS} - OF_ANOTHER_RECIPE - {"self-labelled", "few-parameters", "weighted"}


# One of every kind that is trained in another way; the others differ in a number.
KINDS = (
    *("clear", "corruptions", "weather", "true-adverse", "clear-exact", "weather-exact"),
    *("frames-exact", "norms", "no-mask", "no-semantic", "restored", "restored-frozen", "dose-67"),
)


@pytest.mark.slow
def test_every_kind_of_arm_trains_and_stands_in_the_table(job: UsefulnessJob) -> None:
    job = changed(job, arms=KINDS, steps=4)  # the mask begins with the second epoch, step 4
    report = study(job)
    assert (report.status, report.num_finished) == ("finished", len(KINDS))
    text = (job.out / "tables.md").read_text()
    for name in KINDS:
        assert f"| {name} | 1 | 0." in text and arm_of(job, name)["seeds"] == [0]
    kept = read_evaluation(job.out / "weather" / "seed-0").score("night")
    assert kept.metrics is not None and kept.num_images == 4 and kept.num_drives == 2
    found = arm_of(job, "weather")
    assert found["scores"]["night"]["abs_rel"]["mean"] == kept.metrics["abs_rel"].mean
    error = kept.metrics["abs_rel"].standard_error
    assert found["scores"]["night"]["abs_rel"]["standard_error"] == pytest.approx(error)
    assert found["stability"]["max_piv"]["mean"] >= found["stability"]["mean_dv"]["mean"] > 0
    digests = {name: digest(job, name) for name in KINDS}
    assert digests.pop("dose-67") == digests["weather"]  # two conditions: 2/3 is the default
    assert len(set(digests.values())) == len(digests)  # every other arm learned something else
    assert arm_of(job, "frames-exact")["facts"]["num_images"] == 6 + 6 * 2
    assert arm_of(job, "true-adverse")["facts"]["num_images"] == 6  # each in place of a clear one
    norms = trained_parts(job, "norms")
    assert norms and all("norm" in name for name in norms)


def trained_parts(job: UsefulnessJob, arm: str) -> list[str]:
    """Parameters that differ from the teacher's after a run."""
    ours = DepthModel.from_pretrained(job.out / arm / "seed-0" / "model").named_parameters()
    theirs = dict(DepthModel.from_pretrained(job.teacher).named_parameters())
    return [name for name, value in ours if not torch.equal(value, theirs[name])]


def test_arms_differ_in_what_they_say_alone(job: UsefulnessJob) -> None:
    plan = plan_study(changed(job, arms=()))
    planned = {run.arm: run.config.model_dump(mode="json") for run in plan.runs}
    clear = planned["clear"]
    assert clear["data"]["recipes"] == [] and clear["data"]["corruptions"] is None
    assert (clear["num_steps"], planned["clear-double"]["num_steps"]) == (2, 4)
    assert set(planned) == TRAINED
    left_out = [words.partition(":")[0] for words in plan.left_out]
    assert left_out == ["self-labelled", "few-parameters", "weighted"]
    assert "no confidence pictures" in plan.left_out[-1]
    assert "nightrain label" in plan.left_out[0]
    loss = {name: config["role"]["loss"] for name, config in planned.items()}
    assert loss["no-mask"] == loss["weather"] | {"mask_mode": "none"}
    assert loss["printed-mask"] == loss["weather"] | {"mask_mode": "printed"}
    assert loss["object-mask"] == loss["weather"] | {"mask_over": "objects"}
    assert loss["no-semantic"] == loss["weather"] | {"semantic": 0.0}
    assert loss["no-confidence"] == loss["weather"] | {"confidence": False}
    assert loss["clear"] == loss["weather"] == loss["corruptions"] == loss["true-adverse"]
    # Twins take the place of variants, and exact depth that of labels: nothing else changes.
    weather, true = planned["weather"], planned["true-adverse"]
    images = {"recipes": [], "twins": True, "p_clear": pytest.approx(1 / 3)}
    assert true["data"] == weather["data"] | images and true["role"] == weather["role"]
    for name in ("clear", "weather", "true-adverse"):
        exact, labels = planned[f"{name}-exact"], planned[name]
        target = {"labels": None, "exact_depth": True}
        assert exact["data"] == labels["data"] | target
        judged = loss[name] | {"mask_mode": "none", "confidence": False}
        assert exact["role"] == labels["role"] | {"target": "exact", "loss": judged}
    frames = planned["frames-exact"]
    assert frames["role"]["target"] == "exact" and len(frames["data"]["conditions"]) == 7
    assert planned["corruptions"]["data"]["p_clear"] == pytest.approx(1 / 3)
    assert planned["dose-25"]["data"]["p_clear"] == 0.75
    same = ("optimiser", "batch_size", "model", "seed", "average_decay", "precision")
    for arm in (ARMS[name] for name in planned):
        config = planned[arm.name]
        restores = config["model"].pop("restoration", None) is not None
        assert restores == ("restoration" in config["optimiser"]["lr"])
        assert restores == arm.name.startswith("restored")
        config["optimiser"]["lr"].pop("restoration", None)
        assert {k: config[k] for k in same} == {k: clear[k] for k in same}
        assert config["role"]["start"] == "teacher"
        assert config["role"]["teacher"] == str(job.teacher)


def test_an_arm_joins_by_a_line(job: UsefulnessJob, monkeypatch: pytest.MonkeyPatch) -> None:
    every = tuple(ARMS.values())
    gated = Arm(name="gated", words="+ gated", shown="variants", recipes=("test",))
    with monkeypatch.context() as patch:
        patch.setitem(ARMS, "gated", gated)
        plan = plan_study(changed(job, arms=()))
    (run,) = [run for run in plan.runs if run.arm == "gated"]
    assert len(run.config.data.recipes) == len(SHOWN) and not gated.on_dose_curve
    with monkeypatch.context() as patch:
        patch.setitem(ARMS, "gated", gated.model_copy(update={"recipes": ("diffusion",)}))
        message = "no variants called 'diffusion'. Recipes: test; folders: weather-"
        with pytest.raises(InvalidRequest, match=message):
            plan_study(changed(job, arms=("gated",)))
    with pytest.raises(ValueError, match="StudentLoss has no masks"):
        Arm(name="odd", words="", shown="variants", loss={"masks": 1})
    without = [arm for arm in every if "diffusion" not in arm.name and arm.name != "both"]
    assert select_arms(changed(job, arms=(), dose=(0.9,))) == (*without, dose_arm(0.9))
    assert select_arms(changed(job, arms=(), diffusion="x")) == every
    assert [arm.name for arm in select_arms(changed(job, arms=("weather",), dose=(0.9, 0.5)))] == [
        "weather",
        "dose-50",
        "dose-90",
    ]
    for changes, message in (
        ({"arms": ("wether",)}, "no arm 'wether'; choose from clear, "),
        ({"arms": ("both",)}, "arm 'both' needs --diffusion with the recipe's name"),
        ({"dose": (1.5,)}, r"dose 1\.5 is not a share"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            select_arms(changed(job, **changes))


def test_diffusion_another_backbone_and_labels_of_adverse_frames_are_arms(
    job: UsefulnessJob, copy: Path, tmp_path: Path
) -> None:
    first, other = map(folder_of, Manifest(copy).tables("variants/"))
    wide = save_teacher(tmp_path / "wide" / "model", seed=3)
    job = changed(job, dataset=copy, variants=first, diffusion=other, backbone=(f"wide={wide}",))
    with pytest.raises(InvalidRequest, match=r"digest .*; the given teacher has"):
        plan_study(job)
    make_labels(copy, wide, name="wide")
    make_labels(copy, job.teacher, conditions=tuple(Condition))
    arms = ("clear", "weather", "diffusion", "both", "self-labelled")
    plan = plan_study(changed(job, arms=arms))
    planned = {run.arm: run.config for run in plan.runs}
    assert list(planned) == [*arms, "clear-wide", "weather-wide"]
    assert planned["diffusion"].data.recipes == (other,)
    assert planned["both"].data.recipes == (first, other)
    assert planned["self-labelled"].data.conditions == tuple(Condition)
    assert planned["self-labelled"].data.labels == planned["clear"].data.labels
    assert (planned["clear-wide"].data.labels or "").startswith("wide-")
    assert vars(planned["weather-wide"].role)["teacher"] == wide.resolve()
    assert ARMS["weather"].is_generator and planned["weather-wide"] != planned["weather"]
    assert plan.job.command.endswith("--backbone wide=model --steps 2 --batch-size 2 --device cpu")
    # The generators are scored on val, too, so that one of them can be selected there.
    scored = {run.arm for run in plan.runs if run.selected_on == "val"}
    assert scored == {"weather", "diffusion", "both"}


def test_a_pretrained_encoder_is_tuned_only_where_there_is_one() -> None:
    arm, resnet = ARMS["few-parameters"], tiny_config()
    options: Any = {
        "seed": 0, "teacher": Path("t"), "labels": "l", "recipes": (), "num_conditions": 2,
    }  # fmt: skip
    with pytest.raises(InvalidRequest, match="needs a pretrained encoder; the teacher's, resnet"):
        student_config(arm, network=resnet, **options)
    encoder = EncoderConfig(kind="efficientnet", size="lite0")
    network = resnet.model_copy(update={"encoder": encoder})
    config = student_config(arm, network=network, **options)
    assert config.model.encoder.pretrained == IMAGENET_EFFICIENTNET
    assert vars(config.role)["start"] == "configured"
    model = DepthModel(config.model.without_pretrained())
    model.freeze(config.role.frozen)
    trained = {name: p.ndim for name, p in model.named_parameters() if p.requires_grad}
    encoder_names = [name for name in trained if name.startswith("encoder.")]
    assert encoder_names and all(trained[name] == 1 for name in encoder_names)
    assert {n for n in trained if n.startswith("decoder.")} == {
        f"decoder.{name}" for name, _ in model.decoder.named_parameters()
    }


def test_another_recipe_adds_its_variants_alone_and_with_the_others(job: UsefulnessJob) -> None:
    # The dataset has one recipe; the folders of its two conditions serve as two recipes.
    first, other = map(folder_of, Manifest(job.dataset).tables("variants/"))
    arms = ("clear", "weather")
    plan = plan_study(changed(job, arms=arms, variants=first, other_variants=(other,)))
    planned = {run.arm: run.config for run in plan.runs}
    assert list(planned) == ["clear", "weather", other, f"with-{other}"]
    assert planned[other].data.recipes == (other,)
    assert planned["weather"].data.recipes == (first,)
    assert planned[f"with-{other}"].data.recipes == (first, other)
    alone = planned[other].model_dump(mode="json")
    weather = planned["weather"].model_dump(mode="json")
    assert alone.pop("data") | {"recipes": []} == weather.pop("data") | {"recipes": []}
    assert alone | {"name": ""} == weather | {"name": ""}
    assert not any(arm.on_dose_curve for arm in recipe_arms(other))
    named = changed(job, arms=("clear", other), variants=first, other_variants=(other,))
    assert [run.arm for run in plan_study(named).runs] == ["clear", other]
    (_, _, weighted) = recipe_arms(other)
    assert weighted.recipes == (other,) and weighted.variant_confidence
    with pytest.raises(InvalidRequest, match="has no confidence pictures"):
        plan_study(changed(named, arms=("clear", weighted.name)))
    for bad, message in (
        ("weather", "has the name of an arm. Name a recipe by its folder or hash"),
        ("../x", "cannot name an arm: expected at most 32 small letters, digits and hyphens"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            plan_study(changed(job, other_variants=(bad,)))


# Interruptions


def test_a_stopped_study_goes_on_and_ends_as_one_that_was_not(
    job: UsefulnessJob, tmp_path: Path
) -> None:
    stop, seen = Stop(), []

    def on_step(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 3:  # in the middle of the second arm
            stop.request()

    report = run_usefulness(job, stop=stop, on_step=on_step)
    assert report.stopped and (report.num_finished, report.num_runs) == (1, 2)
    assert seen[-1] == (3, 4) and arm_of(job, "weather")["unfinished"] == [0]
    assert "| weather | 0, 1 unfinished | - |" in (job.out / "tables.md").read_text()
    steps: list[int] = []
    report = run_usefulness(job, stop=Stop(), on_step=lambda done, _: steps.append(done))
    assert report.status == "finished" and (steps[0], steps[-1]) == (2, 4)
    other = changed(job, out=tmp_path / "other")
    study(other)
    assert digest(job, "weather") == digest(other, "weather") != digest(job, "clear")
    assert result(job)["arms"][1]["scores"] == result(other)["arms"][1]["scores"]


def test_what_is_done_is_not_done_again(
    job: UsefulnessJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(job)
    (job.out / "weather" / "seed-0" / "evaluation.json").write_text("{")  # killed while it wrote
    before, again = result(job), []
    evaluate = scoring.evaluate_into

    def evaluate_and_note(folder: Path, *args: Any, **options: Any) -> Any:
        again.append(folder.parent)
        return evaluate(folder, *args, **options)

    monkeypatch.setattr(scoring, "evaluate_into", evaluate_and_note)
    assert study(job).num_finished == 2
    assert again == [job.out / "weather"] and result(job)["arms"] == before["arms"]
    monkeypatch.setattr(study_run, "do_runs", lambda runs, *_: iter(runs and [1 / 0]))
    assert study(job).num_finished == 2


def test_seeds_and_arms_join_and_earlier_ones_stay_in_the_table(job: UsefulnessJob) -> None:
    study(job)
    report = study(changed(job, arms=("weather",), seeds=(1,)))
    assert report.num_runs == report.num_finished == 1
    assert arm_of(job, "weather")["seeds"] == [0, 1]
    assert arm_of(job, "clear")["seeds"] == [0] and arm_of(job, "clear")["unfinished"] == [1]
    assert list(arm_of(job, "weather")["changes"]["night"]["rmse"]["by_seed"]) == ["0"]


def test_a_seed_of_all_arms_comes_before_the_next(job: UsefulnessJob) -> None:
    runs = plan_study(changed(job, seeds=(2, 0))).runs
    assert [(r.seed, r.arm) for r in runs] == [
        (2, "clear"),
        (2, "weather"),
        (0, "clear"),
        (0, "weather"),
    ]


@pytest.mark.slow
@pytest.mark.campaign
def test_processes_side_by_side_give_the_same(job: UsefulnessJob, tmp_path: Path) -> None:
    seen: list[int] = []
    report = run_usefulness(
        changed(job, workers=2), stop=Stop(), on_step=lambda done, _: seen.append(done)
    )
    assert report.num_finished == 2 and seen[-1] == 4 and seen == sorted(seen)
    other = changed(job, out=tmp_path / "other")
    study(other)
    for arm in ("clear", "weather"):
        assert digest(job, arm) == digest(other, arm)
        assert arm_of(job, arm)["scores"] == arm_of(other, arm)["scores"]


def test_the_generator_to_judge_is_selected_on_val_and_test_is_reported(
    job: UsefulnessJob,
) -> None:
    first, other = map(folder_of, Manifest(job.dataset).tables("variants/"))
    arms = ("clear", "weather", "diffusion")
    job = changed(job, arms=arms, variants=first, diffusion=other, steps=1)
    assert study(job).num_finished == 3
    runs = {arm: job.out / arm / "seed-0" for arm in arms}
    on_val = {arm: read_evaluation(runs[arm] / "val") for arm in arms[1:]}
    assert not (runs["clear"] / "val").exists()  # it is no candidate
    adverse = {
        arm: np.mean([i.metrics.abs_rel for i in found.images if i.condition != "clear"])
        for arm, found in on_val.items()
    }
    selection = result(job)["selection"]
    assert selection["chosen"] == min(adverse, key=lambda arm: adverse[arm])
    assert selection["split"] == "val"
    assert {arm: score["mean"] for arm, score in selection["scores"].items()} == adverse
    assert read_record(job.out / "selection.json", "selection", "selection") == selection
    assert {v["arm"] for v in result(job)["verdicts"][:6]} == {selection["chosen"]}
    assert {on_val[arm].settings.split for arm in on_val} == {"val"}
    assert read_evaluation(runs["weather"]).settings.split == "test"
    text = (job.out / "usefulness.md").read_text()
    assert "All numbers below are of the test split." in text and "images of val (weather" in text


def test_the_number_of_steps_is_selected_in_studies_on_val(
    job: UsefulnessJob, tmp_path: Path
) -> None:
    folders = tuple(tmp_path / f"steps-{steps}" for steps in (1, 3))
    for steps, folder in zip((1, 3), folders, strict=True):
        study(changed(job, arms=("clear",), split="val", steps=steps, out=folder))
    job = changed(job, steps=None, steps_from=folders)
    plan = plan_study(job)
    errors = plan.study.errors_on_val
    assert list(errors) == [1, 3] and plan.study.num_steps == smallest_on_plateau(errors)
    assert {run.config.num_steps for run in plan.runs} == {plan.study.num_steps}
    scored = read_evaluation(folders[1] / "clear" / "seed-0").score("all").metrics
    assert scored is not None and errors[3] == scored["abs_rel"].mean
    assert smallest_on_plateau({1: 0.2, 2: 0.1009, 3: 0.1, 4: 0.102}) == 2
    other = changed(job, out=tmp_path / "other", steps_from=(tmp_path,))
    refused(other, "is not the folder of a study: it has no study.json")
    plan_study(changed(job, steps=1, steps_from=(), out=tmp_path / "test"))
    refused(changed(other, steps_from=(tmp_path / "test",)), "reports the split test; steps are")


# Failures


def test_a_run_that_fails_is_shown_so_and_tried_again(
    job: UsefulnessJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = run_arms.train

    def fails(config: Any, *args: Any, **options: Any) -> Any:
        if config.name == "clear":
            raise NonFiniteLoss("distillation is not finite")
        return real(config, *args, **options)

    monkeypatch.setattr(run_arms, "train", fails)
    report = study(job)
    assert (report.status, report.num_failed, report.num_finished) == ("failed", 1, 1)
    text = (job.out / "tables.md").read_text()
    assert "| clear | 0, 1 failed | - |" in text
    assert "- clear seed 0: distillation is not finite" in text
    assert arm_of(job, "weather")["seeds"] == [0] and not arm_of(job, "weather")["changes"]
    monkeypatch.setattr(run_arms, "train", real)
    assert study(job).status == "finished"
    assert "failed" not in (job.out / "tables.md").read_text().lower().replace("and failures", "")


def test_an_error_that_nobody_foresaw_is_a_failure_too(
    job: UsefulnessJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_arms, "train", lambda *_, **__: 1 / 0)
    assert study(job).num_failed == 2
    assert arm_of(job, "weather")["failed"] == {"0": "ZeroDivisionError('division by zero')"}


def test_a_damaged_outcome_counts_as_a_run_that_did_not_end(tmp_path: Path) -> None:
    outcome = run_arms.Outcome(arm="clear", seed=1, status="finished", step=12)
    data = record_bytes("outcome", outcome.model_dump())
    (tmp_path / "outcome.json").write_bytes(data)
    assert run_arms.read_outcome(tmp_path) == outcome
    for damaged in (data.replace(b"12", b"13"), data[:-20], b"", b"[]"):
        (tmp_path / "outcome.json").write_bytes(damaged)
        assert run_arms.read_outcome(tmp_path) is None


def test_damaged_settings_of_a_study_are_one_sentence(job: UsefulnessJob) -> None:
    plan_study(job)
    for name in ("study.json", "clear/arm.json"):
        text = (job.out / name).read_text()
        (job.out / name).write_text(text.replace('"num_steps": 2', '"num_steps": 3'))
        refused(job, rf"{name} is not a valid (study|arm) record: it was changed after")
        (job.out / name).write_text(text)


# What is refused, before anything is trained


@pytest.fixture
def copy(made: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "copy"))


def refused(job: UsefulnessJob, match: str) -> None:
    with pytest.raises(InvalidRequest, match=match):
        study(job)
    assert not list(job.out.rglob("checkpoints")) and not list(job.out.rglob("evaluation.json"))


def test_missing_labels_and_variants_are_said_first(job: UsefulnessJob, copy: Path) -> None:
    refused(changed(job, variants="rainy"), "no variants called 'rainy'")
    refused(changed(job, labels="other"), "no labels 'other'; it has: teacher-")
    shutil.rmtree(copy / "_manifest" / "labels")
    refused(changed(job, dataset=copy), "nightrain label")
    assert not job.out.exists()


def test_labels_of_another_teacher_are_refused(job: UsefulnessJob, tmp_path: Path) -> None:
    other = save_teacher(tmp_path / "other", seed=1)
    refused(changed(job, teacher=other), "made by a teacher with digest .*; the given teacher has")
    refused(changed(job, teacher=tmp_path / "nothing"), "no folder")


def test_a_missing_condition_names_its_arm(job: UsefulnessJob, tmp_path: Path) -> None:
    root, teacher = tmp_path / "small", save_teacher(tmp_path / "teacher")
    ingest_synthetic(root, source(4, "train", Condition.CLEAR))
    add_variants(root, recipe(Condition.NIGHT))
    make_labels(root, teacher)
    small = changed(job, dataset=root, teacher=teacher)
    for arm in ("self-labelled", "frames-exact"):
        refused(changed(small, arms=(arm,)), f"arm '{arm}' cannot be trained: .* no adverse frames")
    refused(changed(small, arms=("true-adverse",)), "'true-adverse' cannot be trained: .* no rec")
    refused(small, "holds no frame of val")  # nothing to score: said before training, too


def test_another_study_does_not_fit_into_the_folder(
    job: UsefulnessJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_study(job)
    refused(changed(job, steps=3), "num_steps was 2, is 3")
    more = ARMS["weather"].model_copy(update={"synthetic_share": 0.5})
    with monkeypatch.context() as patch:
        patch.setitem(ARMS, "weather", more)
        refused(changed(job, arms=("weather",)), r"arm\.synthetic_share was None, is 0\.5")
    plan_study(changed(job, arms=("clear",)))  # the same study, of fewer arms


def test_two_processes_do_not_share_a_study(job: UsefulnessJob) -> None:
    plan_study(job)
    lease = Lease.take(job.out, "study")
    assert lease is not None
    with lease:
        refused(job, "Another process runs the study")
