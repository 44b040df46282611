"""Fixtures that several test files share."""

from pathlib import Path

import pytest

from tests.synthetic import SyntheticSource


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset with 10 small clear train frames in 3 shards."""
    from tests.synthetic import ingest_synthetic

    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=10), frames_per_shard=4)
    return root
