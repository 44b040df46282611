"""Readers of published datasets: one folder a dataset, one interface for all."""
