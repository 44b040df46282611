"""Which process made a temporary file or a lease, and whether it still lives."""

import functools
import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told from a later one with the same number by its start time.

    `machine` differs between hosts, boots and process-number namespaces (containers), so that a
    process is judged by its number only where that number means the same thing.
    """

    machine: str
    pid: int
    started: str

    @classmethod
    def me(cls) -> "Owner":
        """The running process."""
        return cls(_machine(), os.getpid(), _start_time(os.getpid()) or "0")

    @classmethod
    def parse(cls, token: str) -> "Owner":
        """The owner that `token()` wrote; an unreadable token belongs to nobody."""
        machine, _, rest = token.partition("-")
        pid, _, started = rest.partition("-")
        return cls(machine, int(pid) if pid.isdigit() else 0, started)

    def token(self) -> str:
        """A short text, safe in a file name."""
        return f"{self.machine}-{self.pid}-{self.started}"

    def here(self) -> bool:
        """Whether this machine can tell if the process lives."""
        return self.machine == _machine()

    def alive(self) -> bool:
        """Whether the process lives; a process of another machine counts as living."""
        if not self.here():
            return True
        started = _start_time(self.pid)
        return started is not None and started == self.started


@functools.cache
def _machine() -> str:
    parts = [socket.gethostname()]
    for source in ("/proc/sys/kernel/random/boot_id",):
        if Path(source).exists():
            parts.append(Path(source).read_text().strip())
    if Path("/proc/self/ns/pid").is_symlink():
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:10]


def _start_time(pid: int) -> str | None:
    """Start time of a process, None where it is gone; "0" where the system does not tell."""
    if pid <= 0:
        return None
    if Path("/proc/self/stat").exists():
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if after_name[0] == "Z" else after_name[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "0"
