"""Commands that change committed shards of a dataset."""
