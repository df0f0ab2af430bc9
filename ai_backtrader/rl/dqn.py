"""The deep Q-network as an object: one agent's memory, its settings, and the backend that trains it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.rl.dqn_kernels import UPDATES, act, draw, hyper_of, new_memory, settle, update
from ai_backtrader.rl.networks import forward_layers, layers
from ai_backtrader.rl.numpy_backend import learn_numpy
from ai_backtrader.rl.replay import observe_step
from ai_backtrader.rl.settings import DQNSettings

__all__ = ["BACKENDS", "DQN"]

BACKENDS = ("numba", "numpy", "torch")
"""What can compute the gradient: compiled loops (the default, fastest for small batches), NumPy, torch."""

Floats = NDArray[Any]

# What a resumed training needs, and nothing that is scratch.
_KEPT = ("online", "target", "first", "second", "rng", "counters")


class DQN:
    """Deep Q-network (Mnih 2015) with its usual extensions, each a switch of the settings.

    Acting, replay, priorities, target network and random numbers are compiled and the same for all backends; a backend
    computes the gradient step. The same seed gives the same weights, bit for bit, on the same backend and machine.

    Parameters
    ----------
    n_features, n_actions
        Of a state, and to choose from.
    settings
        The defaults if None.
    rng
        For the first weights, exploration and sampling.
    backend
        ``"numba"``, ``"numpy"`` or ``"torch"``; the latter pays for large batches and on CUDA.
    device
        For torch: ``"cpu"`` or ``"cuda"``.
    lanes
        Episodes that are fed side by side; each has its own window of n steps.

    Raises
    ------
    SettingsError
        If an argument is wrong, or torch or the device is not there.

    Examples
    --------
    >>> dqn = DQN(4, 2, DQNSettings(hidden=(8,)), rng=np.random.default_rng(1))
    >>> dqn.q_values(np.zeros((3, 4))).shape
    (3, 2)
    """

    def __init__(
        self,
        n_features: int,
        n_actions: int,
        settings: DQNSettings | None = None,
        *,
        rng: np.random.Generator,
        backend: str = "numba",
        device: str = "cpu",
        lanes: int = 1,
    ) -> None:
        faults = Faults("DQN")
        for name, value in (("n_features", n_features), ("n_actions", n_actions), ("lanes", lanes)):
            faults.whole(name, value, low=1)
        faults.one_of("backend", backend, BACKENDS)
        given: object = rng
        if not isinstance(given, np.random.Generator):
            faults.add(f"rng must be a numpy.random.Generator, got {given!r}; give np.random.default_rng(seed)")
        faults.raise_if_any()
        self.settings = DQNSettings() if settings is None else settings
        self.n_features, self.n_actions, self.lanes = n_features, n_actions, lanes
        self.backend, self.device = backend, device
        self.hyper = hyper_of(self.settings)
        self.memory = new_memory(n_features, n_actions, self.settings, rng, lanes=lanes)
        # Views of the layers, as long as the vector is the same one.
        self._layers: tuple[Floats, list[tuple[Floats, Floats]]] | None = None
        self._any_action = np.ones(n_actions, np.bool_)
        self._torch: Any = self._torch_learner() if backend == "torch" else None
        self._update: Callable[[], float] = partial(update, self.hyper, self.memory)
        if backend != "numba":
            learner = partial(learn_numpy, self.hyper, self.memory) if self._torch is None else self._torch.learn
            self._update = partial(self._update_by, learner)

    def _torch_learner(self) -> Any:
        try:
            from ai_backtrader.rl.torch_backend import TorchLearner
        except ImportError as error:
            raise SettingsError(
                "DQN", ["backend 'torch' needs torch; pip install 'ai-backtrader[torch]', or take 'numba'"]
            ) from error
        return TorchLearner(self.memory, self.hyper, self.device)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths: features, hidden layers, actions."""
        return tuple(self.memory.sizes.tolist())

    def q_values(self, states: Floats) -> Floats:
        """Q values of the online network, shape (n, actions), for states (n, features)."""
        given = np.asarray(states, self.settings.dtype)
        if given.ndim != 2 or given.shape[1] != self.n_features:
            faults = Faults("DQN.q_values")
            faults.add(f"states must have shape (n, {self.n_features}), got {given.shape}")
            faults.raise_if_any()
        weights = self.memory.online
        if self._layers is None or self._layers[0] is not weights:
            self._layers = weights, layers(self.sizes, weights)
        return forward_layers(self._layers[1], given)[-1]

    def act(self, state: Floats, mask: NDArray[np.bool_] | None = None, *, epsilon: float = 0.0) -> int:
        """Action for one state (features,): the best allowed one, or with chance ``epsilon`` any allowed one."""
        allowed = self._any_action if mask is None else np.ascontiguousarray(mask, np.bool_)
        self._check_row("state", state, self.n_features)
        self._check_row("mask", allowed, self.n_actions)
        if not allowed.any():
            raise SettingsError("DQN.act", ["mask must allow at least one action, got none"])
        return int(act(self.memory, np.ascontiguousarray(state, self.settings.dtype), allowed, float(epsilon)))

    def remember(
        self,
        state: Floats,
        action: int,
        reward: float,
        next_state: Floats,
        terminated: bool,
        *,
        truncated: bool = False,
        next_mask: NDArray[np.bool_] | None = None,
        lane: int = 0,
    ) -> None:
        """Take one step in. A truncated episode bootstraps from its last state, a terminated one does not.

        Raises
        ------
        SettingsError
            If a shape is wrong, the action or lane is not one of ours, or a number is not finite.
        """
        faults = Faults("DQN.remember")
        faults.whole("action", action, low=0, high=self.n_actions - 1)
        faults.whole("lane", lane, low=0, high=self.lanes - 1)
        faults.number("reward", reward)
        faults.raise_if_any()
        allowed = self._any_action if next_mask is None else np.ascontiguousarray(next_mask, np.bool_)
        rows = []
        for name, row in (("state", state), ("next_state", next_state)):
            self._check_row(name, row, self.n_features)
            rows.append(np.ascontiguousarray(row, self.settings.dtype))
            if not np.isfinite(rows[-1]).all():
                faults.add(f"{name} must be finite, got {row!r}")
        self._check_row("next_mask", allowed, self.n_actions)
        faults.raise_if_any()
        memory = self.memory
        observe_step(
            memory.replay, memory.window, int(lane), rows[0], int(action), float(reward), rows[1], allowed,
            self.hyper.gamma, bool(terminated), bool(truncated),
        )  # fmt: skip

    def train_step(self) -> float | None:
        """One update from the replay; the mean loss, or None while fewer transitions than a batch are there.

        Raises
        ------
        AIBacktraderError
            If the loss is no finite number: the training has diverged.
        """
        if self.memory.replay.ring[1] < self.settings.batch_size:
            return None
        loss = self._update()
        self.check_finite(loss)
        return loss

    def _update_by(self, learner: Callable[[], float]) -> float:
        # As the compiled update, which is one call because handing over the memory takes as long as drawing a batch.
        draw(self.hyper, self.memory)
        loss = learner()
        settle(self.hyper, self.memory)
        return loss

    def check_finite(self, loss: float) -> None:
        """Raise if a loss is no finite number."""
        if not math.isfinite(loss):
            raise AIBacktraderError(
                f"DQN: the training has diverged (loss {loss}); lower learning_rate, keep max_grad_norm finite, and "
                "look for rewards that are not finite"
            )

    def state(self) -> dict[str, Floats]:
        """Everything that a resumed training needs, as arrays by name; the replay only as far as it is filled."""
        if self._torch is not None:
            self._torch.pull()
        memory, filled = self.memory, int(self.memory.replay.ring[1])
        arrays: dict[str, Floats] = {name: getattr(memory, name) for name in _KEPT}
        for name, array in memory.replay._asdict().items():
            arrays[f"replay.{name}"] = array[:filled] if name not in ("tree", "ring", "highest") else array
        for name, array in memory.window._asdict().items():
            arrays[f"window.{name}"] = array
        return arrays

    def load_state(self, arrays: Mapping[str, Floats]) -> None:
        """Take what :meth:`state` gave.

        Raises
        ------
        SettingsError
            If an array is missing or of another shape or type; nothing is changed then.
        """
        faults = Faults("DQN.load_state")
        filled = int(arrays["replay.ring"][1]) if "replay.ring" in arrays else 0
        pairs: list[tuple[Floats, Floats]] = []
        memory = self.memory
        targets: dict[str, Floats] = {name: getattr(memory, name) for name in _KEPT}
        for name, array in memory.replay._asdict().items():
            targets[f"replay.{name}"] = array[:filled] if name not in ("tree", "ring", "highest") else array
        targets |= {f"window.{name}": array for name, array in memory.window._asdict().items()}
        for name, target in targets.items():
            given = arrays.get(name)
            if given is None:
                faults.add(f"{name} is missing")
            elif given.shape != target.shape or given.dtype != target.dtype:
                faults.add(f"{name} must be {target.dtype} {target.shape}, got {given.dtype} {given.shape}")
            else:
                pairs.append((target, given))
        faults.raise_if_any()
        for target, given in pairs:
            target[:] = given
        if self._torch is not None:
            self._torch.push()

    def set_weights(self, weights: Floats) -> None:
        """Take the weights for both networks, shape (n_parameters,); moments and count of updates begin anew."""
        memory = self.memory
        if np.shape(weights) != memory.online.shape:
            raise SettingsError(
                "DQN.set_weights", [f"weights must have shape {memory.online.shape}, got {np.shape(weights)}"]
            )
        memory.online[:] = weights
        memory.target[:] = weights
        memory.first[:] = 0
        memory.second[:] = 0
        memory.counters[UPDATES] = 0
        if self._torch is not None:
            self._torch.push()

    def _check_row(self, name: str, row: Floats, length: int) -> None:
        if np.shape(row) != (length,):
            raise SettingsError("DQN", [f"{name} must have shape ({length},), got {np.shape(row)}"])
