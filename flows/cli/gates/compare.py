"""The command `compare-variants`: finds variants that repeat others or whose depth varies."""

from nightrain.flows.cli.console import console, print_json, progress_bar
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.compare.job import CompareJob, Comparison

MOST_SHOWN = 16


@command
def compare_variants(job: CompareJob, output: OutputOptions) -> None:
    """Compare the variants of a recipe with each other.

    Finds near-duplicates within a frame and across frames, and with --model how far a network's
    depth varies over the variants of one frame. Nothing is changed without --reject; with it,
    training leaves out what was found, and `nightrain regate` follows. Verdicts that are there
    stay.
    """
    from nightrain.pipelines.compare.job import compare_variants as compare
    from nightrain.pipelines.inspect.verify_job import require_dataset

    require_dataset(job.dataset)
    with progress_bar("frames", shown=not output.as_json) as bar:
        found = compare(job, on_planned=bar.expect, on_frames=bar.add)
    if output.as_json:
        print_json(found)
        return
    for line in _lines(found):
        console().print(line, highlight=False)


def _lines(found: Comparison) -> list[str]:
    lines = [f"{found.num_variants} variants of {found.num_frames} frames"]
    for scope in ("within a frame", "across frames"):
        pairs = [pair for pair in found.near_duplicates if pair.scope == scope]
        lines.append(f"near-duplicates {scope}: {len(pairs)}")
        lines += [
            f"  {pair.first} {pair.second} ({pair.difference} levels)"
            for pair in pairs[:MOST_SHOWN]
        ]
    if found.spread is not None:
        spread = found.spread
        of = ", ".join(f"{name} {value:.1%}" for name, value in spread.by_condition.items())
        lines.append(
            f"depth varies over a frame and its variants by {spread.mean_dv:.1%} on average, by "
            f"{spread.max_piv:.1%} in the worst of them ({of})"
        )
        lines += [f"  {name} {value:.1%}" for name, value in spread.worst.items()]
        lines.append(f"above the limit: {len(found.unstable)}")
    if found.num_rejected:
        lines.append(f"rejected {found.num_rejected}; `nightrain review DATASET ID none` undoes it")
    return lines
