"""Markdown tables of a study: models in rows, conditions in columns."""

from collections.abc import Callable, Iterable, Sequence

from nightrain.pipelines.usefulness.study.arm_result import ArmResult, SeedStatistic
from nightrain.pipelines.usefulness.study.scores import COLUMNS
from nightrain.pipelines.usefulness.study.statistics import MeanEstimate
from nightrain.pipelines.usefulness.study.table import Usefulness

ABSENT = "-"
Value = SeedStatistic | MeanEstimate
CellOf = Callable[[ArmResult, str], Value | None]


def columns(found: Usefulness) -> list[str]:
    """Buckets that have images."""
    there = {b.bucket for b in found.buckets if b.num_images}
    return [name for name in COLUMNS if name in there]


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], num_left: int) -> list[str]:
    """Lines of a table with `num_left` columns aligned to the left."""
    rule = ["---"] * num_left + ["---:"] * (len(header) - num_left)
    return [f"| {' | '.join(_escaped(cells))} |" for cells in (header, rule, *rows)]


def arm_table(
    found: Usefulness,
    cell: CellOf,
    text: Callable[[Value], str],
    arms: Iterable[ArmResult],
    first: Sequence[list[str]] = (),
) -> list[str]:
    """Table of a value of each arm in each bucket, below rows that are given."""
    rows = []
    for arm in arms:
        numbers = [cell(arm, bucket) for bucket in columns(found)]
        cells = [ABSENT if number is None else text(number) for number in numbers]
        rows.append([arm.name, runs_words(arm), *cells])
    return table_lines(["model", "runs", *columns(found)], [*first, *rows], num_left=2)


def score_table(found: Usefulness, metric: str) -> list[str]:
    """Table of a metric as lines: means with standard errors over places and seeds."""

    def score(arm: ArmResult, bucket: str) -> SeedStatistic | None:
        return arm.scores.get(bucket, {}).get(metric)

    baselines = [
        [name, "1", *(with_error(values[b][metric]) for b in columns(found))]
        for name, values in found.baselines.items()
    ]
    return arm_table(found, score, with_error, found.arms, baselines)


def runs_words(arm: ArmResult) -> str:
    """Number of finished, failed and unfinished runs of an arm."""
    parts = [str(len(arm.seeds))]
    parts += [f"{len(arm.failed)} failed"] if arm.failed else []
    parts += [f"{len(arm.unfinished)} unfinished"] if arm.unfinished else []
    return ", ".join(parts)


def with_error(value: Value) -> str:
    """A mean with its standard error over places and seeds."""
    error = value.standard_error
    return f"{value.mean:.3f}" + ("" if error is None else f" ± {error:.3f}")


def one_line(text: str) -> str:
    """A text without line breaks."""
    return " ".join(text.split())


def _escaped(cells: Iterable[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]
