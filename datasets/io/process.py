"""Process identity: the owner of a temporary file or a lease, and whether it is still alive."""

import functools
import hashlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

FOREIGN_DRAFT_SECONDS = 86_400.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")
PID_NAMESPACE = Path("/proc/self/ns/pid")
HIDDEN = "hidden"  # start time of another user's process on a system that hides it


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, identified by host, boot, PID namespace (container), number and start time.

    Process numbers are only compared within one namespace of one boot. A boot that is not the
    running one of its host is over, and so are all its processes.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def me(cls) -> "Owner":
        """Return the running process."""
        return cls(*_here(), os.getpid(), _start_time(os.getpid()) or "0")

    @classmethod
    def parse(cls, token: str) -> "Owner":
        """Parse a token; an unreadable one gives an owner that is not alive."""
        parts = token.strip().split("-")
        if len(parts) != 5 or not parts[3].isdecimal():
            return cls(*_here(), 0, "")
        host, boot, namespace, pid, started = parts
        return cls(host, boot, namespace, int(pid), started)

    def token(self) -> str:
        """Return a short text that is safe in a file name."""
        return f"{self.host}-{self.boot}-{self.namespace}-{self.pid}-{self.started}"

    def alive(self) -> bool | None:
        """Whether the process is alive; None if that cannot be seen from this host or container."""
        host, boot, namespace = _here()
        if self.boot == boot:
            if self.namespace != namespace:
                return None
            started = _start_time(self.pid)
            return None if started == HIDDEN else started is not None and started == self.started
        return False if self.host == host else None


def is_abandoned(path: Path, token: str) -> bool:
    """Whether the owner of a temporary file has died, or is out of sight and silent for a day."""
    alive = Owner.parse(token).alive()
    if alive is not None:
        return not alive
    try:
        return time.time() - path.stat().st_mtime > FOREIGN_DRAFT_SECONDS
    except FileNotFoundError:
        return False


@functools.cache
def _here() -> tuple[str, str, str]:
    """Host, boot and PID namespace of this process."""
    name = socket.gethostname()
    # Without a boot number, only the host's name tells processes of several hosts apart.
    boot = _read(BOOT_ID) or name
    namespace = os.readlink(PID_NAMESPACE) if PID_NAMESPACE.is_symlink() else ""
    return _digest(f"{_read(MACHINE_ID)}|{name}"), _digest(boot), _digest(namespace)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _start_time(pid: int) -> str | None:
    """Start time of a process: None if it has ended, "0" if the system does not report any."""
    if pid <= 0:
        return None
    has_proc = Path("/proc/self/stat").exists()
    if after_name := _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split():
        return None if after_name[0] == "Z" else after_name[19]
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    return HIDDEN if has_proc else "0"
