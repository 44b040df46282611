"""All tables of a usefulness study in Markdown, behind its short report."""

from typing import Any

import numpy as np

from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.arms import BASELINE, MAIN, TRUE, TRUE_EXACT
from nightrain.pipelines.usefulness.study.arm_result import ArmResult, SeedStatistic, percent
from nightrain.pipelines.usefulness.study.markdown import (
    ABSENT,
    arm_table,
    columns,
    one_line,
    runs_words,
    score_table,
    table_lines,
    with_error,
)
from nightrain.pipelines.usefulness.study.statistics import MeanEstimate
from nightrain.pipelines.usefulness.study.table import Usefulness

STABILITY_FIGURE = "stability.svg"
STABILITY_BUCKET = "night"


def tables_page(found: Usefulness) -> str:
    """Write all tables of the results so far."""
    pages = [
        ["# Tables of the usefulness study", "", f"`{found.command}`", ""],
        ["## abs_rel (lower is better)", "", *score_table(found, "abs_rel"), ""],
        [*_image_counts(found), ""],
        *(_changes(found, metric) for metric in ("abs_rel", "rmse", "d1")),
        _against_constant(found),
        _gaps(found),
        _stability(found),
        _condition_costs(found),
        ["## Share of synthetic samples", "", *_dose_table(found), ""],
        ["## rmse in metres (lower is better)", "", *score_table(found, "rmse"), ""],
        ["## d1 (higher is better)", "", *score_table(found, "d1"), ""],
        _spread_over_seeds(found),
        _selection(found),
        ["## Training data and cost of each arm", "", *_setup(found), "", *_arm_table(found), ""],
        _failures(found),
    ]
    return "\n".join(line for page in pages for line in page).rstrip() + "\n"


def _changes(found: Usefulness, metric: str) -> list[str]:
    def change(arm: ArmResult, bucket: str) -> SeedStatistic | None:
        return arm.changes.get(bucket, {}).get(metric)

    arms = [arm for arm in found.arms if arm.name != arm.facts.arm.baseline]
    return [
        *(f"## Change of {metric} against clear frames only, paired by seed", ""),
        *arm_table(found, change, percent, arms),
        "",
    ]


def _against_constant(found: Usefulness) -> list[str]:
    if MEDIAN_DEPTH not in found.baselines:
        return []
    return [
        *("## Change of rmse against a constant median depth", ""),
        f"{MEDIAN_DEPTH} sees no image.",
        "",
        *arm_table(found, lambda a, b: a.rmse_against_constant.get(b), percent, found.arms),
        "",
    ]


def _gaps(found: Usefulness) -> list[str]:
    kinds = {TRUE: "with the same labels", TRUE_EXACT: "with exact depth"}
    lines = []
    for true, words in kinds.items():
        arms = [arm for arm in found.arms if arm.gaps.get(true)]
        if arms:
            lines += [
                *(f"## Share of the gap to recorded twins {words} that is closed", ""),
                f"(clear - arm) / (clear - {true}) in abs_rel; only where the gap is above 0 at "
                "95 %.",
                "",
                *arm_table(found, lambda a, b, t=true: a.gaps.get(t, {}).get(b), percent, arms),
                "",
            ]
    return lines


def _stability(found: Usefulness) -> list[str]:
    arms = [arm for arm in found.arms if "mean_dv" in arm.stability]
    if not arms:
        return []
    rows = []
    for arm in arms:
        error = arm.scores.get(STABILITY_BUCKET, {}).get("abs_rel")
        values = [arm.stability.get(name) for name in ("mean_dv", "max_piv")]
        cells = [ABSENT if v is None else f"{v.mean:.4f}" for v in values]
        rows.append([arm.name, *cells, ABSENT if error is None else with_error(error)])
    rank = rank_correlation(arms)
    words = "" if rank is None else f" Rank correlation of MeanDV with it: {rank:.2f}."
    return [
        *("## Stability without labels", ""),
        "Variation of predicted depth over images of one geometry (a clear frame, its recorded "
        "twins and its variants): mean (MeanDV) and worst image (MaxPIV), relative to depth. A "
        f"constant has 0. Beside them abs_rel in the bucket {STABILITY_BUCKET}.{words}",
        "",
        *table_lines(["model", "MeanDV", "MaxPIV", "abs_rel"], rows, num_left=1),
        "",
        f"![Stability against error]({STABILITY_FIGURE})",
        "",
    ]


def rank_correlation(arms: list[ArmResult]) -> float | None:
    """Spearman's correlation of MeanDV with abs_rel at night over arms; None for less than 3."""
    from scipy.stats import spearmanr

    points = stability_points(arms)
    if len(points) < 3 or min(np.ptp(points, axis=0)) == 0:
        return None
    result: Any = spearmanr(*np.transpose(points))
    return float(result.statistic)


def stability_points(arms: list[ArmResult]) -> list[tuple[float, float]]:
    """MeanDV and abs_rel at night of the arms that have both."""
    pairs = [
        (arm.stability.get("mean_dv"), arm.scores.get(STABILITY_BUCKET, {}).get("abs_rel"))
        for arm in arms
    ]
    return [(a.mean, b.mean) for a, b in pairs if a is not None and b is not None]


