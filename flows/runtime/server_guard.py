"""Server guard: stops a temporary Prefect server when its process is killed.

Prefect stops its temporary server when the process exits normally; a killed process would leave it
running. A helper process therefore waits on a pipe, which the kernel closes no matter how the
process ends, and then stops the servers that have this process's mark in their environment.
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


_helpers: list[subprocess.Popen[bytes]] = []  # kept, so that their pipes stay open


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
