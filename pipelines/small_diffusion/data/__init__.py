"""Data of the small diffusion family: rendered places, captions, and the pool of views."""
