"""Rendering: light, sky and air, and the luminance that reaches the camera."""
