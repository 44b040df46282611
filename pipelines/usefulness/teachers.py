"""Teachers of a study: the job's, and those of other backbones, with the labels that each made."""

from dataclasses import dataclass
from pathlib import Path

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.table_rows import read_keys
from nightrain.datasets.shards.manifest import LABELS, Manifest
from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.network.model import DepthModel
from nightrain.pipelines.depth.train_job import labels_folder
from nightrain.pipelines.usefulness.job import UsefulnessJob


@dataclass(frozen=True)
class Teacher:
    """A backbone: the teacher's folder, its network and digest, and the labels that it made."""

    folder: Path
    network: DepthConfig
    digest: str
    labels: str


def teachers_of(job: UsefulnessJob, manifest: Manifest) -> dict[str, Teacher]:
    """The job's teacher under the name "", and those of other backbones; raises InvalidRequest."""
    found = {}
    for name, folder in {"": job.teacher, **job.backbones}.items():
        if not folder.is_dir():
            raise InvalidRequest(
                f"There is no folder {folder}. Name the folder of the teacher's model."
            )
        model = DepthModel.from_pretrained(folder)
        labels = _labels_of(manifest, model.digest, "" if name else job.labels or "")
        found[name] = Teacher(folder, model.config, model.digest, labels)
    return found


def _labels_of(manifest: Manifest, digest: str, wanted: str) -> str:
    """Folder below labels/ that a teacher made, or the wanted one; raises InvalidRequest."""
    makers = {
        table.split("/")[1]: {e.about.get("teacher_sha256", "") for e in manifest.entries(table)}
        for table in manifest.tables(f"{LABELS}/")
    }
    made = [name for name, found in makers.items() if found == {digest}]
    is_known = not wanted and len(made) == 1
    labels = made[0] if is_known else labels_folder(manifest.root, wanted or None)
    _require_labels_of(manifest, labels, digest)
    return labels


def _require_labels_of(manifest: Manifest, labels: str, teacher_digest: str) -> None:
    """Raise InvalidRequest unless all labels were made by the students' teacher."""
    entries = manifest.entries(f"{LABELS}/{labels}")
    rows = read_keys(manifest.root, entries, ["frame_id", "teacher_sha256"])
    if others := sorted({*rows.columns["teacher_sha256"].tolist()} - {teacher_digest}):
        raise InvalidRequest(
            f"{LABELS}/{labels} were made by a teacher with digest {others[0]}; the given teacher "
            f"has {teacher_digest}. Name the teacher that made them, or label again with this one."
        )
