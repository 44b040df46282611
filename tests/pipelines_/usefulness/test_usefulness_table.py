"""The table of a study, literally, from evaluations that are made up."""

from collections.abc import Mapping

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.evaluation.metrics import DepthMetrics
from nightrain.depthmodel.evaluation.results import Evaluation, ImageScore, summarise
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.pipelines.usefulness.arms import select_arms
from nightrain.pipelines.usefulness.plan import ArmFacts, Study
from nightrain.pipelines.usefulness.report import markdown
from nightrain.pipelines.usefulness.run_arms import Outcome
from nightrain.pipelines.usefulness.table import Usefulness, usefulness_table

SETTINGS = EvaluationSettings(truth="exact", caps_m=(80.0,), scalings=("metric",))
STUDY = Study(
    dataset="bench",
    frames="f",
    teacher="abc",
    labels="teacher-1",
    variants=("weather-2",),
    num_steps=1000,
    batch_size=8,
    input_size=(192, 112),
    settings=SETTINGS,
)
NAMES = ("clear", "corruptions", "weather", "dose-50")
SHARES = {"clear": 0.0, "corruptions": 0.8, "weather": 0.8, "dose-50": 0.5}
FACTS = tuple(
    ArmFacts(
        arm=arm,
        num_steps=1000,
        synthetic_share=SHARES[arm.name],
        num_images=560,
        num_scenes=28,
        num_drives=28,
    )
    for arm in select_arms(NAMES)
)
Numbers = tuple[float, float, float]  # abs_rel on clear days, at night, in rain


def evaluation(numbers: Numbers, frames: str = "same") -> Evaluation:
    """Two images by night, of which one is a rainy night, with the mean that is given."""
    clear, night, rain = numbers
    by_condition = {
        Condition.CLEAR: clear,
        Condition.NIGHT: night - 0.01,
        Condition.NIGHT_RAIN: night + 0.01,
        Condition.RAIN: rain,
    }
    images = [
        ImageScore(
            frame_id=condition,
            scene_id=condition,
            drive_id="drive",
            condition=condition,
            cap_m=80.0,
            scaling="metric",
            metrics=DepthMetrics(value, 0, 10 * value, 0, 0, 0, 1 - value, 1, 1),
        )
        for condition, value in by_condition.items()
    ]
    return Evaluation(
        model="m",
        dataset="bench",
        frames_sha256=frames,
        sources={"world": 4},
        settings=SETTINGS,
        scores=summarise(SETTINGS, images, []),
        skipped=(),
        images=tuple(images),
    )


def table(
    runs: Mapping[tuple[str, int], Numbers | str],
    seeds: tuple[int, ...],
    constant: Numbers = (0.5, 0.5, 0.5),
) -> Usefulness:
    """The table of runs by arm and seed: their numbers, or the error of one that failed."""
    outcomes = {
        key: Outcome(
            arm=key[0],
            seed=key[1],
            status="failed" if isinstance(found, str) else "finished",
            seconds=100.0 + key[1],
            error=found if isinstance(found, str) else "",
        )
        for key, found in runs.items()
    }
    evaluations = {
        key: evaluation(found) for key, found in runs.items() if not isinstance(found, str)
    }
    baselines = {
        "median-depth": evaluation(constant),
        "teacher": evaluation((0.1, 0.6, 0.3)),
    }
    return usefulness_table(STUDY, FACTS, seeds, outcomes, evaluations, baselines, "nightrain ...")


# Seeds differ much, changes little: night 0.8, 0.7, 0.75 of the clear arm, rain 0.95, 0.9, 0.84.
CLEAR = {0: (0.10, 0.40, 0.20), 1: (0.20, 0.50, 0.40), 2: (0.10, 0.20, 0.20)}
WEATHER = {0: (0.101, 0.32, 0.19), 1: (0.204, 0.35, 0.36), 2: (0.102, 0.15, 0.168)}
RUNS: dict[tuple[str, int], Numbers | str] = {
    **{("clear", seed): numbers for seed, numbers in CLEAR.items()},
    **{("weather", seed): numbers for seed, numbers in WEATHER.items()},
    ("corruptions", 0): (0.10, 0.38, 0.20),
    ("corruptions", 1): "the loss is\nnot finite",
}


