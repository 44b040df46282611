"""Rendering: light, sky, air and what the camera sees of them."""
