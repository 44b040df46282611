"""The command `doctor`: what is wrong on this machine and on its Prefect server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from nightrain.datasets.validation import Settings
from nightrain.flows.cli.console import EXIT_FAILED, console, end
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command

if TYPE_CHECKING:
    from nightrain.flows.runtime.diagnosis import Check


class DoctorOptions(Settings):
    """Options of `nightrain doctor`."""

    folder: Path = Field(
        default=Path(),
        description="Folder that datasets will be written to (default: here)",
        json_schema_extra={"cli": "argument"},
    )


@command
def doctor(job: DoctorOptions, output: OutputOptions) -> None:
    """Check packages, GPU, free disk space and Prefect, and say how to fix problems.

    With a Prefect server of your own, it also checks that scheduled runs can start. The exit code
    is 1 if a check fails.
    """
    checks = []
    for check in _checked(job.folder):
        checks.append(check)
        if not output.as_json:
            mark = "[green]ok [/green]" if check.ok else "[red]bad[/red]"
            console().print(f"{mark} {check.name:9s} {check.found}")
            if check.fix:
                console().print(f"              [yellow]{check.fix}[/yellow]")
    if output.as_json:
        print(json.dumps([check.model_dump() for check in checks], indent=2))
    end(0 if all(check.ok for check in checks) else EXIT_FAILED)


def _checked(folder: Path) -> Iterator[Check]:
    """Yield the results of all checks; a spinner shows on a terminal that they are in progress."""
    from rich.console import Console

    from nightrain.flows.runtime.diagnosis import diagnose

    with Console(stderr=True).status("checking"):
        yield from diagnose(folder)
        from nightrain.flows.runtime.schedule_check import check_server  # imports prefect

        yield from check_server()
