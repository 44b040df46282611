"""`browse`: what is refused before anything is served."""

import socket
from pathlib import Path

from support.command import Command


def test_a_port_in_use_is_named(dataset: Path, nightrain: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = nightrain("browse", dataset, "--port", port)
    assert code == 2 and f"127.0.0.1:{port} cannot be used" in said and "--port 0" in said


def test_a_folder_without_shards_is_refused(tmp_path: Path, nightrain: Command) -> None:
    code, said = nightrain("browse", tmp_path)
    assert code == 2 and "holds no committed shards" in said
    code, said = nightrain("browse", tmp_path, "--port", "70000")
    assert code == 2 and "at most 65535" in said
