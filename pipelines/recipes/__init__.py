"""Recipes: the settings that determine the bytes of a variant."""
