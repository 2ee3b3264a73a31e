"""What a stopped training goes on from: one file with its checksum within it, and the one before it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cadenza.errors import CadenzaError, InputError, ModelError
from cadenza.files import not_written, write_atomic
from cadenza.model_folder import STATE, STATE_BEFORE

Checkpoint = tuple[dict[str, Any], dict[str, Tensor]]  # facts, of which JSON is made, and tensors

_FACTS, _SUM = "training", "sha256"
_NO_SUM = "0" * 64  # in whose place the checksum is put
_WRONG = (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError)


def write(out: Path, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint whole or not at all; the last one is kept as well."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(plain, metadata={_FACTS: json.dumps(facts | {_SUM: _NO_SUM})})
    write_atomic(out / STATE, with_sum(content), out / STATE_BEFORE)


def last(out: Path) -> tuple[*Checkpoint, Path]:
    """The last checkpoint that is whole, and its path.

    Raises InputError if there is none, ModelError if it is damaged and there is none before it that is whole.
    """
    try:
        return *read(out / STATE), out / STATE
    except CadenzaError:
        if not (out / STATE_BEFORE).exists():
            raise
        return *read(out / STATE_BEFORE), out / STATE_BEFORE


def take_back(out: Path) -> None:
    """Put the checkpoint before in the place of the last one, which is not whole, lest that becomes the one before."""
    try:
        (out / STATE_BEFORE).replace(out / STATE)
    except OSError as error:
        raise not_written(out / STATE, error) from error


def read(path: Path) -> Checkpoint:
    """What is in a checkpoint; raises InputError if there is none, ModelError if it is damaged."""
    if not path.exists():
        raise InputError(f"{path}: nothing to resume; leave --resume out to start a new run.")
    try:
        if not path.is_file():
            raise ValueError("not a file")
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[_FACTS])
            _check_sum(path.read_bytes(), facts[_SUM])
            return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except _WRONG as error:
        raise damaged(path) from error


def damaged(path: Path) -> ModelError:
    """What to raise of a checkpoint that cannot be gone on from."""
    return ModelError(f"{path}: damaged; leave --resume out to start a new run.")


def forget(out: Path, names: tuple[str, ...] = (STATE, STATE_BEFORE)) -> None:
    """Delete the checkpoints of these names, if there are any; raises InputError or StorageError if that fails."""
    for name in names:
        try:
            (out / name).unlink(missing_ok=True)
        except OSError as error:
            raise not_written(out / name, error) from error


def belongs_to(start: str, out: Path) -> bool:
    """Whether there is a checkpoint of this start of torchrun (see `processes`); a damaged one is of none."""
    return any(_start_of(out / name) == start for name in (STATE, STATE_BEFORE))


def _start_of(path: Path) -> object:
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()[_FACTS])["start"]
    except _WRONG:
        return None


def with_sum(content: bytes) -> bytes:
    """A checkpoint with the checksum of all its bytes within it."""
    return content.replace(_NO_SUM.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def _check_sum(content: bytes, digest: str) -> None:
    """Raise ValueError unless these are the bytes that `with_sum` gave."""
    if hashlib.sha256(content.replace(digest.encode(), _NO_SUM.encode(), 1)).hexdigest() != digest:
        raise ValueError("not as it was written")
