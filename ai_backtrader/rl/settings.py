"""Settings of the deep Q-network: the algorithm's switches and figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ai_backtrader.checks import Faults

__all__ = ["DQNSettings"]


@dataclass(frozen=True, kw_only=True)
class DQNSettings:
    """How a Q-network is built and trained.

    Plain DQN (Mnih 2015) is ``double=False, n_step=1, prioritised=False``; each extension is a switch of its own.

    Attributes
    ----------
    hidden
        Widths of the hidden layers, each followed by ReLU.
    gamma
        Discount per step, 0 to 1.
    learning_rate, adam_beta1, adam_beta2, adam_epsilon
        Of Adam (Kingma and Ba 2015).
    learning_rate_end_factor, learning_rate_steps
        The learning rate falls straight from itself to this share of it over so many steps, then stays; 1.0 keeps it
        constant.
    batch_size
        Transitions an update.
    buffer_size
        Transitions that the replay holds; the oldest go first.
    learning_starts
        Steps before the first update.
    train_every, gradient_steps
        Every so many steps, so many updates.
    target_every, tau
        Every so many updates the target network moves by ``tau`` of the way: 1.0 copies it (hard), less with
        ``target_every=1`` follows softly.
    double
        The online network chooses the next action, the target network values it (van Hasselt 2016).
    n_step
        Rewards that a transition adds up before it bootstraps (Sutton 1988); shorter at an episode's end.
    prioritised
        Draw transitions by their last temporal difference (Schaul 2016), else evenly.
    priority_alpha, priority_beta, priority_beta_steps, priority_floor
        Exponent of the priorities; exponent of the importance weights, which rises to 1 over so many steps; added to
        every temporal difference.
    huber_delta
        Where the Huber loss turns from square to straight; infinity for the squared error.
    max_grad_norm
        Global norm that gradients are clipped to; infinity for no clipping.
    epsilon_start, epsilon_end, epsilon_steps
        Share of random actions: straight from start to end over so many steps, then constant.
    dtype
        ``"float32"`` or ``"float64"``: of weights, states and rewards alike.
    """

    hidden: tuple[int, ...] = (128, 64, 32)
    gamma: float = 0.99
    learning_rate: float = 5e-4
    learning_rate_end_factor: float = 1.0
    learning_rate_steps: int = 50_000
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    batch_size: int = 64
    buffer_size: int = 100_000
    learning_starts: int = 1_000
    train_every: int = 4
    gradient_steps: int = 1
    target_every: int = 500
    tau: float = 1.0
    double: bool = True
    n_step: int = 1
    prioritised: bool = False
    priority_alpha: float = 0.6
    priority_beta: float = 0.4
    priority_beta_steps: int = 100_000
    priority_floor: float = 1e-6
    huber_delta: float = 1.0
    max_grad_norm: float = 10.0
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_steps: int = 10_000
    dtype: str = "float32"

    def __post_init__(self) -> None:
        faults = Faults("DQNSettings")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in self.hidden:
            faults.whole("hidden", width, low=1)
        for name in (
            "gamma", "learning_rate_end_factor", "epsilon_start", "epsilon_end", "priority_alpha", "priority_beta",
        ):  # fmt: skip
            faults.number(name, getattr(self, name), low=0.0, high=1.0)
        for name in ("adam_beta1", "adam_beta2"):
            faults.number(name, getattr(self, name), low=0.0, high=1.0 - 1e-12)
        for name in ("learning_rate", "adam_epsilon", "priority_floor"):
            faults.number(name, getattr(self, name), above=0.0)
        faults.number("tau", self.tau, above=0.0, high=1.0)
        for name in ("huber_delta", "max_grad_norm"):
            if getattr(self, name) != math.inf:
                faults.number(name, getattr(self, name), above=0.0)
        for name in (
            "batch_size", "buffer_size", "train_every", "gradient_steps", "target_every", "n_step",
            "learning_rate_steps", "priority_beta_steps", "epsilon_steps",
        ):  # fmt: skip
            faults.whole(name, getattr(self, name), low=1)
        faults.whole("learning_starts", self.learning_starts, low=0)
        for name in ("double", "prioritised"):
            faults.one_of(name, getattr(self, name), (True, False))
        faults.one_of("dtype", self.dtype, ("float32", "float64"))
        if not faults.found and self.batch_size > self.buffer_size:
            faults.add(f"batch_size must not be above buffer_size, got {self.batch_size} and {self.buffer_size}")
        faults.raise_if_any()
