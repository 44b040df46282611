"""Scenes: a place with its weather, traffic and people, drawn from a seed."""
