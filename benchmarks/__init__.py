"""Benchmarks: commands that print measurements. They assert nothing."""
