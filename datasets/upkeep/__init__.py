"""Upkeep of a dataset: remove, repair and upgrade committed shards."""
