"""Auxiliary view: matching a second image and fusing its features."""
