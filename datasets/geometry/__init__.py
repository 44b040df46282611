"""Camera and scene geometry: projection, depth completion, ground plane, sky, crops."""
