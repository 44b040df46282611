"""Upload jobs: a dataset to a dataset repository of the Hugging Face hub."""

from pathlib import Path

from pydantic import BaseModel, Field

from nightrain.datasets.validation import Settings


class UploadJob(Settings):
    """Options of `nightrain upload`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    repo_id: str = Field(
        description="Repository on the hub: USER/NAME or ORGANISATION/NAME; created if needed",
        json_schema_extra={"cli": "argument"},
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$",
    )
    public: bool = Field(
        default=False, description="Create a public repository (default: a private one)"
    )
    may_share: bool = Field(
        default=False,
        description="Share frames whose licence is not open: you have checked that you may",
    )
    dry_run: bool = Field(default=False, description="Check rights and files, and send nothing")


class UploadReport(BaseModel):
    """Outcome of an upload."""

    repo_id: str
    num_files: int
    num_bytes: int
    licences: dict[str, list[str]]  # licences of the frames, with their sources
    address: str = ""  # of the commit; "" for a dry run
