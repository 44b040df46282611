"""Diffusion model families: settings, capabilities and loading."""
