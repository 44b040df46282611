"""Makes `python -m nightrain.flows.cli` equivalent to `nightrain`."""

from nightrain.flows.cli import main

main()
