"""`python -m nightrain.flows.cli` is `nightrain`."""

from nightrain.flows.cli import main

main()