def section(text: str, title: str) -> str:
    """What stands below a heading."""
    return text.split(f"## {title}")[1].split("\n## ")[0].strip()


def test_the_tables_literally() -> None:
    text = markdown(table(RUNS, (0, 1, 2)))
    assert text.startswith(
        "# Usefulness of variants for a depth network\n\n`nightrain ...`\n\nAll 3 bounds are met.\n"
    )
    assert section(text, "abs_rel (lower is better)").splitlines()[:8] == [
        "| model | runs | day-clear | night | day-rain | night-rain |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| median-depth | 1 | 0.500 | 0.500 | 0.500 | 0.510 |",
        "| teacher | 1 | 0.100 | 0.600 | 0.300 | 0.610 |",
        "| clear | 3 | 0.133 ± 0.058 | 0.367 ± 0.153 | 0.267 ± 0.115 | 0.377 ± 0.153 |",
        "| corruptions | 1, 1 failed, 1 unfinished | 0.100 | 0.380 | 0.200 | 0.390 |",
        "| weather | 3 | 0.136 ± 0.059 | 0.273 ± 0.108 | 0.239 ± 0.105 | 0.283 ± 0.108 |",
        "| dose-50 | 0, 3 unfinished | - | - | - | - |",
    ]
    change = section(text, "Change of abs_rel against clear frames only, paired by seed")
    rows = [line for line in change.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[:5] for row in rows[2:]] == [
        ["| corruptions", "1, 1 failed, 1 unfinished", "+0.0 %", "-5.0 %", "+0.0 %"],
        ["| weather", "3", "+1.7 ± 0.6 %", "-25.0 ± 5.0 %", "-10.3 ± 5.5 %"],
        ["| dose-50", "0, 3 unfinished", "-", "-", "-"],
    ]
    cost = section(text, "Cost of each condition at the same places")
    rows = [line.split(" | ") for line in cost.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["| model", "| ---", "| clear", "| weather"]
    assert rows[0][1:] == ["night", "rain", "night-rain |"]
    assert rows[2][2] == "+100.0 ± 0.0 %"  # 0.2 in rain of 0.1 by day, and so on
    assert section(text, "Share of synthetic samples").splitlines()[2:] == [
        "| 0 | clear | 3 | 0.133 ± 0.058 | 0.367 ± 0.153 | 0.267 ± 0.115 | 0.377 ± 0.153 |",
        "| 0.5 | dose-50 | 0, 3 unfinished | - | - | - | - |",
        "| 0.8 | weather | 3 | 0.136 ± 0.059 | 0.273 ± 0.108 | 0.239 ± 0.105 | 0.283 ± 0.108 |",
    ]
    assert "| weather | 3 | 1.357 ± 0.592 | 2.733" in section(text, "rmse in metres")
    assert "| weather | 3 | 0.864 ± 0.059 | 0.727" in section(text, "d1")
    assert section(text, "Failed") == "- corruptions seed 1: the loss is not finite"
    assert "No images: snow, fog, dusk." in text and "night 2 (2; 1)" in text
    assert "| weather | + variants of the recipe | 560 (28; 28) | 0.8 | 1000 | 101 |" in text
    assert "takes 1000 steps of 8 samples at 192 x 112" in text


def test_a_change_is_paired_by_seed_and_not_of_means() -> None:
    found = table(RUNS, (0, 1, 2)).arms[2].changes["night"]
    expected = {seed: WEATHER[seed][1] / CLEAR[seed][1] - 1 for seed in CLEAR}
    assert found.by_seed == pytest.approx(expected) and found.std == pytest.approx(0.05)
    of_means = sum(w[1] for w in WEATHER.values()) / sum(c[1] for c in CLEAR.values()) - 1
    assert found.mean == pytest.approx(-0.25) != pytest.approx(of_means, abs=1e-3)


def test_the_bounds_are_judged_in_sentences() -> None:
    assert [v.sentence for v in table(RUNS, (0, 1, 2)).verdicts] == [
        "abs_rel at night should be at least 20 % lower than with clear frames only: the change is "
        "-25.0 ± 5.0 % (3 seeds); met (3 of 3 seeds on their own).",
        "abs_rel in rain by day should be at least 10 % lower than with clear frames only: the "
        "change is -10.3 ± 5.5 % (3 seeds); met (2 of 3 seeds on their own).",
        "abs_rel on clear days should be at most 2 % higher than with clear frames only: the "
        "change is +1.7 ± 0.6 % (3 seeds); met (3 of 3 seeds on their own).",
    ]
    worse = RUNS | {("weather", 1): (0.22, 0.49, 0.36)}
    found = table(worse, (0, 1, 2))
    assert [v.met for v in found.verdicts] == [False, True, False]
    assert found.summary == "1 of 3 bounds are met; missed: night, day-clear."
    assert (
        "-15.7 ± 12.1 % (3 seeds); missed (2 of 3 seeds on their own)" in found.verdicts[0].sentence
    )


def test_no_verdict_where_a_constant_is_better() -> None:
    # At night the constant has rmse 2.6 m and d1 0.74; "weather", the best arm, 2.73 m and 0.727.
    found = table(RUNS, (0, 1, 2), constant=(0.5, 0.26, 0.5))
    assert [v.met for v in found.verdicts] == [None, True, True]
    assert found.summary == "2 of 3 bounds are met; not conclusive: night."
    assert found.verdicts[0].sentence.endswith(
        "the change is -25.0 ± 5.0 % (3 seeds); no verdict: the arm does not beat a constant "
        "median depth in both rmse (2.73 m, constant 2.60 m) and d1 (0.727, constant 0.740)."
    )
    title = "Change of rmse against a constant median depth"
    lines = section(markdown(found), title).splitlines()
    assert lines[0].endswith("No arm beats it in both rmse and d1: night, night-rain.")
    (weather,) = [line for line in lines if line.startswith("| weather ")]
    assert weather.split(" | ")[:4] == ["| weather", "3", "-72.9 ± 11.8 %", "+5.1 ± 41.5 %"]
    best = section(markdown(table(RUNS, (0, 1, 2))), title).splitlines()
    assert best[0].endswith("In every column at least one arm beats it in both rmse and d1.")


def test_a_seed_without_a_number_leaves_the_bounds_open() -> None:
    failed = table(RUNS | {("weather", 2): "killed"}, (0, 1, 2))
    assert [v.met for v in failed.verdicts] == [None] * 3
    assert "not conclusive: seeds 2 have no score" in failed.verdicts[0].sentence
    assert failed.arms[2].failed == {2: "killed"}
    assert failed.summary == "0 of 3 bounds are met; not conclusive: night, day-rain, day-clear."
    later = table(RUNS, (0, 1, 2, 3))  # asked for, not begun
    assert "seeds 3 have no score" in later.verdicts[0].sentence
    two = {key: found for key, found in RUNS.items() if key[1] < 2}
    assert "at least 3 seeds are needed" in table(two, (0, 1)).verdicts[0].sentence
    none = {key: found for key, found in RUNS.items() if key[0] != "clear"}
    assert "no seed has both scores" in table(none, (0, 1, 2)).verdicts[0].sentence


def test_json_says_the_same() -> None:
    found = table(RUNS, (0, 1, 2))
    assert Usefulness.model_validate_json(found.model_dump_json()) == found
    assert markdown(Usefulness.model_validate_json(found.model_dump_json())) == markdown(found)


def test_other_frames_are_not_compared() -> None:
    key = ("clear", 0)
    outcome = Outcome(arm="clear", seed=0, status="finished")
    with pytest.raises(InvalidRequest, match="frames_sha256"):
        usefulness_table(
            STUDY,
            FACTS,
            (0,),
            {key: outcome},
            {key: evaluation((0.1, 0.2, 0.3), frames="other")},
            {"teacher": evaluation((0.1, 0.2, 0.3))},
        )
