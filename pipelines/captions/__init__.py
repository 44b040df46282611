"""Captions: one sentence per frame, in a separate table."""
