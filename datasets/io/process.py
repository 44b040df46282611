"""Process identity: the owner of a temporary file or a lease, and whether it is still alive."""

import functools
import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, identified by machine, process number and start time.

    `machine` differs between hosts, boots and PID namespaces (containers), so process numbers are
    only compared within one namespace.
    """

    machine: str
    pid: int
    started: str

    @classmethod
    def me(cls) -> "Owner":
        """Return the running process."""
        return cls(_machine(), os.getpid(), _start_time(os.getpid()) or "0")

    @classmethod
    def parse(cls, token: str) -> "Owner":
        """Parse a token; an unreadable one gives an owner that is not alive."""
        machine, _, rest = token.partition("-")
        pid, _, started = rest.partition("-")
        return cls(machine, int(pid) if pid.isdigit() else 0, started)

    def token(self) -> str:
        """Return a short text that is safe in a file name."""
        return f"{self.machine}-{self.pid}-{self.started}"

    def here(self) -> bool:
        """Whether the process belongs to this machine, so that `alive` can check it."""
        return self.machine == _machine()

    def alive(self) -> bool:
        """Whether the process is alive; one of another machine counts as alive."""
        if not self.here():
            return True
        started = _start_time(self.pid)
        return started is not None and started == self.started


@functools.cache
def _machine() -> str:
    parts = [socket.gethostname()]
    if (boot_id := Path("/proc/sys/kernel/random/boot_id")).exists():
        parts.append(boot_id.read_text().strip())
    if Path("/proc/self/ns/pid").is_symlink():
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:10]


def _start_time(pid: int) -> str | None:
    """Start time of a process: None if it has ended, "0" if the system does not report it."""
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
