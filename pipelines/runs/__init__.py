"""Runs of shard plans: executors, stopping, overlap, device locks."""