def _condition_costs(found: Usefulness) -> list[str]:
    arms = [arm for arm in found.arms if arm.name in (BASELINE, MAIN) and arm.costs]
    if not arms:
        return []
    conditions = list(arms[0].costs)
    rows = [
        [arm.name, *(percent(arm.costs[c]) if c in arm.costs else ABSENT for c in conditions)]
        for arm in arms
    ]
    return [
        *("## Cost of each condition at the same places", ""),
        "Increase of abs_rel over clear days, over drives that were recorded under both. If a "
        "condition does not hurt the clear-trained student, variants cannot improve it.",
        "",
        *table_lines(["model", *conditions], rows, num_left=1),
        "",
    ]


def _dose_table(found: Usefulness) -> list[str]:
    """abs_rel of the arms that differ only in the share of synthetic samples, by that share."""
    arms = [arm for arm in found.arms if arm.facts.arm.on_dose_curve]
    rows = []
    for arm in sorted(arms, key=lambda a: a.facts.synthetic_share):
        scores = [arm.scores.get(b, {}).get("abs_rel") for b in columns(found)]
        cells = [ABSENT if s is None else with_error(s) for s in scores]
        rows.append([f"{arm.facts.synthetic_share:.3g}", arm.name, runs_words(arm), *cells])
    return table_lines(["share", "model", "runs", *columns(found)], rows, num_left=3)


def _spread_over_seeds(found: Usefulness) -> list[str]:
    """Sample standard deviation of abs_rel over seeds, which says nothing about places."""

    def score(arm: ArmResult, bucket: str) -> SeedStatistic | None:
        return arm.scores.get(bucket, {}).get("abs_rel")

    def spread(value: SeedStatistic | MeanEstimate) -> str:
        std = value.std if isinstance(value, SeedStatistic) else None
        return ABSENT if std is None else f"{std:.4f}"

    title = "## Standard deviation of abs_rel over seeds"
    return [title, "", *arm_table(found, score, spread, found.arms), ""]


def _selection(found: Usefulness) -> list[str]:
    lines = ["## What each split was used for", "", "- train: training, and the median depth."]
    if found.study.selected_on is not None:
        lines.append(f"- {found.study.selected_on}: selection. {found.selection.sentence}")
    else:
        lines.append(f"- selection: none. {found.selection.sentence}")
    if errors := found.study.errors_on_val:
        each = ", ".join(f"{steps}: {error:.4f}" for steps, error in errors.items())
        lines.append(
            f"- val, in studies of their own: {found.study.num_steps} steps, the smallest number "
            f"with an error at most 1 % above the lowest (abs_rel by steps: {each})."
        )
    lines.append(f"- {found.study.settings.split}: all scores, changes and tests.")
    return [*lines, ""]


def _setup(found: Usefulness) -> list[str]:
    study = found.study
    width, height = study.input_size
    return [
        f"Every student starts from the weights of the teacher {study.teacher} (row `teacher`) and "
        f"takes {study.num_steps} steps of {study.batch_size} samples at {width} x {height}, "
        "unless the table below says otherwise. Optimiser, schedule and augmentation are those of "
        f"the preset `world-student`. The labels are {study.labels}, the teacher's depth of the "
        f"clear frames of {study.dataset}; the variants are those of {', '.join(study.variants)}.",
        "",
        "median-depth is a constant median-depth baseline from the train split. Models are "
        f"scored on the {study.settings.split} split against {study.settings.truth} depth up to "
        f"{found.cap_m:g} m, without scaling, after their last step. Rows that say aligned are "
        "foundation models that were not trained here; scale and shift of their inverse depth "
        "are fitted to the true depth of each image.",
    ]


def _arm_table(found: Usefulness) -> list[str]:
    rows = []
    for arm in found.arms:
        facts = arm.facts
        shown = f"{facts.num_images} ({facts.num_scenes}; {facts.num_drives})"
        seconds = ABSENT if arm.seconds is None else f"{arm.seconds:.0f}"
        share = f"{facts.synthetic_share:.3g}"
        rows.append([arm.name, facts.arm.words, shown, share, str(facts.num_steps), seconds])
    header = ["model", "training data", "train images (scenes; drives)", "synthetic share", "steps"]
    return table_lines([*header, "seconds per run"], rows, num_left=2)


def _failures(found: Usefulness) -> list[str]:
    lines = [
        f"- {arm.name} seed {seed}: {one_line(error)}"
        for arm in found.arms
        for seed, error in arm.failed.items()
    ]
    failed = ["## Failed", "", *lines, ""] if lines else []
    absent = [f"- {one_line(words)}" for words in found.left_out]
    return [*failed, *(["## Left out", "", *absent, ""] if absent else [])]


def _image_counts(found: Usefulness) -> list[str]:
    there = [
        f"{b.bucket} {b.num_images} ({b.num_scenes}; {b.num_drives})"
        for b in found.buckets
        if b.num_images
    ]
    lines = [
        "Mean ± standard error over places and seeds; night includes night-rain, as in md4all. "
        f"Images (scenes; places): {', '.join(there)}."
    ]
    if absent := [b.bucket for b in found.buckets if not b.num_images]:
        lines.append(f"No images: {', '.join(absent)}.")
    if skipped := [f"{b.bucket} {b.num_skipped}" for b in found.buckets if b.num_skipped]:
        lines.append(f"Skipped without valid truth: {', '.join(skipped)}.")
    return lines
