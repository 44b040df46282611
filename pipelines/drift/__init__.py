"""Drift: whether pictures differ from those that were made before, or from recordings."""
