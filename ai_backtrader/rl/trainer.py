"""Training with the whole loop compiled: environment, acting, replay and updates in one function, run in slices.

An environment is a named tuple of arrays and five compiled functions over it, see :class:`EnvironmentKernels`. The loop
for an environment is made by giving one template these functions as its globals, so that they are called directly and
inlined, and Numba can keep the machine code on disk.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import time
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.dqn_kernels import EPISODES, STEPS, UPDATES, act, best_action, epsilon_at, update
from ai_backtrader.rl.network_kernels import forward_one
from ai_backtrader.rl.random_numbers import uniform
from ai_backtrader.rl.replay import observe_step
from ai_backtrader.simulation.compiling import compiled

__all__ = ["EnvironmentKernels", "Lanes", "Progress", "Trainer", "evaluation_loop", "training_loop"]

Floats = NDArray[Any]

_KEPT_EPISODES = 1_000
"""Finished episodes whose return and length are remembered."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentKernels:
    """The compiled functions of an environment; ``env`` is its named tuple of arrays.

    Attributes
    ----------
    name
        Of the compiled loop: a word; two environments of one process need two names.
    observe, mask
        ``(env, lane, out) -> None``: write the state (features,), or the allowed actions (actions,) bool.
    step
        ``(env, lane, action) -> (reward, terminated, truncated)``.
    reset
        ``(env, lane, start) -> None``: begin an episode.
    draw
        ``(env, lane, u) -> start``: the start that belongs to a random number in [0, 1).
    """

    name: str
    observe: Any
    mask: Any
    step: Any
    reset: Any
    draw: Any


