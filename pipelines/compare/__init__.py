"""Comparison of a recipe's variants with each other, which no gate of a single variant can make."""
