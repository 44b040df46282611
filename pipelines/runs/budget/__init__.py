"""Budgets: how much time, disk or money a run may spend."""
