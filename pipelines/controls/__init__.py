"""Control images: a frame's geometry as an image for ControlNet; near is white."""
