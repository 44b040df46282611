"""Engines turn batches of clear frames into variants."""
