"""Commands about the Prefect server: `schedule` and `doctor`."""
