"""Recipes: everything that decides the bytes of a variant."""
