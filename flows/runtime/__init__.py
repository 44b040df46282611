"""Runtime of flows: runner, session, executor, progress, GPU limits, diagnosis."""
