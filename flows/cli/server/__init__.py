"""Commands about the Prefect server: `schedule`."""
