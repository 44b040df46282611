"""No temporary Prefect server outlives the run that started it, not even after SIGKILL.

Prefect stops its temporary server when the process ends in order. A killed process leaves it
listening for ever, so a small helper waits for the end of a pipe, which the kernel brings about
however the process dies, and then ends the servers that carry this process's mark.
"""

import os
import subprocess
import sys
import uuid
from pathlib import Path

MARK = "NIGHTRAIN_SERVER_MARK"
HELPER = """
import os, signal, sys
mark = sys.argv[1].encode()
sys.stdin.buffer.read()
for name in filter(str.isdigit, os.listdir("/proc")):
    try:
        environment = open(f"/proc/{name}/environ", "rb").read().split(b"\\0")
        command = open(f"/proc/{name}/cmdline", "rb").read()
    except OSError:
        continue
    if mark in environment and b"uvicorn" in command and int(name) != os.getpid():
        os.kill(int(name), signal.SIGTERM)
"""


_helpers: list[subprocess.Popen[bytes]] = []  # held as long as this process lives


def guard_server() -> None:
    """Start the helper; call it before prefect starts a server. Does nothing without /proc."""
    if _helpers or not Path("/proc/self/environ").exists():
        return
    os.environ[MARK] = uuid.uuid4().hex  # the server inherits it
    helper = subprocess.Popen(
        [sys.executable, "-S", "-c", HELPER, f"{MARK}={os.environ[MARK]}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a signal to the whole group must not end it first
    )
    _helpers.append(helper)
