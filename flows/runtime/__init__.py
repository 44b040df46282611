"""What every flow shares: session, executor, progress, GPU limits, diagnosis."""
