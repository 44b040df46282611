"""Evaluation: metrics, protocols, tables, error maps and uncertainty."""
