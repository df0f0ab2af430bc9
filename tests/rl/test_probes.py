"""Learning is tested by learning: problems so small that the values are known.

The five probes are those of Andy Jones ("Debugging RL, Without the Agonizing Pain"), each of which needs one thing more
than the one before; the chain is cut off by the clock and has to bootstrap all the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_backtrader.rl.settings import DQNSettings

SETTINGS = DQNSettings(
    hidden=(32,), gamma=0.9, learning_rate=3e-3, batch_size=32, buffer_size=1_000, learning_starts=64, train_every=1,
    target_every=50, epsilon_start=1.0, epsilon_end=1.0, max_grad_norm=float("inf"),
)  # fmt: skip

# Features, next states, rewards, terminal; number of starts; limit; Q* of the starts' rows and the rest.
PROBES: dict[str, dict[str, Any]] = {
    "a constant": {
        "mdp": ([[1.0]], [[0]], [[1.0]], [[True]]), "starts": 1, "values": [[1.0]],
    },
    "a value that the state tells": {
        "mdp": ([[-1.0], [1.0]], [[0], [1]], [[-1.0], [1.0]], [[True], [True]]), "starts": 2, "values": [[-1.0], [1.0]],
    },
    "a reward that comes later": {
        "mdp": ([[0.0], [1.0]], [[1], [1]], [[0.0], [1.0]], [[False], [True]]), "starts": 1, "values": [[0.9], [1.0]],
    },
    "an action that matters": {
        "mdp": ([[1.0]], [[0, 0]], [[-1.0, 1.0]], [[True, True]]), "starts": 1, "values": [[-1.0, 1.0]],
    },
    "an action that matters by the state": {
        "mdp": ([[-1.0], [1.0]], [[0, 0], [1, 1]], [[1.0, -1.0], [-1.0, 1.0]], [[True] * 2] * 2),
        "starts": 2, "values": [[1.0, -1.0], [-1.0, 1.0]],
    },
    "a chain without end, cut off by the clock": {
        "mdp": ([[0.0, 1.0], [1.0, 0.0]], [[1], [0]], [[1.0], [1.0]], [[False], [False]]),
        "starts": 2, "limit": 5, "values": [[10.0], [10.0]], "steps": 10_000, "rate": 1e-3,
    },
    "the best action is not allowed": {
        # Both states' rewards differ; in the second the action worth 5 is masked, so the first may only hope for 1.
        "mdp": ([[0.0], [1.0]], [[1, 1], [1, 1]], [[0.0, 0.0], [1.0, 5.0]], [[False] * 2, [True] * 2]),
        "allowed": [[True, True], [True, False]], "starts": 1, "values": [[0.9, 0.9], [1.0, np.nan]],
    },
}  # fmt: skip


def error_of(rooms: Any, name: str, seed: int, backend: str, **changes: Any) -> float:
    probe = PROBES[name]
    env = rooms.table(
        *probe["mdp"], n_starts=probe["starts"], limit=probe.get("limit", 1_000_000), allowed=probe.get("allowed")
    )
    settings = DQNSettings(**{**vars(SETTINGS), "learning_rate": probe.get("rate", 3e-3), **changes})
    trainer = rooms.train(env, settings, seed=seed, steps=probe.get("steps", 2_500), backend=backend)
    return float(np.nanmax(np.abs(trainer.dqn.q_values(env.features) - np.array(probe["values"]))))


@pytest.mark.parametrize("name", PROBES)
def test_the_values_of_probes_are_learnt_in_every_seed(rooms: Any, name: str) -> None:
    errors = [error_of(rooms, name, seed, "numba") for seed in range(10)]
    assert max(errors) <= 0.01, errors


@pytest.mark.parametrize("name", ["a reward that comes later", "an action that matters by the state"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_numpy_and_torch_learn_them_too(rooms: Any, name: str, backend: str) -> None:
    if backend == "torch":
        pytest.importorskip("torch")
    assert error_of(rooms, name, 3, backend) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_numpy_and_torch_learn_them_in_every_seed(rooms: Any, name: str, backend: str) -> None:
    if backend == "torch":
        pytest.importorskip("torch")
    errors = [error_of(rooms, name, seed, backend) for seed in range(10)]
    assert max(errors) <= 0.01, errors


@pytest.mark.parametrize(
    "changes",
    [
        {"double": False},
        {"n_step": 3},
        {"prioritised": True},
        {"tau": 0.05, "target_every": 1},
        {"huber_delta": float("inf")},
        {"max_grad_norm": 1.0},
        {"dtype": "float64"},
        {"n_step": 2, "prioritised": True, "double": False, "gradient_steps": 2, "train_every": 2},
    ],
    ids=str,
)
def test_every_switch_learns_the_later_reward(rooms: Any, changes: dict[str, Any]) -> None:
    assert error_of(rooms, "a reward that comes later", 1, "numba", **changes) <= 0.01


def test_a_clock_that_terminates_would_be_learnt_as_the_end(rooms: Any) -> None:
    # The counter-test: were the cut taken for an end, the chain's values could not be 10.
    features, following, reward, _ = PROBES["a chain without end, cut off by the clock"]["mdp"]
    env = rooms.table(features, following, reward, [[False], [True]], n_starts=2)
    trainer = rooms.train(env, SETTINGS, seed=0, steps=2_500)
    assert np.abs(trainer.dqn.q_values(env.features) - [[1.9], [1.0]]).max() <= 0.02


def test_a_corridor_is_left_by_the_shortest_way_from_several_lanes(rooms: Any) -> None:
    env = rooms.corridor(7, limit=40, lanes=5)
    trainer = rooms.train(env, SETTINGS, seed=2, steps=6_000, lanes=5)
    values = trainer.dqn.q_values(env.features)
    expected = 0.9 ** np.arange(6, -1, -1)
    np.testing.assert_allclose(values.max(axis=1), expected, atol=0.05)
    assert (values.argmax(axis=1) == 1).all()
    other = rooms.corridor(7, limit=40)
    returns, lengths = trainer.evaluate(np.arange(7), env=other)
    np.testing.assert_array_equal(lengths, np.arange(7, 0, -1))
    np.testing.assert_array_equal(returns, 1.0)
