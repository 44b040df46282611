"""Commands about the Prefect server: `schedule`, `deploy`, `serve` and `doctor`."""
