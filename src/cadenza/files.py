"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path

from cadenza.errors import InputError, StorageError

_FAULTS_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_NEVER_SYNCED = (
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EACCES,
)  # said of folders by file systems that cannot, or may not be listed
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")


def write_atomic(path: Path, data: bytes | str, before: Path | None = None) -> None:
    """Write `data` to `path` by way of a synced temporary file beside it, so that a crash leaves the old one.

    before: where the old one goes to, if it is to be kept (one file system); a crash may leave it there alone. Raises
    InputError where nothing can be written, StorageError when the disk is full or fails.
    """
    # Names on disk need not be valid Unicode; in a text they are shown with escapes.
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        made = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if before is not None and path.exists():
            path.replace(before)
        temporary.replace(path)
        for folder in dict.fromkeys([path.parent, *(folder.parent for folder in made)]):
            sync_folder(folder)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        _remove(temporary)


def sync_folder(folder: Path) -> None:
    """Return once a power cut can no longer undo which files a folder has, where the system can tell (not on Windows)."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NEVER_SYNCED:
            raise


def not_written(path: Path, error: OSError) -> InputError | StorageError:
    """What to raise when nothing can be written to `path`: StorageError for a fault of the disk."""
    kind = StorageError if error.errno in _FAULTS_OF_THE_DISK else InputError
    return kind(f"{path}: cannot be written ({error.strerror}); choose another folder or make room.")


def clear_away(folder: Path) -> None:
    """Delete what `write_atomic` left half-written in a folder when its process was killed."""
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # its folder is no folder or cannot be written to, which has been said already
