"""Captions: one sentence about each frame, in a table of its own."""
