"""Usefulness study: compute-matched students with and without variants, on recorded conditions."""
