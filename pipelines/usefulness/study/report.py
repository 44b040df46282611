"""Report of a usefulness study in Markdown: the result in sentences, verdicts and one table.

All tables are on another page (tables_page.py), so that the report stays short.
"""

from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.arms import BASELINE, DOUBLE, TRUE, TRUE_EXACT
from nightrain.pipelines.usefulness.study.arm_result import ArmResult, SeedStatistic, percent
from nightrain.pipelines.usefulness.study.constant import beats_constant
from nightrain.pipelines.usefulness.study.markdown import (
    ABSENT,
    columns,
    one_line,
    runs_words,
    table_lines,
    with_error,
)
from nightrain.pipelines.usefulness.study.statistics import MeanEstimate
from nightrain.pipelines.usefulness.study.table import Usefulness

REPORT_FILE, TABLES_FILE, FIGURE_FILE = "usefulness.md", "tables.md", "usefulness.svg"
SHOWN = ("day-clear", "night", "day-rain")  # buckets of the report's table
WORDS = {"day-clear": "on clear days", "night": "at night", "day-rain": "in rain by day"}
TARGETS = ("the teacher's labels", "exact depth")
# Rows of the table of images and targets: images, arm with labels, arm with exact depth.
IMAGES = (
    ("clear frames", BASELINE, "clear-exact"),
    ("variants of --variants", "weather", "weather-exact"),
    ("variants of --diffusion", "diffusion", "diffusion-exact"),
    ("recorded twins", TRUE, TRUE_EXACT),
)


def markdown(found: Usefulness) -> str:
    """Write the report of the results so far."""
    pages = [
        ["# Usefulness of variants for a depth network", "", f"`{found.command}`", ""],
        ["## Result", "", found.summary, "", *(f"- {one_line(s)}" for s in _result(found)), ""],
        ["## Bounds", "", _bounds_words(found), ""],
        [*(f"- {verdict.sentence}" for verdict in found.verdicts), ""],
        ["## Scores", "", *_scores(found), "", f"![Error of each arm]({FIGURE_FILE})", ""],
        _changes_of_all(found),
        _images_and_targets(found),
        [f"All tables, the training data of each arm and failures: {TABLES_FILE}.", ""],
    ]
    return "\n".join(line for page in pages for line in page).rstrip() + "\n"


def _result(found: Usefulness) -> list[str]:
    """Sentences of the result, in the order of their importance."""
    arms = {arm.name: arm for arm in found.arms}
    judged, split = arms.get(found.selection.chosen), found.study.settings.split
    sentences = [f"{found.selection.sentence} All numbers below are of the {split} split."]
    if judged is not None and judged.seeds:
        sentences += [_changes(judged, bucket) for bucket in SHOWN if bucket in judged.changes]
        sentences += _gap(judged)
    if none := _worse_than_constant(found):
        sentences.append(
            f"No arm beats a constant median depth in both rmse and d1: {', '.join(none)}."
        )
    for name, words in (
        (DOUBLE, "With twice the steps on clear frames"),
        ("corruptions", "With simple corruptions"),
        ("norms", "With normalisation layers alone trained on clear frames"),
        ("few-parameters", "With a pretrained encoder and few trained parameters on clear frames"),
    ):
        if name in arms and (change := arms[name].changes.get("night", {}).get("abs_rel")):
            sentences.append(f"{words}, abs_rel at night changes by {percent(change)}.")
    return sentences


def _changes(arm: ArmResult, bucket: str) -> str:
    changes, scores = arm.changes[bucket], arm.scores[bucket]
    return (
        f"{WORDS[bucket].capitalize()} {arm.name} changes abs_rel by {percent(changes['abs_rel'])} "
        f"and rmse by {percent(changes['rmse'])} against {arm.facts.arm.baseline}; its d1 is "
        f"{with_error(scores['d1'])} ({percent(changes['d1'])})."
    )


