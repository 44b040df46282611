"""Report of a usefulness study in Markdown: tables, and sentences computed from them."""

from collections.abc import Callable, Iterable, Sequence

from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.arm_result import ArmResult, SeedStatistic, percent
from nightrain.pipelines.usefulness.arms import BASELINE, MAIN
from nightrain.pipelines.usefulness.constant import beats_constant, rmse_change
from nightrain.pipelines.usefulness.table import COLUMNS, Usefulness

ABSENT = "-"
Cell = Callable[[ArmResult, str], SeedStatistic | None]


def markdown(found: Usefulness) -> str:
    """Write the report of the results so far."""
    pages = [
        ["# Usefulness of variants for a depth network", "", f"`{found.command}`", ""],
        [found.summary, "", *(f"- {v.sentence}" for v in found.verdicts), ""],
        [
            "## abs_rel (lower is better)",
            "",
            *score_table(found, "abs_rel"),
            "",
            *_image_counts(found),
        ],
        ["", "## Change of abs_rel against clear frames only, paired by seed", ""],
        ["Values above 0 in the column day-clear are losses on clear days.", ""],
        _table(found, _change, percent, [a for a in found.arms if a.facts.arm.name != BASELINE]),
        _against_constant(found),
        _condition_costs(found),
        ["", "## Share of synthetic samples", "", *_dose_table(found)],
        ["", "## rmse in metres (lower is better)", "", *score_table(found, "rmse")],
        ["", "## d1 (higher is better)", "", *score_table(found, "d1")],
        ["", "## Training data and cost of each arm", "", *_setup(found), "", *_arm_table(found)],
        _failures(found),
    ]
    return "\n".join(line for page in pages for line in page) + "\n"


def score_table(found: Usefulness, metric: str) -> list[str]:
    """Table of a metric as lines: models in rows, conditions in columns."""

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


def _condition_costs(found: Usefulness) -> list[str]:
    arms = [arm for arm in found.arms if arm.facts.arm.name in (BASELINE, MAIN) and arm.costs]
    if not arms:
        return []
    conditions = list(arms[0].costs)
    rows = [
        [a.facts.arm.name, *(percent(a.costs[c]) if c in a.costs else ABSENT for c in conditions)]
        for a in arms
    ]
    return [
        *("", "## Cost of each condition at the same places", ""),
        "Increase of abs_rel over clear days, over drives that were recorded under both. If a "
        "condition does not hurt the clear-trained student, variants cannot improve it.",
        "",
        *_lines(["model", *conditions], rows, num_left=1),
    ]


def _change(arm: ArmResult, bucket: str) -> SeedStatistic | None:
    return arm.changes.get(bucket)


def _against_constant(found: Usefulness) -> list[str]:
    """Change of rmse against the constant, and a sentence per bucket where no arm beats it."""
    if MEDIAN_DEPTH not in found.baselines:
        return []

    def change(arm: ArmResult, bucket: str) -> SeedStatistic | None:
        return rmse_change(arm, bucket, found.baselines)

    beaten = {
        bucket: [beats_constant(arm, bucket, found.baselines) for arm in found.arms]
        for bucket in _columns(found)
    }
    none = [b for b, each in beaten.items() if True not in each and False in each]
    return [
        *("", "## Change of rmse against a constant median depth", ""),
        f"{MEDIAN_DEPTH} sees no image. "
        + (
            f"No arm beats it in both rmse and d1: {', '.join(none)}."
            if none
            else "In every column at least one arm beats it in both rmse and d1."
        ),
        "",
        *_table(found, change, percent, found.arms),
    ]


def _dose_table(found: Usefulness) -> list[str]:
    """abs_rel of the arms that differ only in the share of synthetic samples, by that share."""
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
        f"Every student starts from the weights of the teacher {study.teacher} (row `teacher`) and "
        f"takes {study.num_steps} steps of {study.batch_size} samples at {width} x {height}, "
        "unless the table below says otherwise. Optimiser, schedule and augmentation are those of "
        f"the preset `world-student`. The labels are {study.labels}, the teacher's depth of the "
        f"clear frames of {study.dataset}; the variants are those of {', '.join(study.variants)}.",
        "",
        "The upper bound learns exact depth instead of labels, also on the adverse drives counted "
        "below. median-depth is a constant median-depth baseline from the train split. Models are "
        f"scored on the {study.settings.split} split against {study.settings.truth} depth up to "
        f"{found.cap_m:g} m, without scaling, after their last step: neither steps nor seeds are "
        "selected by score.",
    ]


def _arm_table(found: Usefulness) -> list[str]:
    rows = []
    for arm in found.arms:
        facts = arm.facts
        shown = f"{facts.num_images} ({facts.num_scenes}; {facts.num_drives})"
        seconds = ABSENT if arm.seconds is None else f"{arm.seconds:.0f}"
        share = f"{facts.synthetic_share:.3g}"
        rows.append([facts.arm.name, facts.arm.words, shown, share, str(facts.num_steps), seconds])
    header = ["model", "training data", "train images (scenes; drives)", "synthetic share", "steps"]
    return _lines([*header, "seconds per run"], rows, num_left=2)


def _failures(found: Usefulness) -> list[str]:
    lines = [
        f"- {arm.facts.arm.name} seed {seed}: {_one_line(error)}"
        for arm in found.arms
        for seed, error in arm.failed.items()
    ]
    return ["", "## Failed", "", *lines] if lines else []


def _image_counts(found: Usefulness) -> list[str]:
    there = [
        f"{b.bucket} {b.num_images} ({b.num_scenes}; {b.num_drives})"
        for b in found.buckets
        if b.num_images
    ]
    lines = [
        "Mean ± sample standard deviation over seeds; night includes night-rain, as in md4all. "
        f"Images (scenes; drives): {', '.join(there)}."
    ]
    if absent := [b.bucket for b in found.buckets if not b.num_images]:
        lines.append(f"No images: {', '.join(absent)}.")
    if skipped := [f"{b.bucket} {b.num_skipped}" for b in found.buckets if b.num_skipped]:
        lines.append(f"Skipped without valid truth: {', '.join(skipped)}.")
    return lines


def _runs(arm: ArmResult) -> str:
    """Number of finished, failed and unfinished runs of an arm."""
    parts = [str(len(arm.seeds))]
    parts += [f"{len(arm.failed)} failed"] if arm.failed else []
    parts += [f"{len(arm.unfinished)} unfinished"] if arm.unfinished else []
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
