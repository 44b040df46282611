"""Upload of a dataset to the Hugging Face hub, with its card, Croissant metadata and licence.

What is committed is sent, with the manifest, so that `nightrain verify` can check a download. Work
in progress, the history of runs and files that no manifest entry names are not.
"""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.io.atomic import replace_file, unwritable_is_refused
from nightrain.datasets.io.regular import names_below
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.verify import lost_files
from nightrain.pipelines.inspect.dataset_card import LICENCE_ADDRESSES, write_card
from nightrain.pipelines.publish.upload_job import UploadJob, UploadReport

OPEN_LICENCES = (
    *("Apache-2.0", "MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-3.0"),
    *("CC-BY-SA-4.0", "CC-BY-SA-3.0", "ODbL-1.0"),
)
NOT_SENT = (*("_tmp/*", "_leases/*", "_partial/*", ".*", "*/.*"), "_runs/*")  # names of users
REPLACED = ("*.parquet", "_manifest/*", "_plan/*", "_reviews/*")  # on the hub, where not here
LICENCE_FILE = "LICENSE.md"
UNKNOWN = "unknown"


class HubApi(Protocol):
    """The two methods of huggingface_hub's HfApi that an upload needs."""

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> object:
        """Create a repository unless it exists."""

    def upload_folder(
        self,
        *,
        repo_id: str,
        repo_type: str,
        folder_path: str,
        ignore_patterns: list[str],
        delete_patterns: list[str],
        commit_message: str,
    ) -> object:
        """Send a folder; calling it again continues an interrupted upload."""


class DatasetUploader:
    """Sends datasets to the hub; `api` is huggingface_hub's HfApi, or another one for tests."""

    def __init__(self, api: HubApi | None = None) -> None:
        self._api = api

    def upload(self, job: UploadJob) -> UploadReport:
        """Send a dataset, or the rest of it after an interruption.

        Raises InvalidRequest for frames whose licence is not open unless the job says that they may
        be shared, for lost files, and where the hub refuses; NightrainError without a connection.
        """
        manifest = Manifest(job.dataset)
        _require_whole(manifest)
        rights = rights_of(manifest)
        if not job.may_share:
            _require_open(job.dataset, rights)
        with unwritable_is_refused(job.dataset):
            write_card(job.dataset)
            licence = _licence_text(rights).encode()
            replace_file(job.dataset, job.dataset / LICENCE_FILE, licence)
        ignored = (*NOT_SENT, *(glob.escape(name) for name in manifest.orphans()))
        files = list(_files(job.dataset, ignored))
        report = UploadReport(
            repo_id=job.repo_id,
            num_files=len(files),
            num_bytes=sum(path.stat().st_size for path in files),
            licences={name: sorted(sources) for name, (sources, _) in rights.items()},
        )
        if not job.dry_run:
            report.address = self._send(job, ignored)
        return report

    def _send(self, job: UploadJob, ignored: Sequence[str]) -> str:
        from httpx import TransportError
        from huggingface_hub import HfApi
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalTokenNotFoundError,
            OfflineModeIsEnabled,
        )

        api: HubApi = self._api or HfApi(library_name="nightrain")
        try:
            api.create_repo(job.repo_id, repo_type="dataset", private=not job.public, exist_ok=True)
            commit = api.upload_folder(
                repo_id=job.repo_id,
                repo_type="dataset",
                folder_path=str(job.dataset),
                ignore_patterns=list(ignored),
                delete_patterns=list(REPLACED),
                commit_message="Upload a nightrain dataset",
            )
        except LocalTokenNotFoundError as error:
            raise InvalidRequest("no token of the hub is stored; run `hf auth login`.") from error
        except (HfHubHTTPError, HFValidationError) as error:
            raise InvalidRequest(
                f"the hub refused {job.repo_id}: {str(error).splitlines()[0]} Check the name and "
                "the rights of your token (`hf auth whoami`), and run the same command again."
            ) from error
        except (OfflineModeIsEnabled, TransportError, OSError) as error:
            raise NightrainError(
                f"the hub cannot be reached: {str(error).splitlines()[0]} Run the same command "
                "again; what was sent is kept."
            ) from error
        return str(getattr(commit, "commit_url", ""))


Rights = dict[str, tuple[set[str], set[str]]]  # sources and attributions by licence


def rights_of(manifest: Manifest) -> Rights:
    """Sources and attributions of the frames by licence; raises InvalidRequest without frames."""
    found: Rights = {}
    for entry in manifest.entries(FRAMES):
        columns = manifest.reader(entry.rows).scan(("licence", "source_dataset", "attribution"))
        for row in columns.to_pylist():
            sources, names = found.setdefault(row["licence"] or UNKNOWN, (set(), set()))
            sources.add(row["source_dataset"] or UNKNOWN)
            names.add(row["attribution"] or UNKNOWN)
    if not found:
        raise InvalidRequest(f"{manifest.root} has no frames to share; ingest some first.")
    return dict(sorted(found.items()))


def _require_open(dataset: Path, rights: Rights) -> None:
    closed = {name: sources for name, (sources, _) in rights.items() if name not in OPEN_LICENCES}
    if closed:
        found = "; ".join(f"{name} ({', '.join(sorted(s))})" for name, s in closed.items())
        raise InvalidRequest(
            f"{dataset} has frames whose licence is not open: {found}. Their terms may forbid "
            "sharing, and hold for variants, too. If you have checked that you may share them in "
            "this repository, say so with --may-share."
        )


def _require_whole(manifest: Manifest) -> None:
    for table in manifest.tables():
        for path, problem in lost_files(manifest.root, manifest.entries(table)):
            raise InvalidRequest(
                f"{path}: {problem}. Run `nightrain repair {manifest.root}` before an upload."
            )


def _licence_text(rights: Rights) -> str:
    lines = ["# Licence", ""]
    for licence, (sources, names) in rights.items():
        address = LICENCE_ADDRESSES.get(licence)
        where = f" ({address})" if address else ""
        lines += [f"Frames of {', '.join(sorted(sources))}: {licence}{where}.", ""]
        lines += [*(f"- {name}" for name in sorted(names)), ""]
    lines.append(
        "Variants, labels, captions and control maps are derived from the frames: the same terms "
        "hold for them. Changes: weather and light were generated by nightrain."
    )
    return "\n".join(lines) + "\n"


def _files(dataset: Path, ignored: Sequence[str]) -> Iterator[Path]:
    """Yield the files that an upload sends, by the rule of huggingface_hub."""
    from huggingface_hub.utils import filter_repo_objects

    skipped = len(f"{dataset}/")
    names = (name[skipped:] for name in names_below(str(dataset)))
    yield from (dataset / n for n in filter_repo_objects(names, ignore_patterns=list(ignored)))
