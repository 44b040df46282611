"""Browse jobs: which dataset is shown, and at which address."""

from pathlib import Path

from pydantic import Field

from nightrain.datasets.validation import Settings

DEFAULT_PORT = 8321


class BrowseJob(Settings):
    """Options of `nightrain browse`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        max_length=255,
        description="Address to listen on; another than a loopback address requires the token "
        "that is printed",
    )
    port: int = Field(
        default=DEFAULT_PORT, ge=0, le=65535, description="Port to listen on; 0: any free one"
    )
    reviewer: str = Field(
        default="", max_length=100, description="Name of the reviewer, kept with each verdict"
    )
