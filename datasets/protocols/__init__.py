"""Published splits as data, and the guard against leakage between them."""
