"""What is on disk: frames, the readers of published data sets, shards and their catalog."""
