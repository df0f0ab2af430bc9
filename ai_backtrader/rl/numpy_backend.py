"""One gradient step of Q-learning in NumPy: the reference that the compiled step and torch are compared to."""

from __future__ import annotations

import numpy as np

from ai_backtrader.rl.dqn_kernels import STEPS, UPDATES, Hyper, Memory, learning_rate_at
from ai_backtrader.rl.networks import forward, gradient
from ai_backtrader.rl.optimizers import adam, clip_norm

__all__ = ["learn_numpy"]


def learn_numpy(hyper: Hyper, memory: Memory) -> float:
    """As :func:`ai_backtrader.rl.dqn_kernels.learn`: a gradient step on the drawn batch, the mean loss returned."""
    sizes, rows, replay = memory.sizes.tolist(), memory.rows, memory.replay
    masks = replay.next_masks[rows]
    batch = np.arange(rows.size)
    next_values = forward(sizes, memory.target, replay.next_states[rows])[-1]
    chooser = forward(sizes, memory.online, replay.next_states[rows])[-1] if hyper.double else next_values
    choices = np.where(masks, chooser, -np.inf).argmax(axis=1)
    bootstrap = np.where(masks.any(axis=1), next_values[batch, choices], 0)
    goals = replay.rewards[rows] + replay.discounts[rows] * bootstrap

    activations = forward(sizes, memory.online, replay.states[rows])
    actions = replay.actions[rows]
    errors = activations[-1][batch, actions] - goals
    memory.errors[:] = errors
    size, delta, kind = np.abs(errors), hyper.huber_delta, memory.online.dtype.type
    with np.errstate(invalid="ignore"):  # delta may be infinite, and 0 * inf is computed in the branch not taken
        losses = np.where(size <= delta, kind(0.5) * errors**2, kind(delta) * (size - kind(0.5 * delta)))
    slopes = np.zeros_like(activations[-1])
    slopes[batch, actions] = memory.weights * np.clip(errors, -delta, delta) / kind(rows.size)
    memory.gradient[:] = gradient(sizes, memory.online, activations, slopes)
    clip_norm(memory.gradient, hyper.max_grad_norm)
    adam(
        memory.online, memory.gradient, memory.first, memory.second, step=int(memory.counters[UPDATES]) + 1,
        rate=learning_rate_at(hyper, memory.counters[STEPS]), beta1=hyper.adam_beta1, beta2=hyper.adam_beta2,
        epsilon=hyper.adam_epsilon,
    )  # fmt: skip
    return float(np.mean(memory.weights * losses))
