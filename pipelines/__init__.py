"""Pipelines: turn clear frames into variants and labels."""
