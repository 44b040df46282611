"""Depth networks: encoder, decoder, pose network, and their model folders."""
