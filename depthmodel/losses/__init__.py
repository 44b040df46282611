"""Losses: one equation per file."""