class Lanes(NamedTuple):
    """Where the loop stands in the episodes that run side by side.

    Attributes
    ----------
    states, masks
        Shape (lanes, features) and (lanes, actions).
    next_state, next_mask
        Scratch, one row.
    returns, lengths
        Of the running episodes, shape (lanes,).
    finished_returns, finished_lengths
        Of the last finished ones, a ring.
    cursor
        Next lane; 1 once the lanes have been started; episodes finished.
    losses
        Sum and number of the losses since the last look.
    """

    states: Floats
    masks: NDArray[np.bool_]
    next_state: Floats
    next_mask: NDArray[np.bool_]
    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    finished_returns: NDArray[np.float64]
    finished_lengths: NDArray[np.int64]
    cursor: NDArray[np.int64]
    losses: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How a training stands.

    Attributes
    ----------
    steps, updates, episodes
        So far.
    epsilon
        Share of random actions now.
    loss
        Mean since the report before; NaN without updates.
    mean_return, mean_length
        Of the last 100 finished episodes; NaN without any.
    steps_per_second
        Since the report before.
    interrupted
        True when Ctrl-C or the listener stopped it.
    """

    steps: int
    updates: int
    episodes: int
    epsilon: float
    loss: float
    mean_return: float
    mean_length: float
    steps_per_second: float
    interrupted: bool = field(default=False)


# The templates below call the environment's functions by these names; `_bound` puts the real ones in.
observe: Any = None
mask: Any = None
step: Any = None
reset: Any = None
draw: Any = None


def _train_slice(n_steps: int, updating: bool, hyper: Any, memory: Any, env: Any, lanes: Any) -> None:
    if lanes.cursor[1] == 0:
        lanes.cursor[1] = 1
        for lane in range(lanes.lengths.size):
            reset(env, lane, draw(env, lane, uniform(memory.rng)))
            observe(env, lane, lanes.states[lane])
            mask(env, lane, lanes.masks[lane])
    counters = memory.counters
    for _ in range(n_steps):
        lane = lanes.cursor[0]
        action = act(memory, lanes.states[lane], lanes.masks[lane], epsilon_at(hyper, counters[STEPS]))
        reward, terminated, truncated = step(env, lane, action)
        observe(env, lane, lanes.next_state)
        mask(env, lane, lanes.next_mask)
        observe_step(
            memory.replay, memory.window, lane, lanes.states[lane], action, reward, lanes.next_state, lanes.next_mask,
            hyper.gamma, terminated, truncated,
        )  # fmt: skip
        lanes.returns[lane] += reward
        lanes.lengths[lane] += 1
        if terminated or truncated:
            place = counters[EPISODES] % lanes.finished_returns.size
            lanes.finished_returns[place] = lanes.returns[lane]
            lanes.finished_lengths[place] = lanes.lengths[lane]
            lanes.returns[lane] = 0.0
            lanes.lengths[lane] = 0
            counters[EPISODES] += 1
            reset(env, lane, draw(env, lane, uniform(memory.rng)))
            observe(env, lane, lanes.states[lane])
            mask(env, lane, lanes.masks[lane])
        else:
            lanes.states[lane] = lanes.next_state
            lanes.masks[lane] = lanes.next_mask
        lanes.cursor[0] = (lane + 1) % lanes.lengths.size
        counters[STEPS] += 1
        due = counters[STEPS] >= hyper.learning_starts and counters[STEPS] % hyper.train_every == 0
        if updating and due and memory.replay.ring[1] >= hyper.batch_size:
            for _ in range(hyper.gradient_steps):
                loss = update(hyper, memory)
                lanes.losses[0] += loss
                lanes.losses[1] += 1.0
                if not math.isfinite(loss):
                    return


def _evaluate(
    sizes: Any, parameters: Any, single: Any, env: Any, starts: Any, limit: int, state: Any, allowed: Any,
    returns: Any, lengths: Any,
) -> None:  # fmt: skip
    for episode in range(starts.size):
        reset(env, 0, starts[episode])
        ended = False
        while not ended and lengths[episode] < limit:
            observe(env, 0, state)
            mask(env, 0, allowed)
            action = best_action(forward_one(sizes, parameters, state, single), allowed)
            reward, terminated, truncated = step(env, 0, action)
            returns[episode] += reward
            lengths[episode] += 1
            ended = terminated or truncated


def _sources_of(kernels: EnvironmentKernels) -> str:
    # Numba renews cached code when the file of the function itself changes, not when one that it calls does: the name,
    # under which the code is kept, tells all the sources.
    files = set(Path(__file__).parent.glob("*.py"))
    for function in (kernels.observe, kernels.mask, kernels.step, kernels.reset, kernels.draw):
        files.add(Path(inspect.getfile(function.py_func)))
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _bound(template: Callable[..., Any], kernels: EnvironmentKernels) -> Any:
    names = ("observe", "mask", "step", "reset", "draw")
    scope = {**template.__globals__, **{name: getattr(kernels, name) for name in names}}
    name = f"{template.__name__.strip('_')}_{kernels.name}_{_sources_of(kernels)}"
    function = types.FunctionType(template.__code__, scope, name)
    function.__qualname__ = name
    function.__module__ = __name__
    return compiled(function)


@functools.cache
def training_loop(kernels: EnvironmentKernels) -> Any:
    """The compiled loop of an environment: ``(n_steps, updating, hyper, memory, env, lanes) -> None``."""
    return _bound(_train_slice, kernels)


@functools.cache
def evaluation_loop(kernels: EnvironmentKernels) -> Any:
    """The compiled greedy run: writes return and length of the episode from each start."""
    return _bound(_evaluate, kernels)


class Trainer:
    """Trains a :class:`~ai_backtrader.rl.dqn.DQN` in a compiled environment.

    With backend ``"numba"`` the whole loop runs compiled, in slices between which Python reports, saves and notices
    Ctrl-C. With ``"numpy"`` and ``"torch"`` the steps between two updates run compiled and the update in the backend;
    steps, random numbers and batches are the same.

    Parameters
    ----------
    dqn
        What is trained; its ``lanes`` are the episodes side by side.
    env
        Named tuple of arrays with as many lanes.
    kernels
        Its functions.
    episode_fields
        Fields of ``env`` that steps change, for checkpoints; None for all of its arrays. The others must be the same
        when a training resumes, which a digest of them proves.

    Raises
    ------
    SettingsError
        If a field is not an array of ``env``.
    """

    def __init__(
        self, dqn: DQN, env: Any, kernels: EnvironmentKernels, *, episode_fields: tuple[str, ...] | None = None
    ) -> None:
        arrays = {name: value for name, value in env._asdict().items() if isinstance(value, np.ndarray)}
        self.episode_fields = tuple(arrays) if episode_fields is None else tuple(episode_fields)
        unknown = [name for name in self.episode_fields if name not in arrays]
        if unknown:
            raise SettingsError(
                "Trainer", [f"episode_fields must be arrays of env ({', '.join(arrays)}), got {unknown}"]
            )
        self.dqn, self.env, self.kernels = dqn, env, kernels
        n_lanes, dtype = dqn.lanes, dqn.settings.dtype
        self.lanes = Lanes(
            states=np.zeros((n_lanes, dqn.n_features), dtype),
            masks=np.ones((n_lanes, dqn.n_actions), np.bool_),
            next_state=np.zeros(dqn.n_features, dtype),
            next_mask=np.ones(dqn.n_actions, np.bool_),
            returns=np.zeros(n_lanes),
            lengths=np.zeros(n_lanes, np.int64),
            finished_returns=np.zeros(_KEPT_EPISODES),
            finished_lengths=np.zeros(_KEPT_EPISODES, np.int64),
            cursor=np.zeros(2, np.int64),
            losses=np.zeros(2),
        )

    def run(
        self,
        n_steps: int,
        *,
        slice_steps: int = 2_000,
        on_progress: Callable[[Progress], bool | None] | None = None,
    ) -> Progress:
        """Train for so many environment steps.

        Parameters
        ----------
        n_steps
            All lanes together.
        slice_steps
            Steps between two looks of Python; they change no number.
        on_progress
            Called after every slice; returning False stops.

        Returns
        -------
        Progress
            ``interrupted`` is True after Ctrl-C or the listener's stop; the agent stands at the last whole slice and
            can go on or be saved.

        Raises
        ------
        AIBacktraderError
            If the training diverged.
        """
        done, progress = 0, self._progress(0, 0.0)
        interrupted = False
        while done < n_steps and not interrupted:
            now = min(slice_steps, n_steps - done)
            began = time.perf_counter()
            try:
                self._advance(now)
            except KeyboardInterrupt:
                interrupted = True
            progress = self._progress(now, time.perf_counter() - began)
            if not math.isnan(progress.loss) or self.lanes.losses[1]:
                self.dqn.check_finite(progress.loss)
            self.lanes.losses[:] = 0.0
            done += now
            if on_progress is not None and on_progress(progress) is False:
                interrupted = True
        return Progress(**{**vars(progress), "interrupted": interrupted})

    def _advance(self, n_steps: int) -> None:
        loop, hyper, memory = training_loop(self.kernels), self.dqn.hyper, self.dqn.memory
        if self.dqn.backend == "numba":
            loop(n_steps, True, hyper, memory, self.env, self.lanes)
            return
        end = int(memory.counters[STEPS]) + n_steps
        while (at := int(memory.counters[STEPS])) < end:
            to_update = hyper.train_every - at % hyper.train_every
            loop(min(to_update, end - at), False, hyper, memory, self.env, self.lanes)
            at = int(memory.counters[STEPS])
            if at >= hyper.learning_starts and at % hyper.train_every == 0:
                for _ in range(hyper.gradient_steps):
                    loss = self.dqn.train_step()
                    if loss is not None:
                        self.lanes.losses[0] += loss
                        self.lanes.losses[1] += 1.0

    def _progress(self, steps: int, seconds: float) -> Progress:
        counters, lanes = self.dqn.memory.counters, self.lanes
        finished = min(int(counters[EPISODES]), _KEPT_EPISODES)
        last = (int(counters[EPISODES]) - 1 - np.arange(min(finished, 100))) % _KEPT_EPISODES
        return Progress(
            steps=int(counters[STEPS]),
            updates=int(counters[UPDATES]),
            episodes=int(counters[EPISODES]),
            epsilon=float(epsilon_at(self.dqn.hyper, counters[STEPS])),
            loss=float(lanes.losses[0] / lanes.losses[1]) if lanes.losses[1] else math.nan,
            mean_return=float(lanes.finished_returns[last].mean()) if finished else math.nan,
            mean_length=float(lanes.finished_lengths[last].mean()) if finished else math.nan,
            steps_per_second=steps / seconds if seconds > 0.0 else 0.0,
        )

    def evaluate(
        self, starts: NDArray[np.int64], *, env: Any, limit: int = 1_000_000
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return and length of a greedy episode from each start; lane 0 of ``env`` is used up.

        Parameters
        ----------
        starts
            What ``draw`` gives, shape (n,).
        env
            Another tuple of the same kind, so that the training's lanes stay as they are.
        limit
            Steps an episode may take.

        Raises
        ------
        SettingsError
            If ``env`` shares an array that steps change with the training's.
        """
        if any(getattr(env, name) is getattr(self.env, name) for name in self.episode_fields):
            raise SettingsError(
                "Trainer.evaluate", ["env must be another than the one trained in, with lanes of its own"]
            )
        memory, beginnings = self.dqn.memory, np.asarray(starts, np.int64)
        returns, lengths = np.zeros(beginnings.size), np.zeros(beginnings.size, np.int64)
        state, allowed = np.zeros_like(self.lanes.next_state), np.ones_like(self.lanes.next_mask)
        evaluation_loop(self.kernels)(
            memory.sizes, memory.online, memory.single, env, beginnings, int(limit), state, allowed, returns, lengths
        )
        return returns, lengths

    def state(self) -> dict[str, Floats]:
        """Everything that a resumed training needs, as arrays by name."""
        arrays = {f"dqn.{name}": array for name, array in self.dqn.state().items()}
        arrays |= {f"lanes.{name}": array for name, array in self.lanes._asdict().items()}
        arrays |= {f"env.{name}": _plain(getattr(self.env, name)) for name in self.episode_fields}
        return arrays

    def load_state(self, arrays: Mapping[str, Floats]) -> None:
        """Take what :meth:`state` gave.

        Raises
        ------
        SettingsError
            If an array is missing or of another shape or type.
        """
        targets: dict[str, Floats] = {f"lanes.{name}": array for name, array in self.lanes._asdict().items()}
        targets |= {f"env.{name}": _plain(getattr(self.env, name)) for name in self.episode_fields}
        faults = [
            f"{name} must be {target.dtype} {target.shape}, got "
            + ("nothing" if name not in arrays else f"{arrays[name].dtype} {arrays[name].shape}")
            for name, target in targets.items()
            if name not in arrays or arrays[name].shape != target.shape or arrays[name].dtype != target.dtype
        ]
        if faults:
            raise SettingsError("Trainer.load_state", faults)
        self.dqn.load_state({name[4:]: array for name, array in arrays.items() if name.startswith("dqn.")})
        for name, target in targets.items():
            target[:] = arrays[name]

    def environment_digest(self) -> str:
        """SHA-256 of the environment's fields that steps do not change: data, costs, rules."""
        digest = hashlib.sha256(self.kernels.name.encode())
        for name, value in self.env._asdict().items():
            if name not in self.episode_fields:
                _feed(digest, name, value)
        return digest.hexdigest()


def _plain(array: Floats) -> Floats:
    # Records as bytes, a view: files hold plain arrays.
    return array if array.dtype.names is None else array.reshape(-1).view(np.uint8)


def _feed(digest: Any, name: str, value: Any) -> None:
    # Tuples and records by their fields: between the fields of a record lie bytes that mean nothing.
    digest.update(name.encode())
    if hasattr(value, "_asdict"):
        for inner, part in value._asdict().items():
            _feed(digest, inner, part)
    elif isinstance(value, np.ndarray) and value.dtype.names is not None:
        for inner in value.dtype.names:
            _feed(digest, inner, value[inner])
    else:
        digest.update(np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
