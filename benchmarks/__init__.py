"""Measurements, as commands; nothing here is asserted."""
