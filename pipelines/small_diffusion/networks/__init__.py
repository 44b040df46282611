"""Networks of the family, and those that its training looks through."""
