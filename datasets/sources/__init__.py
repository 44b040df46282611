"""Readers of published data sets: one folder per data set, one interface for all."""
