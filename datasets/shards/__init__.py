"""Parquet shards and the manifest that commits them exactly once."""
