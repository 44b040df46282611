"""Diffusion engine: Stable Diffusion with ControlNet and IP-Adapter (docs/papers/ssd.md, eq. 1).

`models.settings` and `models.families` are light to import; `engine` imports torch and diffusers.
"""
