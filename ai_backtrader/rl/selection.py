"""Which weights of a training are kept: the greedy policy on the validation bars, and how reluctant it should be.

A Q-network trained on a market without an edge still prefers some action at every bar: its values differ by noise, and
the greedy policy trades on it. Two things keep it out. The value of HOLD may be raised by a ``reluctance``, a number of
the reward's unit that the others must exceed; it lies in a bias of the network, so that whoever uses the weights acts
alike. And a policy is scored by its growth less some standard errors, where staying out scores 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.rl.env_kernels import EnvArrays
from ai_backtrader.rl.greedy_play import Play, play_network
from ai_backtrader.rl.networks import layers

__all__ = ["RELUCTANCES", "Candidate", "cautious_score", "growth_of", "look_at", "with_reluctance"]

RELUCTANCES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""What is tried, in the reward's unit (for growth: percent points); the first must be 0."""


class Candidate(NamedTuple):
    """Weights as they did on the validation bars."""

    score: float
    growth: float
    reluctance: float
    weights: NDArray[Any]


def growth_of(play: Play) -> float:
    """Ln of the last equity over the first; of an account of nothing -700, about ln of the smallest float."""
    return max(-700.0, math.log(max(float(play.equity[-1]), 1e-300) / float(play.equity[0])))


def cautious_score(play: Play, caution: float) -> float:
    """Growth less ``caution`` standard errors of it, taking the bars' growths for independent."""
    changes = np.diff(np.log(np.maximum(play.equity, 1e-300)))
    return growth_of(play) - caution * float(changes.std()) * math.sqrt(changes.size)


def with_reluctance(sizes: Sequence[int], weights: NDArray[Any], reluctance: float) -> NDArray[Any]:
    """A copy of the weights whose HOLD is worth so much more."""
    raised = weights.copy()
    layers(sizes, raised)[-1][1][0] += reluctance
    return raised


def look_at(
    env: EnvArrays, sizes: Sequence[int], weights: NDArray[Any], *, caution: float, best: Candidate | None
) -> tuple[float, Candidate]:
    """Play the network at every reluctance; a policy that no longer trades ends the list.

    Returns
    -------
    growth : float
        Of the network as it is.
    best : Candidate
        The best of these and of the one before; of equals the earlier.
    """
    candidates = [] if best is None else [best]
    growths = []
    for reluctance in RELUCTANCES:
        raised = with_reluctance(sizes, weights, reluctance)
        play = play_network(env, sizes, raised)
        growths.append(growth_of(play))
        candidates.append(Candidate(cautious_score(play, caution), growths[-1], reluctance, raised))
        if not play.figures["turnover"]:
            break
    return growths[0], max(candidates, key=lambda candidate: candidate.score)
