"""What variants are worth: compute-matched students with and without them, on true conditions."""
