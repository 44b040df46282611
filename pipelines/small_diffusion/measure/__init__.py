"""Measured behaviour of a family folder on held-out places: `python -m ...measure FAMILY`."""
