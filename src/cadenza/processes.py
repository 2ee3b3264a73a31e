"""Several processes that train one network together, as torchrun starts them; usually there is but one."""

from __future__ import annotations

import atexit
import gc
import os
import warnings
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from uuid import uuid4

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
    start: str = ""  # names the start of torchrun that they belong to, restarts included
    shard: bool = False  # whether each keeps only a part of the network

    @classmethod
    def join(cls, shard: bool = False) -> Processes:
        """Meet the others, if torchrun started this process; raises InputError if it cannot."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        restarts, start = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")), ""
        is_due = size > 1 and not dist.is_initialized()
        if is_due or dist.is_torchelastic_launched():
            try:
                start = _meet(restarts)
            except (RuntimeError, ValueError) as error:
                raise InputError(
                    f"cannot meet the other processes, {size} in all ({error}); start all with torchrun."
                ) from error
        return cls(dist.get_rank() if size > 1 else 0, size, restarts, start, shard and size > 1)

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
        """The module with the mean of everybody's gradients after each backward pass.

        If they shard, its parameters are replaced by the parts of them that this process keeps.
        """
        if self.size == 1:
            return module
        if self.shard:
            return _sharded(module, device, self.size)
        return nn.parallel.DistributedDataParallel(
            module, device_ids=[device] if device.type == "cuda" else None, forward_sync_buffers=False
        )

    def whole(self, tensor: Tensor) -> Tensor:
        """The tensor of which each process may hold but a part (all have to call this)."""
        if not self.shard:
            return tensor
        from torch.distributed.tensor import DTensor  # takes a second to import, as all of sharding does

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """What this process holds of the tensor, if its shape is that of `like`, of which it holds a part."""
        if not self.shard:
            return tensor
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or tensor.shape != like.shape:
            return tensor
        # All have the same tensor, so that nothing needs to be sent.
        return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)

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


def _sharded(module: nn.Module, device: torch.device, size: int) -> nn.Module:
    """The module, of whose lists of layers one layer at a time is whole in a process (Zhao et al. 2023)."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (size,))
    # Caches of DTensor keep the mesh to the end, and a mesh keeps the connections in a private table (see `_part`).
    atexit.register(mesh._pg_registry.clear)
    # No layer's output is changed in place here, which is what this warning is about.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    for layers in [part for part in module.modules() if isinstance(part, nn.ModuleList)]:
        for layer in layers:
            fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def _meet(restarts: int) -> str:
    """Open the connections between the processes; returns a name that no other start of torchrun has.

    torchrun keeps its store when it starts processes anew. So the name that is put there first stays, which
    the run id need not tell (it may be that of an earlier start); and processes that look for each other
    under a prefix of their own do not find the addresses of the dead.
    """
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    start: str = store.compare_set("cadenza", "", uuid4().hex).decode()
    if size == 1 or dist.is_initialized():
        return start
    # Imported later, its functions would have the connections as default values and keep them for ever.
    import_module("torch.distributed.nn")
    named = dist.PrefixStore(f"start-{restarts}", store)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=named, rank=rank, world_size=size, timeout=PATIENCE)
    atexit.register(_part)
    return start


def _part() -> None:
    """Close the connections, whose threads end with the last reference to them.

    A thread that let go of a tensor when there is no interpreter any more would abort the process.
    """
    dist.destroy_process_group()
    gc.collect()
