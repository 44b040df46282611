"""Options of commands that change committed shards."""

from pydantic import Field

from nightrain.pipelines.inspect.verify_job import DatasetOptions


class ChangeOptions(DatasetOptions):
    """Options of commands that first say what they would change."""

    yes: bool = Field(default=False, description="Do it; without this option, only say what")
