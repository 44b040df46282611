"""Control images: the geometry of a frame as an image for ControlNet; near is white."""
