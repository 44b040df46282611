"""Audit of gates: how many good variants, and how many with a seeded defect, they reject."""
