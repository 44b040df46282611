"""Import of variants: pictures that other programs translated, with gates and statistics."""
