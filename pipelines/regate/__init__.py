"""Regating: other limits of gates are applied to variants that exist."""
