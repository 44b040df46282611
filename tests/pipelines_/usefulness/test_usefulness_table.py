"""Report and tables of a study, literally, from evaluations that are made up."""

from collections.abc import Mapping
from xml.etree import ElementTree

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.splits import Split
from nightrain.depthmodel.evaluation.metrics import DepthMetrics
from nightrain.depthmodel.evaluation.results import Evaluation, ImageScore, summarise
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.pipelines.usefulness.arms import ARMS
from nightrain.pipelines.usefulness.records import ArmFacts, Study
from nightrain.pipelines.usefulness.run_arms import Outcome
from nightrain.pipelines.usefulness.stability import Stability
from nightrain.pipelines.usefulness.study.arm_selection import ArmSelection, select_arm
from nightrain.pipelines.usefulness.study.figures import error_figure, stability_figure
from nightrain.pipelines.usefulness.study.report import markdown
from nightrain.pipelines.usefulness.study.table import Usefulness, usefulness_table
from nightrain.pipelines.usefulness.study.tables_page import tables_page

SETTINGS = EvaluationSettings(split="test", truth="exact", caps_m=(80.0,), scalings=("metric",))
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
    selected_on="val",
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
    for arm in (ARMS[name] for name in NAMES)
)
Numbers = tuple[float, float, float]  # abs_rel on clear days, at night, in rain


PLACES = {"a": 0.98, "b": 1.02, "c": 0.99, "d": 1.01}  # by name: factor of its errors


