"""Stable Diffusion with ControlNet and IP-Adapter.

`settings` and `families` are light to import; `engine` brings torch, transformers and diffusers.
"""
