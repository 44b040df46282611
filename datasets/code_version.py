"""Code version: the commit that results were made with."""

import subprocess
from pathlib import Path


def code_commit() -> str:
    """Commit of this repository, with "+" for uncommitted changes; "" outside of git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return ""
    if commit.returncode:
        return ""
    return commit.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")
