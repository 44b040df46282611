"""The result of a study in Markdown: tables, and sentences computed from their numbers."""

from collections.abc import Callable, Iterable, Sequence

from nightrain.pipelines.usefulness.arms import BASELINE, MAIN
from nightrain.pipelines.usefulness.table import (
    COLUMNS,
    ArmResult,
    SeedStatistic,
    Usefulness,
    percent,
)

ABSENT = "-"
Cell = Callable[[ArmResult, str], SeedStatistic | None]


def markdown(found: Usefulness) -> str:
    """The whole report."""
    pages = [
        ["# What variants are worth to a depth network", "", f"`{found.command}`", ""],
        [found.summary, "", *(f"- {v.sentence}" for v in found.verdicts), ""],
        [
            "## abs_rel (lower is better)",
            "",
            *score_table(found, "abs_rel"),
            "",
            *_stands_on(found),
        ],
        ["", "## Change of abs_rel against clear frames only, paired by seed", ""],
        ["The column day-clear is what is forgotten by day where it is above 0.", ""],
        _table(found, _change, percent, [a for a in found.arms if a.facts.arm.name != BASELINE]),
        _same_places(found),
        ["", "## Share of synthetic samples", "", *_dose_table(found)],
        ["", "## rmse in metres (lower is better)", "", *score_table(found, "rmse")],
        ["", "## d1 (higher is better)", "", *score_table(found, "d1")],
        ["", "## Who learned what", "", *_setup(found), "", *_arm_table(found)],
        _failures(found),
    ]
    return "\n".join(line for page in pages for line in page) + "\n"


def score_table(found: Usefulness, metric: str) -> list[str]:
    """Lines of the table of a metric: models in rows, conditions in columns."""

    def score(arm: ArmResult, bucket: str) -> SeedStatistic | None:
        return arm.scores.get(bucket, {}).get(metric)

    baselines = [
        [name, "1", *(f"{values[b][metric]:.3f}" for b in _columns(found))]
        for name, values in found.baselines.items()
    ]
    return _table(found, score, _with_std, found.arms, baselines)


def _table(
    found: Usefulness,
    cell: Cell,
    text: Callable[[SeedStatistic], str],
    arms: Iterable[ArmResult],
    first: Sequence[list[str]] = (),
) -> list[str]:
    rows = []
    for arm in arms:
        numbers = [cell(arm, bucket) for bucket in _columns(found)]
        cells = [ABSENT if number is None else text(number) for number in numbers]
        rows.append([arm.facts.arm.name, _runs(arm), *cells])
    return _lines(["model", "runs", *_columns(found)], [*first, *rows], num_left=2)


def _same_places(found: Usefulness) -> list[str]:
    arms = [arm for arm in found.arms if arm.facts.arm.name in (BASELINE, MAIN) and arm.costs]
    if not arms:
        return []
    conditions = list(arms[0].costs)
    rows = [
        [a.facts.arm.name, *(percent(a.costs[c]) if c in a.costs else ABSENT for c in conditions)]
        for a in arms
    ]
    return [
        *("", "## What a condition costs at the same places", ""),
        "abs_rel under it against a clear day, over the drives that were recorded under both. What "
        "costs the first row nothing leaves variants nothing to gain.",
        "",
        *_lines(["model", *conditions], rows, num_left=1),
    ]


def _change(arm: ArmResult, bucket: str) -> SeedStatistic | None:
    return arm.changes.get(bucket)


def _dose_table(found: Usefulness) -> list[str]:
    """abs_rel of the arms that differ in the share of synthetic samples alone, by that share."""
    arms = [arm for arm in found.arms if arm.facts.arm.on_dose_curve]
    rows = []
    for arm in sorted(arms, key=lambda a: a.facts.synthetic_share):
        scores = [arm.scores.get(b, {}).get("abs_rel") for b in _columns(found)]
        cells = [ABSENT if s is None else _with_std(s) for s in scores]
        rows.append([f"{arm.facts.synthetic_share:.3g}", arm.facts.arm.name, _runs(arm), *cells])
    return _lines(["share", "model", "runs", *_columns(found)], rows, num_left=3)


def _setup(found: Usefulness) -> list[str]:
    study = found.study
    width, height = study.input_size
    return [
        f"Every student starts from the teacher {study.teacher} (the row `teacher`), has its "
        f"network, and takes {study.num_steps} steps of {study.batch_size} samples at {width} x "
        f"{height}, but for the arms that say otherwise below; the optimiser, its schedule and the "
        f"augmentation are those of the preset `world-student`. Students learn the labels "
        f"{study.labels}, which the teacher gave the clear frames of {study.dataset}; variants are "
        f"those of {study.recipe}. The upper bound learns the true depth instead of labels, and "
        f"may see more drives, which are counted below. median-depth is the "
        f"train split's median of the true depth at each place of the picture. Scored is the "
        f"{study.settings.split} split with {study.settings.truth} depth to {found.cap_m:g} m, "
        "metric, nothing scaled. The last step counts; no step and no seed was chosen by a score.",
    ]


def _arm_table(found: Usefulness) -> list[str]:
    rows = []
    for arm in found.arms:
        facts = arm.facts
        shown = f"{facts.num_images} ({facts.num_scenes}; {facts.num_drives})"
        seconds = ABSENT if arm.seconds is None else f"{arm.seconds:.0f}"
        share = f"{facts.synthetic_share:.3g}"
        rows.append([facts.arm.name, facts.arm.words, shown, share, str(facts.num_steps), seconds])
    header = ["model", "shown", "train images (scenes; drives)", "synthetic share", "steps"]
    return _lines([*header, "seconds per run"], rows, num_left=2)


def _failures(found: Usefulness) -> list[str]:
    lines = [
        f"- {arm.facts.arm.name} seed {seed}: {_one_line(error)}"
        for arm in found.arms
        for seed, error in arm.failed.items()
    ]
    return ["", "## Failed", "", *lines] if lines else []


def _stands_on(found: Usefulness) -> list[str]:
    there = [
        f"{b.bucket} {b.num_images} ({b.num_scenes}; {b.num_drives})"
        for b in found.buckets
        if b.num_images
    ]
    lines = [
        "Mean ± sample standard deviation over seeds; night holds night-rain, as md4all has it. "
        f"Images (scenes; drives): {', '.join(there)}."
    ]
    if absent := [b.bucket for b in found.buckets if not b.num_images]:
        lines.append(f"No images: {', '.join(absent)}.")
    if skipped := [f"{b.bucket} {b.num_skipped}" for b in found.buckets if b.num_skipped]:
        lines.append(f"Skipped without valid truth: {', '.join(skipped)}.")
    return lines


def _runs(arm: ArmResult) -> str:
    """How many runs the numbers are of, and what became of the others."""
    parts = [str(len(arm.seeds))]
    parts += [f"{len(arm.failed)} failed"] if arm.failed else []
    parts += [f"{len(arm.unfinished)} not finished"] if arm.unfinished else []
    return ", ".join(parts)


def _columns(found: Usefulness) -> list[str]:
    there = {b.bucket for b in found.buckets if b.num_images}
    return [name for name in COLUMNS if name in there]


def _with_std(value: SeedStatistic) -> str:
    return f"{value.mean:.3f}" + ("" if value.std is None else f" ± {value.std:.3f}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]], num_left: int) -> list[str]:
    rule = ["---"] * num_left + ["---:"] * (len(header) - num_left)
    return [f"| {' | '.join(_escaped(cells))} |" for cells in (header, rule, *rows)]


def _escaped(cells: Iterable[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]
