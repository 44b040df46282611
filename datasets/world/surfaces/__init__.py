"""Surface appearance: materials, and the water and snow that cover them."""
