"""Type of the fixture `nightrain`, which runs the command."""

from collections.abc import Callable

Command = Callable[..., tuple[int, str]]  # arguments in, exit code and printed text out
