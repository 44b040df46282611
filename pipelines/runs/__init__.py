"""Runs of shard plans: executors, cancellation, overlapping stages, device locks."""
