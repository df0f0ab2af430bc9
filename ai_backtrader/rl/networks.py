"""The Q-network: layout of its weights in one vector, and the reference arithmetic in NumPy.

A network of widths ``sizes`` is a chain ``x @ W + b`` with ReLU between. All weights lie in one vector, layer by layer,
``W`` (inputs, outputs) row by row and then ``b``: clipping, Adam, the target network and checkpoints work on that
vector whatever the widths are. The compiled twin is ``network_kernels``, torch's is ``torch_backend``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["forward", "forward_layers", "gradient", "initial_parameters", "layers", "n_parameters"]

Floats = NDArray[np.floating[Any]]


def n_parameters(sizes: Sequence[int]) -> int:
    """Weights and biases of a network of these widths."""
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


def layers(sizes: Sequence[int], parameters: Floats) -> list[tuple[Floats, Floats]]:
    """Views ``(W, b)`` into the vector, shapes (inputs, outputs) and (outputs,), first layer first."""
    views, at = [], 0
    for n_in, n_out in pairwise(sizes):
        weights = parameters[at : at + n_in * n_out].reshape(n_in, n_out)
        at += n_in * n_out
        views.append((weights, parameters[at : at + n_out]))
        at += n_out
    return views


def initial_parameters(sizes: Sequence[int], rng: np.random.Generator, dtype: str = "float32") -> Floats:
    """Random weights and biases, even in ±1/sqrt(inputs) as torch's ``Linear`` draws them; shape (n_parameters,)."""
    parameters = np.empty(n_parameters(sizes), dtype)
    for weights, biases in layers(sizes, parameters):
        bound = 1.0 / np.sqrt(weights.shape[0])
        weights[:] = rng.uniform(-bound, bound, weights.shape)
        biases[:] = rng.uniform(-bound, bound, biases.shape)
    return parameters


def forward(sizes: Sequence[int], parameters: Floats, states: Floats) -> list[Floats]:
    """Activations of every layer, the states first, the Q values last.

    Parameters
    ----------
    sizes
        Widths: features, hidden layers, actions.
    parameters
        Shape (n_parameters,).
    states
        Shape (batch, features).
    """
    return forward_layers(layers(sizes, parameters), states)


def forward_layers(chain: Sequence[tuple[Floats, Floats]], states: Floats) -> list[Floats]:
    """:func:`forward` through the views that :func:`layers` gave."""
    activations = [states]
    for place, (weights, biases) in enumerate(chain):
        outputs = activations[-1] @ weights + biases
        activations.append(outputs if place == len(chain) - 1 else np.maximum(outputs, 0))
    return activations


def gradient(sizes: Sequence[int], parameters: Floats, activations: Sequence[Floats], slope: Floats) -> Floats:
    """Gradient of a loss in all parameters, shape (n_parameters,), by backpropagation.

    Parameters
    ----------
    activations
        What :func:`forward` gave for the same parameters.
    slope
        Derivative of the loss in the Q values, shape (batch, actions).
    """
    result = np.empty_like(parameters)
    chain = list(zip(layers(sizes, parameters), layers(sizes, result), strict=True))
    for place in range(len(chain) - 1, -1, -1):
        (weights, _), (d_weights, d_biases) = chain[place]
        d_weights[:] = activations[place].T @ slope
        d_biases[:] = slope.sum(axis=0)
        if place:
            slope = (slope @ weights.T) * (activations[place] > 0)
    return result
