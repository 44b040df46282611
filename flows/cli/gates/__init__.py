"""Commands about gates: audit, other limits, and verdicts of people."""
