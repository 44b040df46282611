"""Code version: the commit that results were made with."""

import subprocess
from pathlib import Path


def code_commit() -> str:
    """Commit of this repository, with "+" for uncommitted changes; "" outside of it.

    An installed package may lie below another repository, which does not track it.
    """
    file = Path(__file__).resolve()
    git = ["git", "-C", str(file.parent)]
    try:
        ours = subprocess.run([*git, "ls-files", "--error-unmatch", str(file)], capture_output=True)
        if ours.returncode:
            return ""
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return ""
    if commit.returncode:
        return ""
    return commit.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")
