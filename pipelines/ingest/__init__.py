"""Ingestion: reads published data sets into frame shards."""
