"""Primitives of the world: triangles, rays, noise, cameras and lamps."""
