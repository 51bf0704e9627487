"""Files that are whole or not there: atomic writes, JSON, hashes, free space."""

import errno
import functools
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Refusal(Exception):
    """What a user must mend before it can go on; the message has one line per reason."""


class FileError(Refusal, RuntimeError):
    """A file or folder that cannot be read or written; the message names it and says what to do."""


def fingerprint(value: Any) -> str:
    """Sixteen hex digits that stand for a JSON-able value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What goes wrong while a file or folder is written becomes an error that names it.

    Raises:
        FileError: it cannot be written (no permission, disk full).
    """
    try:
        yield
    except FileError:
        raise  # of something in it, which it names
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch.save reports a full disk as a RuntimeError, safetensors as its own.
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        help = "choose another folder"
        if not isinstance(error, OSError) or error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason += f"; {free_megabytes(path.parent):.0f} MB free on the disk"
            help = "make room or choose another folder"
        raise FileError(
            f"{path}: cannot be written ({reason}); what was finished before is kept: {help} and "
            "run again"
        ) from error


TEMPORARY = ".iapc-"
"""How the names begin of what a killed `atomic_path` leaves; no pattern of ours finds them."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes it when the block ends without an error.

    Raises:
        FileError: the file cannot be written (no permission, disk full).
    """
    temporary = None
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Short, so that a name that fits is never refused for its temporary's.
            handle, name = tempfile.mkstemp(path.suffix[-20:], TEMPORARY, path.parent)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def only_writer(lock: Path, wait: float = -1) -> Iterator[None]:
    """Keeps other processes away by a locked file; the system lifts it when a process dies.

    Where the file system knows no locks, that is said, and nobody is kept away.

    Args:
        lock: the file, beside or in what is written; it stays, and holds nobody up.
        wait: seconds for another writer to finish; -1: however long it takes, which is said.

    Raises:
        filelock.Timeout: another process holds it.
        OSError: the file cannot be written.
    """
    if not _knows_locks(lock):
        tqdm.write(f"{lock.parent}: its file system knows no locks; never start two writers there")
        yield
        return
    held = FileLock(lock)
    try:
        held.acquire(timeout=max(wait, 0))
    except Timeout:
        if wait >= 0:
            raise
        tqdm.write(f"{lock.parent}: another process is writing there; waiting for it")
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _knows_locks(path: Path) -> bool:
    if fcntl is None:
        return True
    with path.open("a+") as file:  # NFS gives a lock for reading only to who may read
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True  # somebody holds it
        except OSError:
            return False
    return True


def visible_files(folder: Path, pattern: str) -> list[Path]:
    """What a pattern finds in a folder, sorted, without hidden ones: `._name` of macOS, temporaries.

    Args:
        folder: may be missing, and holds no file then.
        pattern: of names, such as `*.json`; `**/*` finds folders, too.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def remove_temporaries(folder: Path) -> None:
    """Removes what killed writers left below a folder; nobody else may be writing there."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically; see `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


TEXT_MEGABYTES = 64
"""A larger text is none of ours."""


def read_text(path: Path) -> str:
    """Text of a file that a person or a run wrote, UTF-8.

    Raises:
        FileError: it cannot be read, is no text, or something else than a file: a pipe or a device
            would be waited for, or never end.
    """
    try:
        seen = path.stat()
        if not stat.S_ISREG(seen.st_mode):
            raise FileError(f"{path}: is no file but {what_it_is_instead(path)}")
        if seen.st_size > TEXT_MEGABYTES * 1e6:
            raise FileError(f"{path}: is larger than {TEXT_MEGABYTES} MB, so it is none of ours")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise FileError(f"{path}: is no text") from None


def what_it_is_instead(path: Path) -> str:
    """What stands in the place of a file or folder, in words."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(path.stat().st_mode), "something else")


def read_json(path: Path, shape: Any = Any) -> Any:
    """Reads JSON of a shape.

    Args:
        path: of the file.
        shape: a type that pydantic knows: `dict`, a `TypedDict`, `list[...]`.

    Raises:
        FileError: the file is damaged or of another shape; names file and field.
    """
    try:
        return TypeAdapter(shape).validate_json(read_text(path))
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, wrong["loc"]))
        reason = f"{place}: {wrong['msg']}" if place else wrong["msg"]
    raise FileError(f"{path}: is damaged ({reason})")


def file_state(path: Path) -> tuple[str, int, int, int, int]:
    """Absolute path, inode, bytes, and the times of the last change: any write alters one."""
    seen = path.stat()
    times = seen.st_mtime_ns, seen.st_ctime_ns
    return str(path.absolute()), seen.st_ino, seen.st_size, *times


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; one that has not changed since is not read again."""
    return _hash(path, file_state(path))


@functools.lru_cache(maxsize=2**15)
def _hash(path: Path, _state: tuple) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_megabytes(folder: Path) -> float:
    """Free space, in MB, on the disk that holds `folder`, or will once it is made."""
    return shutil.disk_usage(existing_parent(folder)).free / 1e6


def existing_parent(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return folder if folder.exists() else existing_parent(folder.parent)