def _gap(arm: ArmResult) -> list[str]:
    kinds = {TRUE: "with the same labels", TRUE_EXACT: "with exact depth"}
    shares = {
        true: [
            f"{_share(share)} {WORDS[bucket]}"
            for bucket, share in arm.gaps.get(true, {}).items()
            if bucket in WORDS
        ]
        for true in kinds
    }
    return [
        f"Of the gap in abs_rel to recorded twins {kinds[true]}, {arm.name} closes "
        f"{' and '.join(found)}."
        for true, found in shares.items()
        if found
    ]


def _share(share: MeanEstimate) -> str:
    return percent(share).removeprefix("+")


def _worse_than_constant(found: Usefulness) -> list[str]:
    """Buckets in which no arm with scores beats the constant."""
    if MEDIAN_DEPTH not in found.baselines:
        return []
    beaten = {
        bucket: [beats_constant(arm, bucket, found.baselines) for arm in found.arms]
        for bucket in columns(found)
    }
    return [bucket for bucket, each in beaten.items() if True not in each and False in each]


def _bounds_words(found: Usefulness) -> str:
    return (
        "A bound is met where a one-sided test at 95 % over places and seeds rejects that it does "
        f"not hold. ± is one standard error over places and seeds; the places are those of the "
        f"{found.study.settings.split} split."
    )


def _scores(found: Usefulness) -> list[str]:
    """Table of the three main buckets: scores, and the change of abs_rel and rmse at night."""
    buckets = [bucket for bucket in SHOWN if bucket in columns(found)]
    metrics = ("abs_rel", "rmse", "d1")
    header = ["model", "runs", *(f"{b} {m}" for b in buckets for m in metrics)]
    rows = [
        [name, "1", *(with_error(values[b][m]) for b in buckets for m in metrics)]
        for name, values in found.baselines.items()
    ]
    for arm in found.arms:
        cells = [_cell(arm.scores.get(b, {}).get(m)) for b in buckets for m in metrics]
        rows.append([arm.name, runs_words(arm), *cells])
    return table_lines(header, rows, num_left=2)


def _cell(value: SeedStatistic | None) -> str:
    return ABSENT if value is None else with_error(value)


def _changes_of_all(found: Usefulness) -> list[str]:
    """Table of the changes of every arm in the first adverse bucket that has images."""
    bucket = next((b for b in ("night", "day-rain") if b in columns(found)), None)
    arms = [arm for arm in found.arms if bucket in arm.changes]
    if bucket is None or not arms:
        return []
    rows = []
    for arm in arms:
        gap = arm.gaps.get(TRUE, {}).get(bucket)
        cells = [percent(arm.changes[bucket][metric]) for metric in ("abs_rel", "rmse", "d1")]
        rows.append([arm.name, *cells, ABSENT if gap is None else _share(gap)])
    return [
        *(f"## Change {WORDS[bucket]}", ""),
        "Against clear frames only with the same backbone, paired by seed; the last column is the "
        f"share of the gap in abs_rel to {TRUE} that is closed.",
        "",
        *table_lines(["model", "abs_rel", "rmse", "d1", "gap closed"], rows, num_left=1),
        "",
    ]


def _images_and_targets(found: Usefulness) -> list[str]:
    """Table of abs_rel by images and targets, where an arm with exact depth has scores."""
    arms = {arm.name: arm for arm in found.arms if arm.seeds}
    rows = [
        [f"{images}, {bucket}", *(_abs_rel(arms.get(arm), bucket) for arm in (labels, exact))]
        for images, labels, exact in IMAGES
        for bucket in SHOWN
        if bucket in columns(found) and (labels in arms or exact in arms)
    ]
    if not any(exact in arms for _, _, exact in IMAGES):
        return []
    return [
        *("## Images and targets", ""),
        "abs_rel by what a student sees and what it learns: the rows part the domain of the "
        "images, the columns the quality of the labels.",
        "",
        *table_lines(["images, condition", *TARGETS], rows, num_left=1),
        "",
    ]


def _abs_rel(arm: ArmResult | None, bucket: str) -> str:
    return ABSENT if arm is None else _cell(arm.scores.get(bucket, {}).get("abs_rel"))
