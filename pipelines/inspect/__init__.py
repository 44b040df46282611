"""Inspection of a dataset: statistics, contact sheets, dataset card."""
