"""Exports: variants, labels and networks in the formats of other tools."""
