"""Dockerfile and compose.yaml: they parse, name what exists, and open no port to the network."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.paths import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions(name: str) -> list[str]:
    """Arguments of every instruction of a kind, with continued lines joined."""
    lines = re.sub(r"\\\n\s*", " ", DOCKERFILE).splitlines()
    return [line.split(maxsplit=1)[1] for line in lines if line.startswith(f"{name} ")]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_services_are_built_from_stages_that_exist(compose: dict[str, Any]) -> None:
    stages = {line.rpartition(" ")[2] for line in instructions("FROM")}
    assert set(compose["services"]) == {"database", "server", "worker"}
    for service in compose["services"].values():
        assert "build" in service or service["image"].startswith("postgres:")
        if "build" in service:
            assert service["build"]["target"] in stages
            assert (ROOT / service["build"]["context"] / "Dockerfile").is_file()
        for other in service.get("depends_on", ()):
            assert "healthcheck" in compose["services"][other]


def test_ports_are_open_to_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [p for service in compose["services"].values() for p in service.get("ports", ())]
    assert ports and all(str(port).startswith("127.0.0.1:") for port in ports)


def test_volumes_are_declared_and_no_password_is_written(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":/")[0]
            assert source in compose["volumes"] or source.startswith("${")
    password = compose["services"]["database"]["environment"]["POSTGRES_PASSWORD"]
    assert password.startswith("${POSTGRES_PASSWORD:?")


def test_commands_are_those_of_the_package(compose: dict[str, Any]) -> None:
    commands = [s["command"] for s in compose["services"].values() if "command" in s]
    assert {command[0] for command in commands} == {"prefect"}
    assert json.loads(instructions("CMD")[0])[0] == "nightrain"
    assert instructions("USER") == ["nightrain"]


@pytest.mark.slow
def test_the_image_copies_what_the_build_needs(tmp_path: Path) -> None:
    """The wheel that is built from the copied files has every file of the checkout's wheel."""
    copies = [line.split() for line in instructions("COPY") if not line.startswith("--from")]
    ignored = shutil.ignore_patterns("__pycache__")
    for *sources, target in copies:
        for source in sources:
            assert (ROOT / source).exists(), source
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, symlinks=True, ignore=ignored)
            else:
                shutil.copy(ROOT / source, tmp_path / target / source)
    names = [wheel_names(folder, tmp_path / out) for folder, out in ((tmp_path, "a"), (ROOT, "b"))]
    assert names[0] == names[1] and "nightrain/flows/chain.py" in names[0]
    assert (
        "--constraint requirements.lock" in DOCKERFILE and (tmp_path / "requirements.lock").exists()
    )


def wheel_names(source: Path, out: Path) -> set[str]:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())
