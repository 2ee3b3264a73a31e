"""Several processes that train one network together, as torchrun starts them; usually there is but one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from cadenza.errors import InputError

PATIENCE = timedelta(minutes=10)  # with another process, before it counts as dead


@dataclass(frozen=True)
class Processes:
    """Which of how many this process is. Process 0 alone writes files and speaks to the user."""

    rank: int = 0
    size: int = 1
    restarts: int = 0  # how often torchrun has started these processes anew
    start: str = ""  # which start of torchrun they belong to, restarts included

    @classmethod
    def join(cls) -> Processes:
        """Meet the others, if torchrun started this process; raises InputError if it cannot."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        start = os.environ.get("TORCHELASTIC_RUN_ID", "")
        if size == 1:
            return cls(restarts=restarts, start=start)
        if not dist.is_initialized():
            try:
                _meet(restarts)
            except (RuntimeError, ValueError) as error:
                raise InputError(
                    f"cannot meet the other {size - 1} processes ({error}); start all with torchrun."
                ) from error
        return cls(dist.get_rank(), size, restarts, start)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def device(self, wanted: str) -> str:
        """The device of this process: each has a GPU of its own."""
        if self.size > 1 and wanted in ("auto", "cuda") and torch.cuda.is_available():
            return f"cuda:{os.environ.get('LOCAL_RANK', self.rank)}"
        return wanted

    def lanes(self, n: int, rank: int | None = None) -> range:
        """Which of a batch's n lanes are read by this process (or by that of the given rank)."""
        return range(self.rank if rank is None else rank, n, self.size)

    def spread(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with the mean of everybody's gradients after each backward pass."""
        if self.size == 1:
            return module
        return nn.parallel.DistributedDataParallel(
            module, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
        )

    def from_first(self, *values: float) -> list[float]:
        """The numbers that process 0 passed."""
        box = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            dist.broadcast(box, src=0)
        return box.tolist()

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """The tensor that each process passed, all of one shape and in main memory, in the order of ranks."""
        if self.size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor.contiguous())
        return found

    def total(self, values: Tensor) -> Tensor:
        """Sum of everybody's tensors of numbers, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Go on only when all have come here."""
        if self.size > 1:
            dist.barrier()


def _meet(restarts: int) -> None:
    """Open the connections between the processes.

    torchrun may keep its store of addresses when it starts processes anew; under a name of their own they
    do not find those of the dead.
    """
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    named = dist.PrefixStore(f"start-{restarts}", store)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=named, rank=rank, world_size=size, timeout=PATIENCE)
