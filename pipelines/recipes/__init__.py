"""Recipes: the settings that decide the bytes of a variant."""
