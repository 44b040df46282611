"""Folder source: pictures of a calibrated camera, described by one YAML file."""
