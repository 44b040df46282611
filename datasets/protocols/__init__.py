"""Published splits as data, and a check for leakage between them."""
