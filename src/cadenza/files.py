"""Files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cadenza.errors import InputError


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path` by way of a synced temporary file beside it, so that a crash leaves the old one.

    Raises InputError when the folder cannot be written to.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another folder or make room."
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
