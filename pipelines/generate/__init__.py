"""Generation: clear frames into variant shards."""
