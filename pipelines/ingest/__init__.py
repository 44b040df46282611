"""Ingestion: published datasets into frame shards."""
