"""Control images: pictures that hold a frame's geometry for ControlNet. Near is white."""
