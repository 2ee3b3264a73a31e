"""Learning: a network, its optimiser, and what they carry on from one batch to the next.

Knows events and batches, not music or files: `training` feeds it pieces and saves it.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cadenza.dataset import Batch
from cadenza.errors import InputError, TrainingError
from cadenza.machine import keep_freed
from cadenza.models import LanguageModel, State
from cadenza.processes import Processes

WARM_UP_STEPS = 30
FINAL_LEARNING_RATE = 0.02  # as a share of the highest
GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Recipe:
    """How a network learns."""

    learning_rate: float = 3e-3  # the highest
    weight_decay: float = 0.05  # AdamW (Loshchilov and Hutter 2019); with 0 it is Adam
    average: float = 0.0  # decay of the running average of weights that is kept; 0 keeps the last ones


class Learner:
    """Trains `model` on the windows of `lanes` lanes, of which each process has its share; `learn` is one step."""

    def __init__(
        self,
        model: LanguageModel,
        recipe: Recipe,
        lanes: int,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        if device.type == "cpu":
            keep_freed()
        self.model, self.recipe, self.device = model.to(device), recipe, device
        self.processes, self.lanes = processes or Processes(), lanes
        self.state: State = model.initial_state(len(self.processes.lanes(lanes)))
        self.nats_of = self.processes.spread(_NatsOf(model), device)  # which may replace parameters
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(model, recipe.weight_decay),
            lr=recipe.learning_rate,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.averaged = _copy_of(model) if recipe.average else None
        self.step = 0

    def learn(self, batch: Batch, share_done: float) -> tuple[float, int]:
        """One step; returns the nats of the events of all processes, and how many events there were.

        share_done, 0 .. 1, is how much of the run is over, which sets the learning rate. Raises
        TrainingError if the loss stops being a number.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * schedule(self.step, share_done)
        events, context = to_device(batch, self.device)
        with autocast(self.device):
            nats, state = self.nats_of(events, context, self._state_of(batch))
        teaching = (batch.events[:, 1:, 0] >= 0) & ~batch.sure[:, 1:]
        mine = (nats * torch.from_numpy(teaching).to(self.device)[..., None]).sum()
        n_mine = float(teaching.sum())
        counts = torch.tensor([mine.item(), n_mine], dtype=torch.float64, device=self.device)
        total, n_events = self.processes.total(counts).tolist()
        if not math.isfinite(total):
            raise TrainingError(f"the loss became {total} at step {self.step}; try another --seed.")
        self.state = tuple(s.detach() for s in state)
        self.optimiser.zero_grad(set_to_none=True)
        # The mean of all processes' gradients is that of the sum over all events.
        (mine * self.processes.size / n_events).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        self.step += 1
        self._average()
        return total, int(n_events)

    def _state_of(self, batch: Batch) -> State:
        """The carried state, empty where a piece begins; every state has its batch second."""
        goes_on = torch.from_numpy(~batch.starts).to(self.device)
        return tuple(s * goes_on.view(1, -1, *[1] * (s.ndim - 2)) for s in self.state)

    @torch.no_grad()
    def _average(self) -> None:
        if self.averaged is None:
            return
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        current = self.model.state_dict()
        torch._foreach_lerp_(list(self.averaged.values()), [current[k] for k in self.averaged], 1 - decay)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights to evaluate and to keep, the average if there is one (all have to call this)."""
        kept = self.model.state_dict() if self.averaged is None else self.averaged
        return {name: self.processes.whole(tensor).clone() for name, tensor in kept.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All that changes from step to step, in all processes, for `load_tensors`; all have to call this, and
        the first one alone gets anything."""
        found = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        found |= {f"averaged.{k}": v for k, v in (self.averaged or {}).items()}
        for k, mine in enumerate(self.state):
            for rank, state in enumerate(self.processes.gathered(mine.cpu())):
                for n, lane in enumerate(self.processes.lanes(self.lanes, rank)):
                    found[f"state.{k}.{lane}"] = state[:, n]
        for kind, numbers in _random(self.device).items():
            for rank, random in enumerate(self.processes.gathered(numbers)):
                found[f"random.{rank}.{kind}"] = random
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                found[f"optimiser.{name}.{key}"] = value
        kept = {}
        for name, tensor in found.items():
            whole = self.processes.whole(tensor)
            if self.processes.is_first:
                kept[name] = whole.cpu()
        return kept

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`; raises KeyError, RuntimeError, TypeError or ValueError for those of another network."""
        current = self.model.state_dict()
        self.model.load_state_dict(self._parts(with_prefix(tensors, "model."), current))
        if self.averaged is not None:
            self.averaged = self._parts(with_prefix(tensors, "averaged."), current)
        lanes = self.processes.lanes(self.lanes)
        self.state = tuple(
            torch.stack([tensors[f"state.{k}.{lane}"] for lane in lanes], dim=1).to(self.device)
            for k in range(len(self.state))
        )
        self._restore_random(with_prefix(tensors, f"random.{self.processes.rank}."))
        for name, parameter in self.model.named_parameters():
            saved = with_prefix(tensors, f"optimiser.{name}.")
            if saved:
                _check_moments(saved, parameter)
                self.optimiser.state[parameter] = self._parts(saved, dict.fromkeys(saved, parameter))

    def _parts(self, tensors: dict[str, Tensor], likes: dict[str, Tensor]) -> dict[str, Tensor]:
        """What this process holds of the tensors: as much as of that of the same name in `likes`."""
        return {name: self.processes.part(t.to(self.device), likes[name]) for name, t in tensors.items()}

    def _restore_random(self, saved: dict[str, Tensor]) -> None:
        if not saved:  # the run goes on with more processes than it was stopped with
            torch.manual_seed(self.processes.rank)
            return
        torch.set_rng_state(saved["cpu"])
        if "cuda" in saved and self.device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda"], self.device)


def _random(device: torch.device) -> dict[str, Tensor]:
    """States of the generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


class _NatsOf(nn.Module):
    """The network with its loss: what is compiled, or spread over processes, as one."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, events: Tensor, context: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, state = self.model(events[:, :-1], context[:, :-1], state)
        return self.model.nats(hidden, events[:, 1:], context[:, 1:]), state


def _copy_of(model: LanguageModel) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _check_moments(saved: dict[str, Tensor], parameter: Tensor) -> None:
    """Raise ValueError unless this is what AdamW keeps of a parameter; it reads on where a tensor ends too early."""
    shapes = {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
    if {name: tensor.shape for name, tensor in saved.items()} != shapes:
        raise ValueError("moments of another parameter")


def _parameter_groups(model: LanguageModel, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices that are multiplied, none for biases, norms and embeddings."""
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for name, parameter in model.named_parameters():
        is_table = name.startswith(("embed.", "condition."))
        (decayed if parameter.ndim == 2 and not is_table else plain).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def schedule(step: int, share_done: float) -> float:
    """Learning rate as a share of the highest: warm-up, then half a cosine (Loshchilov and Hutter 2017)."""
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    cosine = 0.5 * (1 + math.cos(math.pi * share_done))
    return warm_up * (FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * cosine)


def choose_device(name: str) -> torch.device:
    """The device of that name, or the best there is for "auto"; raises InputError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available here; use cpu, cuda or auto.") from error
    return device


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices; where it does not, they are far slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def autocast(device: torch.device) -> Any:
    """bfloat16 matrix products where they are fast."""
    if has_fast_bfloat16(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """The batch's events and context as tensors there."""
    return torch.from_numpy(batch.events).to(device), torch.from_numpy(batch.context).to(device)
