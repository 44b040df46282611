"""Own pictures in, and pictures translated elsewhere, as a user runs it."""

from pathlib import Path

import cv2

from nightrain.datasets.io.images import decode_jpeg
from support.command import Command
from support.described_folder import NAMES, described, put
from support.synthetic import all_rows


def test_a_described_folder_is_ingested_and_its_night_imported(
    nightrain: Command, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    code, said = nightrain("ingest", "folder", described(tmp_path / "in"), "--out", dataset)
    assert code == 0 and "committed frames: 3 frames" in said
    assert "3 of 3 pictures have no pose" in said
    for name in NAMES[:2]:
        dark = decode_jpeg((tmp_path / f"in/images/{name}.jpg").read_bytes()) // 2
        file = tmp_path / f"gan/{Path(name).name}_fake_B.png"
        put(file, cv2.imencode(".png", dark[..., ::-1])[1].tobytes())
    asked = ("import-variants", dataset, tmp_path / "gan", "--condition", "night", "--name", "gan")
    code, said = nightrain(*asked)
    assert code == 3 and "1 of 3 frames have no picture" in said and "missing_file" in said
    assert len(all_rows(dataset)) == 2
    code, said = nightrain(*asked, "--max-quarantined", "40%")  # nothing to make
    assert code == 0, said
    changed = described(tmp_path / "in", camera="rear")
    code, said = nightrain("ingest", "folder", changed, "--out", dataset)
    assert code == 2 and "planned with other options: --description" in said
    code, said = nightrain("ingest", "folder", tmp_path / "in", "--out", dataset)
    assert code == 2 and "expected a YAML file that describes it" in said