def evaluation(numbers: Numbers, frames: str = "same", split: Split = "test") -> Evaluation:
    """Images of four places; by night one in two is of a rainy night. The means are as given."""
    clear, night, rain = numbers
    by_condition = {
        Condition.CLEAR: clear,
        Condition.NIGHT: night - 0.01,
        Condition.NIGHT_RAIN: night + 0.01,
        Condition.RAIN: rain,
    }
    settings = SETTINGS.model_copy(update={"split": split})
    images = [
        ImageScore(
            frame_id=f"{place}-{condition}",
            scene_id=f"{place}-{condition}",
            drive_id=place,
            condition=condition,
            cap_m=80.0,
            scaling="metric",
            metrics=DepthMetrics(
                value * factor, 0, 10 * value * factor, 0, 0, 0, 1 - value * factor, 1, 1
            ),
        )
        for place, factor in PLACES.items()
        for condition, value in by_condition.items()
    ]
    return Evaluation(
        model="m",
        dataset="bench",
        frames_sha256=frames,
        sources={"world": len(images)},
        settings=settings,
        scores=summarise(settings, images, []),
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


# Seeds differ much, changes little: night 0.74, 0.75, 0.76 of the clear arm, rain 0.95, 0.9, 0.84.
CLEAR = {0: (0.10, 0.40, 0.20), 1: (0.20, 0.50, 0.40), 2: (0.10, 0.20, 0.20)}
WEATHER = {0: (0.101, 0.296, 0.19), 1: (0.202, 0.375, 0.36), 2: (0.102, 0.152, 0.168)}
RUNS: dict[tuple[str, int], Numbers | str] = {
    **{("clear", seed): numbers for seed, numbers in CLEAR.items()},
    **{("weather", seed): numbers for seed, numbers in WEATHER.items()},
    ("corruptions", 0): (0.10, 0.38, 0.20),
    ("corruptions", 1): "the loss is\nnot finite",
}
COMPLETE = {key: found for key, found in RUNS.items() if key[0] != "corruptions"}


def section(text: str, title: str) -> str:
    """What stands below a heading."""
    return text.split(f"## {title}")[1].split("\n## ")[0].strip()


def rows_of(text: str) -> list[list[str]]:
    """Cells of a table's rows below its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def test_the_tables_literally() -> None:
    text = tables_page(table(RUNS, (0, 1, 2)))
    assert section(text, "abs_rel (lower is better)").splitlines()[:8] == [
        "| model | runs | day-clear | night | day-rain | night-clear | night-rain |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| median-depth | 1 | 0.500 ± 0.005 | 0.500 ± 0.005 | 0.500 ± 0.005 | 0.490 ± 0.004 "
        "| 0.510 ± 0.005 |",
        "| teacher | 1 | 0.100 ± 0.001 | 0.600 ± 0.005 | 0.300 ± 0.003 | 0.590 ± 0.005 "
        "| 0.610 ± 0.006 |",
        "| clear | 3 | 0.133 ± 0.033 | 0.367 ± 0.088 | 0.267 ± 0.067 | 0.357 ± 0.088 "
        "| 0.377 ± 0.088 |",
        "| corruptions | 1, 1 failed, 1 unfinished | 0.100 ± 0.001 | 0.380 ± 0.003 | 0.200 ± 0.002 "
        "| 0.370 ± 0.003 | 0.390 ± 0.004 |",
        "| weather | 3 | 0.135 ± 0.034 | 0.274 ± 0.065 | 0.239 ± 0.061 | 0.264 ± 0.065 "
        "| 0.284 ± 0.065 |",
        "| dose-50 | 0, 3 unfinished | - | - | - | - | - |",
    ]
    for metric in ("abs_rel", "rmse"):
        title = f"Change of {metric} against clear frames only, paired by seed"
        assert [row[:5] for row in rows_of(section(text, title))] == [
            [
                "corruptions",
                "1, 1 failed, 1 unfinished",
                "+0.0 ± 0.0 %",
                "-5.0 ± 0.0 %",
                "+0.0 ± 0.0 %",
            ],
            ["weather", "3", "+1.3 ± 0.3 %", "-25.0 ± 0.6 %", "-10.3 ± 3.2 %"],
            ["dose-50", "0, 3 unfinished", "-", "-", "-"],
        ]
    d1 = rows_of(section(text, "Change of d1 against clear frames only, paired by seed"))
    assert d1[1][3] == "+16.1 ± 5.5 %"
    cost = rows_of(section(text, "Cost of each condition at the same places"))
    assert [row[0] for row in cost] == ["clear", "weather"]
    assert cost[0][2] == "+100.0 %"  # 0.2 in rain of 0.1 by day, and so on
    doses = rows_of(section(text, "Share of synthetic samples"))
    assert [row[:3] for row in doses] == [
        ["0", "clear", "3"],
        ["0.5", "dose-50", "0, 3 unfinished"],
        ["0.8", "weather", "3"],
    ]
    assert rows_of(section(text, "rmse in metres"))[4][2:4] == ["1.350 ± 0.335", "2.743 ± 0.653"]
    assert "| weather | 3 | 0.865 ± 0.034 | 0.726" in section(text, "d1 (higher")
    spread = rows_of(section(text, "Standard deviation of abs_rel over seeds"))
    assert spread[2][2:4] == ["0.0580", "0.1131"] and spread[1][2] == "-"
    assert section(text, "Failed") == "- corruptions seed 1: the loss is not finite"
    assert "No images: snow, fog, dusk." in text and "night 8 (8; 4)" in text
    assert "| weather | + variants of --variants | 560 (28; 28) | 0.8 | 1000 | 101 |" in text
    assert "takes 1000 steps of 8 samples at 192 x 112" in text
    assert "- test: all scores, changes and tests." in section(text, "What each split was used for")


def test_the_report_is_short_and_says_what_holds() -> None:
    text = markdown(table(COMPLETE, (0, 1, 2)))
    assert len(text.splitlines()) < 60
    assert text.startswith(
        "# Usefulness of variants for a depth network\n\n`nightrain ...`\n\n## Result\n"
    )
    result = section(text, "Result")
    assert "All numbers below are of the test split." in result
    assert (
        "- At night weather changes abs_rel by -25.0 ± 0.6 % and rmse by -25.0 ± 0.6 % against "
        "clear; its d1 is 0.726 ± 0.065 (+16.1 ± 5.5 %)." in result
    )
    assert rows_of(section(text, "Change at night")) == [
        ["weather", "-25.0 ± 0.6 %", "-25.0 ± 0.6 %", "+16.1 ± 5.5 %", "-"]
    ]
    assert rows_of(section(text, "Scores"))[2][:4] == [
        *("clear", "3", "0.133 ± 0.033", "1.333 ± 0.334")
    ]


def test_a_change_is_paired_by_seed_and_not_of_means() -> None:
    found = table(RUNS, (0, 1, 2)).arms[2].changes["night"]["abs_rel"]
    expected = {seed: WEATHER[seed][1] / CLEAR[seed][1] - 1 for seed in CLEAR}
    assert found.by_seed == pytest.approx(expected) and found.std == pytest.approx(0.01)
    of_means = sum(w[1] for w in WEATHER.values()) / sum(c[1] for c in CLEAR.values()) - 1
    assert found.mean == pytest.approx(-0.25) != pytest.approx(of_means, abs=1e-3)


def test_the_bounds_are_judged_in_sentences() -> None:
    found = table(COMPLETE, (0, 1, 2))
    assert [v.sentence for v in found.verdicts] == [
        "abs_rel at night should be at least 20 % lower than with the arm clear: weather changes "
        "it by -25.0 ± 0.6 % (3 seeds, 4 places, p = 0.006); met.",
        "abs_rel in rain by day should be at least 10 % lower than with the arm clear: weather "
        "changes it by -10.3 ± 3.2 % (3 seeds, 4 places, p = 0.463); not shown at 95 %.",
        "abs_rel on clear days should be at most 2 % higher than with the arm clear: weather "
        "changes it by +1.3 ± 0.3 % (3 seeds, 4 places, p = 0.092); not shown at 95 %.",
        "rmse on clear days should be at most 2 % higher than with the arm clear: weather "
        "changes it by +1.3 ± 0.3 % (3 seeds, 4 places, p = 0.092); not shown at 95 %.",
        "rmse at night should be below that of a constant median depth: weather has 2.743, the "
        "constant 5.000 (3 seeds, 4 places, p = 0.037); met.",
        "d1 at night should be above that of a constant median depth: weather has 0.726, the "
        "constant 0.500 (3 seeds, 4 places, p = 0.037); met.",
        "rmse on clear days of every student should be at least 20 % lower than that of a constant "
        "median depth: the weakest, weather, changes it by -73.0 ± 6.7 % (3 seeds, 4 places, "
        "p = 0.008); 2 of 2 students meet it; met.",
    ]
    assert found.summary == (
        "4 of 7 bounds are met; missed or not shown: day-rain abs_rel, day-clear abs_rel, "
        "day-clear rmse."
    )
    worse = COMPLETE | {("weather", 1): (0.26, 0.49, 0.36)}
    found = table(worse, (0, 1, 2))
    assert [v.met for v in found.verdicts[:4]] == [False] * 4
    assert found.verdicts[0].sentence.endswith("(3 seeds, 4 places, p = 0.619); missed.")


def test_no_verdict_where_a_constant_is_better() -> None:
    # At night the constant has rmse 2.6 m and d1 0.74; "weather", the best arm, 2.74 m and 0.726.
    found = table(COMPLETE, (0, 1, 2), constant=(0.5, 0.26, 0.5))
    assert [v.met for v in found.verdicts[:2]] == [None, False]
    assert [v.met for v in found.verdicts[4:6]] == [False, False]
    assert found.verdicts[0].sentence.endswith(
        "no verdict: the arm does not beat a constant median depth in both rmse (2.74 m, "
        "constant 2.60 m) and d1 (0.726, constant 0.740)."
    )
    worse = "No arm beats a constant median depth in both rmse and d1"
    assert f"{worse}: night, night-clear, night-rain." in markdown(found)
    assert worse not in markdown(table(COMPLETE, (0, 1, 2)))
    against = section(tables_page(found), "Change of rmse against a constant median depth")
    assert rows_of(against)[2][:4] == ["weather", "3", "-73.0 ± 6.7 %", "+5.5 ± 25.1 %"]


def test_a_seed_without_a_number_leaves_the_bounds_open() -> None:
    failed = table(COMPLETE | {("weather", 2): "killed"}, (0, 1, 2))
    assert [v.met for v in failed.verdicts] == [None] * 7
    assert "not conclusive: seeds 2 have no score" in failed.verdicts[0].sentence
    assert failed.arms[2].failed == {2: "killed"}
    assert failed.summary.startswith("0 of 7 bounds are met; not conclusive: night abs_rel, ")
    later = table(RUNS, (0, 1, 2, 3))  # asked for, not begun
    assert "seeds 3 have no score" in later.verdicts[0].sentence
    two = {key: found for key, found in RUNS.items() if key[1] < 2}
    assert "at least 3 seeds are needed" in table(two, (0, 1)).verdicts[0].sentence
    none = {key: found for key, found in RUNS.items() if key[0] != "clear"}
    assert "no seed has both scores" in table(none, (0, 1, 2)).verdicts[0].sentence


def test_json_says_the_same() -> None:
    found = table(RUNS, (0, 1, 2))
    again = Usefulness.model_validate_json(found.model_dump_json())
    assert again == found
    for page in (markdown, tables_page, error_figure):
        assert page(again) == page(found)


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


# ArmSelection


def selected(scores: Mapping[tuple[str, int], float], split: Split | None = "val") -> ArmSelection:
    found = {key: evaluation((0.1, night, 0.2), split="val") for key, night in scores.items()}
    return select_arm([ARMS[name] for name in ("clear", *GENERATORS)], split, found)


GENERATORS = ("weather", "diffusion", "both", "no-mask", "dose-50")


def test_the_arm_to_judge_is_selected_on_val_over_the_seeds_that_all_have() -> None:
    scores = {("weather", 0): 0.3, ("diffusion", 0): 0.25, ("diffusion", 1): 0.9, ("both", 0): 0.26}
    found = selected(scores)
    assert found.chosen == "diffusion" and list(found.scores) == ["weather", "diffusion", "both"]
    assert found.scores["diffusion"].by_seed == {0: pytest.approx((2 * 0.25 + 0.2) / 3)}
    assert "lowest abs_rel on the adverse images of val (weather 0.267, diff" in found.sentence
    # Arms that are no generator of their own take no part, and nothing is selected without a split.
    assert selected(scores | {("no-mask", 0): 0.1, ("dose-50", 0): 0.1}) == found
    assert selected(scores, None).chosen == "weather"
    assert "fixed beforehand" in selected({("weather", 0): 0.3}).sentence


def test_the_selected_arm_is_the_one_with_verdicts() -> None:
    facts = (*FACTS, FACTS[2].model_copy(update={"arm": ARMS["diffusion"]}))
    runs = {**COMPLETE, **{("diffusion", seed): (0.1, 0.2, 0.1) for seed in (0, 1, 2)}}
    evaluations = {
        key: evaluation(found) for key, found in runs.items() if isinstance(found, tuple)
    }
    selecting = {
        key: evaluation((0.1, 0.1 if key[0] == "diffusion" else 0.2, 0.1), split="val")
        for key in runs
        if key[0] in ("weather", "diffusion")
    }
    baselines = {"median-depth": evaluation((0.5, 0.5, 0.5))}
    found = usefulness_table(
        STUDY, facts, (0, 1, 2), {}, evaluations, baselines, selecting=selecting
    )
    assert found.selection.chosen == "diffusion"
    assert {v.arm for v in found.verdicts[:6]} == {"diffusion"}


# Gaps, targets, stability


def test_the_gap_to_recorded_twins_and_the_table_of_images_and_targets() -> None:
    names = ("clear", "weather", "true-adverse", "clear-exact")
    facts = tuple(FACTS[0].model_copy(update={"arm": ARMS[name]}) for name in names)
    numbers = {"clear": 0.4, "weather": 0.3, "true-adverse": 0.2, "clear-exact": 0.35}
    evaluations = {
        (name, seed): evaluation((0.1, night + 0.001 * seed, 0.2))
        for name, night in numbers.items()
        for seed in (0, 1, 2)
    }
    stabilities = {
        (name, seed): Stability(num_geometries=4, num_images=8, mean_dv=night / 4, max_piv=night)
        for (name, seed), night in [((n, s), numbers[n]) for n, s in evaluations]
    }
    found = usefulness_table(
        STUDY, facts, (0, 1, 2), {}, evaluations, {"t": evaluation((0.1, 0.2, 0.3))},
        stabilities=stabilities,
    )  # fmt: skip
    gaps = {arm.name: arm.gaps for arm in found.arms}
    assert gaps["weather"]["true-adverse"]["night"].mean == pytest.approx(0.5)
    assert "day-clear" not in gaps["weather"]["true-adverse"]  # there is no gap to close
    assert not gaps["clear"] and not gaps["true-adverse"]
    text = markdown(found)
    assert "with the same labels, weather closes 50.0 ± 0.0 % at night." in text
    targets = rows_of(section(text, "Images and targets"))
    assert ["clear frames, night", "0.401 ± 0.004", "0.351 ± 0.003"] in targets
    assert ["recorded twins, night", "0.201 ± 0.002", "-"] in targets
    stable = section(tables_page(found), "Stability without labels")
    assert rows_of(stable)[0] == ["clear", "0.1000", "0.4000", "0.401 ± 0.004"]
    assert "Rank correlation of MeanDV with it: 1.00." in stable
    for figure in (error_figure(found), stability_figure(found)):
        root = ElementTree.fromstring(figure)
        texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {*names} <= {*texts} and "nan" not in figure
