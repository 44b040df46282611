"""The command `doctor`: is everything here that the other commands need, and if not, what to do."""

from pathlib import Path
from typing import Annotated

import typer

from nightrain.flows.cli.console import EXIT_FAILED, console, end


def doctor(
    folder: Annotated[Path, typer.Argument(help="Where datasets will be written")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON")] = False,
) -> None:
    """Check versions, torch and torchvision, GPU, free disk and Prefect, in plain words."""
    from nightrain.flows.runtime.diagnosis import diagnose

    checks = []
    for check in diagnose(folder):
        checks.append(check)
        if not json:
            mark = "[green]ok [/green]" if check.ok else "[red]bad[/red]"
            console().print(f"{mark} {check.name:9s} {check.found}")
            if check.mend:
                console().print(f"              [yellow]{check.mend}[/yellow]")
    if json:
        from json import dumps

        print(dumps([check.model_dump() for check in checks], indent=2))
    end(0 if all(check.ok for check in checks) else EXIT_FAILED)
