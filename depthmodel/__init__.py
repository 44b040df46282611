"""Depth networks, their losses, training and evaluation."""
