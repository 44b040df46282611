"""Generation: turns clear frames into variant shards."""
