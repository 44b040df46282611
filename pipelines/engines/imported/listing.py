"""Listing of imported pictures: the picture of each frame, with its digest."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ValidationError

from nightrain.datasets.errors import InvalidRequest, UnreadableFile
from nightrain.datasets.io.regular import read_regular
from nightrain.datasets.validation import in_one_line


class ListedPicture(BaseModel):
    """Place of a picture: a file below the folder, or a row of a table that is one."""

    file: str
    row: int | None = None
    sha256: str  # of the picture's bytes

    @property
    def place(self) -> str:
        """The place in words: "night/0001.png" or "train.parquet, row 7"."""
        return self.file if self.row is None else f"{self.file}, row {self.row}"


class PictureListing(BaseModel):
    """Pictures by frame id, and why frames have none."""

    folder: str  # not part of the digest: pictures may be moved
    column: str = ""  # of tables: the column of the pictures
    pictures: dict[str, ListedPicture] = {}
    problems: dict[str, str] = {}  # of frames with several pictures, in words

    @property
    def digest(self) -> str:
        """Digest of what decides the variants: 64 hex digits."""
        content = self.model_dump_json(include={"pictures", "problems"})
        return hashlib.sha256(content.encode()).hexdigest()


def read_picture_listing(path: Path, digest: str) -> PictureListing:
    """Read a listing that has the given digest; raises InvalidRequest."""
    advice = "Run `nightrain import-variants` again, which writes it."
    try:
        listing = PictureListing.model_validate_json(read_regular(path))
    except (FileNotFoundError, UnreadableFile) as error:
        raise InvalidRequest(f"The listing {path} cannot be read: {error}. {advice}") from error
    except ValidationError as error:
        raise InvalidRequest(
            f"{path} is not a valid listing of pictures: {in_one_line(error)}. {advice}"
        ) from error
    if listing.digest != digest:
        raise InvalidRequest(
            f"{path} has the digest {listing.digest[:12]}; the recipe expects {digest[:12]}. "
            f"{advice}"
        )
    return listing
