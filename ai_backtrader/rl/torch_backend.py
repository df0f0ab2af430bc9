"""The same network and the same gradient step in torch. The only module that imports it.

On the CPU torch works on the very arrays of the agent's memory, nothing is copied. On CUDA weights and moments live on
the device; the online weights come back after every step, because acting reads them.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.rl.dqn_kernels import STEPS, TARGET_MOVES, UPDATES, Hyper, Memory, learning_rate_at
from ai_backtrader.rl.networks import layers, n_parameters

__all__ = ["TorchLearner", "export_parameters", "module_of", "one_thread", "read_state_dict", "write_state_dict"]

Floats = NDArray[Any]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch's operations inside, the caller's number again after.

    At these sizes a second thread costs two to four times the processor time and gains nothing.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def module_of(sizes: Sequence[int], parameters: Floats) -> torch.nn.Sequential:
    """A torch module with a copy of the weights; its ``Linear`` layers hold them transposed, as torch does."""
    parts: list[torch.nn.Module] = []
    for weights, biases in layers(sizes, parameters):
        linear = torch.nn.Linear(weights.shape[0], weights.shape[1], dtype=torch.from_numpy(parameters[:0]).dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights.T.copy()))
            linear.bias.copy_(torch.from_numpy(biases.copy()))
        parts += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


def export_parameters(module: torch.nn.Module) -> Floats:
    """The weights of such a module as one vector, shape (n_parameters,)."""
    pieces = []
    for part in module.modules():
        if isinstance(part, torch.nn.Linear):
            pieces += [part.weight.detach().cpu().numpy().T.ravel(), part.bias.detach().cpu().numpy()]
    return np.concatenate(pieces)


def write_state_dict(path: str | Path, sizes: Sequence[int], parameters: Floats) -> None:
    """Write the weights as torch's own ``state_dict`` file, for use outside of this package."""
    torch.save(module_of(sizes, parameters).state_dict(), os.fspath(path))


def read_state_dict(path: str | Path, sizes: Sequence[int]) -> Floats:
    """Weights from a ``state_dict`` file, shape (n_parameters,); nothing in the file is executed.

    Raises
    ------
    AIBacktraderError
        If the file is no state dict, or holds more than tensors.
    SettingsError
        If it is of a network of other widths.
    """
    try:
        state = torch.load(os.fspath(path), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, OSError and more for one and the same
        raise AIBacktraderError(
            f"weights {path}: torch cannot read them as plain weights ({type(error).__name__}); give a file written by "
            "torch.save(module.state_dict())"
        ) from error
    wanted: dict[str, torch.Size] = {
        name: value.shape for name, value in module_of(sizes, np.zeros(n_parameters(sizes))).state_dict().items()
    }
    found = {name: getattr(value, "shape", None) for name, value in dict(state).items()}
    if found != wanted:
        raise SettingsError(
            f"weights {path}", [f"layers must be {list(sizes)}, got {', '.join(f'{n} {s}' for n, s in found.items())}"]
        )
    module = module_of(sizes, np.zeros(n_parameters(sizes)))
    module.load_state_dict(state)
    return export_parameters(module)


class TorchLearner:
    """Gradient steps of one agent's memory in torch.

    Parameters
    ----------
    memory
        The agent's; ``online``, ``target`` and the moments are read, and written by every step.
    device
        ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    SettingsError
        If the device is not there.
    """

    def __init__(self, memory: Memory, hyper: Hyper, device: str = "cpu") -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise SettingsError("TorchLearner", [f"device {device!r} is not available; take 'cpu' or backend='numba'"])
        self.memory, self.hyper, self.device = memory, hyper, torch.device(device)
        self.shared = self.device.type == "cpu"
        self.push()

    def push(self) -> None:
        """Take weights and moments from the memory, as after a checkpoint was loaded."""
        memory, hyper = self.memory, self.hyper
        self.online = self._tensor(memory.online).requires_grad_()
        self.target = self._tensor(memory.target)
        self.optimizer = torch.optim.Adam(
            [self.online], lr=hyper.learning_rate, betas=(hyper.adam_beta1, hyper.adam_beta2), eps=hyper.adam_epsilon
        )
        self.optimizer.state[self.online] = {
            "step": torch.tensor(float(memory.counters[UPDATES])),
            "exp_avg": self._tensor(memory.first),
            "exp_avg_sq": self._tensor(memory.second),
        }
        self.moves = int(memory.counters[TARGET_MOVES])

    def pull(self) -> None:
        """Bring the moments back into the memory, as before a checkpoint is written."""
        if not self.shared:
            state = self.optimizer.state[self.online]
            self.memory.first[:] = state["exp_avg"].cpu().numpy()
            self.memory.second[:] = state["exp_avg_sq"].cpu().numpy()

    def _tensor(self, array: Floats) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def forward(self, parameters: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Q values, shape (batch, actions), of parameters in the layout of ``networks``."""
        at, sizes = 0, self.memory.sizes.tolist()
        for place, (n_in, n_out) in enumerate(pairwise(sizes)):
            weights = parameters[at : at + n_in * n_out].view(n_in, n_out)
            at += n_in * n_out
            states = torch.addmm(parameters[at : at + n_out], states, weights)
            at += n_out
            if place < len(sizes) - 2:
                states = torch.relu(states)
        return states

    def learn(self) -> float:
        """As :func:`ai_backtrader.rl.dqn_kernels.learn`: a gradient step on the drawn batch, the mean loss returned."""
        with one_thread():
            return self._learn()

    def _learn(self) -> float:
        memory, hyper, replay, rows = self.memory, self.hyper, self.memory.replay, self.memory.rows
        if self.moves != memory.counters[TARGET_MOVES]:
            self.moves = int(memory.counters[TARGET_MOVES])
            if not self.shared:
                self.target.copy_(torch.from_numpy(memory.target))
        states, next_states = self._tensor(replay.states[rows]), self._tensor(replay.next_states[rows])
        rewards, discounts = self._tensor(replay.rewards[rows]), self._tensor(replay.discounts[rows])
        masks, actions = self._tensor(replay.next_masks[rows]), self._tensor(replay.actions[rows])
        weights = self._tensor(memory.weights)
        with torch.no_grad():
            next_values = self.forward(self.target, next_states)
            chooser = self.forward(self.online, next_states) if hyper.double else next_values
            choices = chooser.masked_fill(~masks, -math.inf).argmax(dim=1, keepdim=True)
            bootstrap = next_values.gather(1, choices).squeeze(1).masked_fill(~masks.any(dim=1), 0.0)
            goals = rewards + discounts * bootstrap
        values = self.forward(self.online, states).gather(1, actions.unsqueeze(1)).squeeze(1)
        if math.isinf(hyper.huber_delta):
            losses = 0.5 * (values - goals) ** 2
        else:
            losses = torch.nn.functional.huber_loss(values, goals, reduction="none", delta=hyper.huber_delta)
        loss = (weights * losses).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if not math.isinf(hyper.max_grad_norm):
            torch.nn.utils.clip_grad_norm_([self.online], hyper.max_grad_norm)
        self.optimizer.param_groups[0]["lr"] = learning_rate_at(hyper, memory.counters[STEPS])
        self.optimizer.step()
        memory.errors[:] = (values.detach() - goals).cpu().numpy()
        if self.online.grad is not None:  # backward has just filled it
            memory.gradient[:] = self.online.grad.cpu().numpy()
        if not self.shared:
            memory.online[:] = self.online.detach().cpu().numpy()
        return float(loss.item())
