"""Command groups that import commands on use, and the layout of help pages."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import click

HYPHEN = "\u2011"  # does not break; replaced by "-" when the page is complete


class HelpPage(click.HelpFormatter):
    """Help page that never breaks lines inside a name such as "world-teacher"."""

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write a table of names and descriptions."""
        whole = [(name, text.replace("-", HYPHEN)) for name, text in rows]
        super().write_dl(whole, col_max, col_spacing)

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        super().write_text(text.replace("-", HYPHEN))

    def getvalue(self) -> str:
        """Return the page."""
        return super().getvalue().replace(HYPHEN, "-")


class HelpContext(click.Context):
    """Context of a command that formats its help as a `HelpPage`."""

    formatter_class = HelpPage


class LazyGroup(click.Group):
    """Group of commands from a table: each one's module in flows/cli, and its first sentence."""

    context_class = HelpContext

    def __init__(
        self, *args: Any, commands_at: Mapping[str, tuple[str, str]], **kwargs: Any
    ) -> None:
        settings = {"max_content_width": 100}
        super().__init__(*args, no_args_is_help=True, context_settings=settings, **kwargs)
        self.commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names in the order of the table."""
        return list(self.commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, which is the attribute of that name in its module."""
        if cmd_name not in self.commands_at:
            return None
        module, _ = self.commands_at[cmd_name]
        return getattr(import_module(f"nightrain.flows.cli.{module}"), cmd_name.replace("-", "_"))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.commands_at.items()])
