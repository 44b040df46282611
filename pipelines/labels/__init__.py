"""A teacher's depth of the clear frames, beside them."""
