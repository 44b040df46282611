"""Errors of the system in words: files, permissions, limits and memory, none of them a bug."""

import errno
import os

ADVICE = {
    errno.EACCES: "Check its permissions",
    errno.EPERM: "Check its permissions",
    errno.EROFS: "Choose a folder on a file system that can be written",
    errno.ENOENT: "Check the path",
    errno.ENOTDIR: "A part of the path is a file; check the path",
    errno.EISDIR: "Give a file",
    errno.ELOOP: "Check the symbolic links in the path",
    errno.ENAMETOOLONG: "Choose a shorter path",
    errno.EMFILE: "Raise the limit of open files (`ulimit -n`), or use fewer workers",
    errno.ENFILE: "Raise the system's limit of open files, or use fewer workers",
    errno.EMLINK: "The file system allows no more links to a file, or folders in one; move the "
    "dataset to another",
    errno.ENOMEM: "Use smaller batches or fewer workers",
    errno.EAGAIN: "Raise the limit of processes (`ulimit -u`), or use fewer workers",
    errno.EIO: "Check the disk or the connection to the file server",
    errno.ESTALE: "Check the connection to the file server",
    errno.ENOSPC: "Free some space and run the same command again",
    errno.EDQUOT: "Your quota is used up; free some space and run the same command again",
    errno.EFBIG: "Raise the limit of file sizes (`ulimit -f`)",
}


def in_words(error: OSError | MemoryError) -> str:
    """Path, problem and advice: "/data/x: Permission denied. Check its permissions."."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno
    problem = os.strerror(number) if number else " ".join(str(error).split()) or "system error"
    paths = [getattr(error, name, None) for name in ("filename", "filename2")]
    named = " to ".join(os.fsdecode(p) for p in paths if isinstance(p, str | bytes | os.PathLike))
    advice = ADVICE.get(number or 0, "")
    return ". ".join(filter(None, (f"{named}: {problem}" if named else problem, advice))) + "."
