"""`python -m flows.cli` is `nightrain`."""

from flows.cli import main

main()
