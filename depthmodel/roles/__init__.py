"""Roles of a trained network: teacher, student, restorer."""
