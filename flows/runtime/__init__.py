"""Flow runtime: runner, session, executor, progress, GPU limits, diagnosis."""
