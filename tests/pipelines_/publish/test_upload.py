"""Uploads to a hub that only records: what is sent, what is refused, and who is to be named."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import filter_repo_objects

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.publish.upload import DatasetUploader
from nightrain.pipelines.publish.upload_job import UploadJob, UploadReport
from support.synthetic import SyntheticSource, ingest_synthetic, recipe
from support.training import add_variants

REQUEST = httpx.Request("POST", "https://hub.invalid")


class Commit:
    commit_url = "https://hub.invalid/commit/1"


class RecordingHub:
    """Copies what it is sent to a folder, by the hub library's rule for patterns."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder, self.error = folder, error
        self.repositories: dict[str, dict[str, Any]] = {}

    def create_repo(self, repo_id: str, **options: Any) -> object:
        self.repositories[repo_id] = options
        return repo_id

    def upload_folder(self, *, repo_id: str, folder_path: str, **options: Any) -> object:
        if self.error is not None:
            raise self.error
        assert repo_id in self.repositories and options["repo_type"] == "dataset"
        root = Path(folder_path)
        names = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()]
        for name in filter_repo_objects(names, ignore_patterns=options["ignore_patterns"]):
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((root / name).read_bytes())
        return Commit()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=4))
    add_variants(root, recipe(Condition.NIGHT))
    return root


@pytest.fixture
def hub(tmp_path: Path) -> RecordingHub:
    return RecordingHub(tmp_path / "hub")


def upload(root: Path, hub: RecordingHub, **options: Any) -> UploadReport:
    fields = {"dataset": root, "repo_id": "ada/streets"} | options
    return DatasetUploader(hub).upload(UploadJob.model_validate(fields))


def restricted(tmp_path: Path, licence: str = "CC-BY-NC-SA-4.0") -> Path:
    root = tmp_path / "restricted"
    source = SyntheticSource(2, name="nuscenes", licence=licence, attribution="Motional")
    ingest_synthetic(root, source)
    return root


def test_what_is_committed_arrives_and_is_valid(root: Path, hub: RecordingHub) -> None:
    (root / "_tmp").mkdir(exist_ok=True)
    (root / "_tmp/draft").write_bytes(b"unfinished")
    (root / "frames/00009.parquet").write_bytes(b"nothing names this file")
    report = upload(root, hub)
    (root / "frames/00009.parquet").unlink()
    sent = {str(p.relative_to(hub.folder)) for p in hub.folder.rglob("*") if p.is_file()}
    assert {"README.md", "croissant.json", "LICENSE.md"} <= sent and len(sent) == report.num_files
    assert not any(name.startswith(("_tmp", "_leases")) for name in sent)
    assert "frames/00009.parquet" not in sent and verify(hub.folder).accepted
    assert report.address == Commit.commit_url and report.licences == {"Apache-2.0": ["synthetic"]}
    assert "Made for tests." in (hub.folder / "LICENSE.md").read_text()
    assert hub.repositories["ada/streets"]["private"] is True


def test_a_public_repository_is_asked_for(root: Path, hub: RecordingHub) -> None:
    upload(root, hub, public=True)
    assert hub.repositories["ada/streets"]["private"] is False


@pytest.mark.parametrize("licence", ["CC-BY-NC-SA-4.0", "", "all rights reserved"])
def test_a_licence_that_is_not_open_is_refused_unless_told(
    tmp_path: Path, hub: RecordingHub, licence: str
) -> None:
    root = restricted(tmp_path, licence)
    with pytest.raises(InvalidRequest, match=r"not open: .*nuscenes.*--may-share"):
        upload(root, hub)
    assert not hub.repositories and not (root / "LICENSE.md").exists()
    report = upload(root, hub, may_share=True)
    assert report.licences == {licence or "unknown": ["nuscenes"]}
    assert "- Motional" in (hub.folder / "LICENSE.md").read_text()


def test_one_restricted_frame_restricts_the_dataset(root: Path, hub: RecordingHub) -> None:
    ingest_synthetic(root, SyntheticSource(2, name="kitti", licence="CC-BY-NC-SA-3.0"))
    with pytest.raises(InvalidRequest, match=r"CC-BY-NC-SA-3.0 \(kitti\)"):
        upload(root, hub)


def test_a_dry_run_sends_nothing(root: Path, hub: RecordingHub) -> None:
    report = upload(root, hub, dry_run=True)
    assert report.num_files > 5 and not report.address
    assert not hub.repositories and not hub.folder.exists()


def test_lost_files_are_refused(root: Path, hub: RecordingHub) -> None:
    (root / Manifest(root).entries(FRAMES)[0].rows.path).unlink()
    with pytest.raises(InvalidRequest, match=r"frames/00000.parquet.*nightrain repair"):
        upload(root, hub)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (LocalTokenNotFoundError("none"), InvalidRequest, "hf auth login"),
        (
            HfHubHTTPError("403 Forbidden", response=httpx.Response(403, request=REQUEST)),
            InvalidRequest,
            "the hub refused ada/streets: 403 Forbidden",
        ),
        (httpx.ConnectError("no route"), NightrainError, "cannot be reached: no route"),
    ],
)
def test_errors_say_what_to_do(
    root: Path, tmp_path: Path, error: Exception, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        upload(root, RecordingHub(tmp_path / "hub", error))


@pytest.mark.parametrize("name", ["streets", "a/b/c", "../x", "ada/..", ""])
def test_a_repository_has_an_owner_and_a_name(root: Path, name: str) -> None:
    with pytest.raises(ValueError, match="repo_id"):
        UploadJob.model_validate({"dataset": root, "repo_id": name})
