"""The deep Q-network as an object: choices, targets, seeds, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.dqn_kernels import STEPS, draw, epsilon_at, hyper_of, learn, learning_rate_at
from ai_backtrader.rl.networks import forward
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.trainer import Trainer

SMALL = DQNSettings(
    hidden=(16,), batch_size=16, buffer_size=400, learning_starts=20, train_every=1, target_every=25, epsilon_steps=400
)


def changed(**changes: Any) -> DQNSettings:
    return DQNSettings(**{**vars(SMALL), **changes})


@pytest.mark.parametrize("backend", ["numba", "numpy", "torch"])
@pytest.mark.parametrize("prioritised", [False, True])
def test_the_same_seed_gives_the_same_weights_after_500_updates_and_another_does_not(
    rooms: Any, backend: str, prioritised: bool
) -> None:
    if backend == "torch":
        pytest.importorskip("torch")
    weights, steps = [], 519
    for seed in (1, 1, 2):
        trainer = rooms.train(
            rooms.corridor(5, limit=20), changed(prioritised=prioritised), seed=seed, steps=steps, backend=backend
        )
        assert trainer.run(0).updates == 500
        weights.append(trainer.dqn.memory.online)
    assert weights[0].tobytes() == weights[1].tobytes()
    assert not np.array_equal(weights[0], weights[2])


def test_the_backends_take_the_same_steps_and_end_with_the_same_values(rooms: Any) -> None:
    pytest.importorskip("torch")
    trainers = [
        rooms.train(
            rooms.corridor(5, limit=20),
            changed(dtype="float64", learning_rate_end_factor=0.1, learning_rate_steps=300),
            seed=4,
            steps=400,
            backend=backend,
        )
        for backend in ("numba", "numpy", "torch")
    ]
    for other in trainers[1:]:
        np.testing.assert_array_equal(other.dqn.memory.replay.actions, trainers[0].dqn.memory.replay.actions)
        np.testing.assert_allclose(other.dqn.memory.online, trainers[0].dqn.memory.online, rtol=0, atol=1e-8)


def test_slices_change_no_number(rooms: Any) -> None:
    settings = changed(prioritised=True, n_step=3)
    whole = rooms.train(rooms.corridor(5, limit=20, lanes=3), settings, seed=4, steps=900, lanes=3)
    sliced = rooms.train(rooms.corridor(5, limit=20, lanes=3), settings, seed=4, steps=0, lanes=3)
    sliced.run(900, slice_steps=7)
    assert whole.dqn.memory.online.tobytes() == sliced.dqn.memory.online.tobytes()


def memory_with_one_transition(*, double: bool, terminated: bool, allowed: list[bool]) -> DQN:
    dqn = DQN(2, 3, changed(double=double, dtype="float64", batch_size=1), rng=np.random.default_rng(3))
    rng = np.random.default_rng(8)
    dqn.memory.target[:] = rng.normal(size=dqn.memory.target.size)  # so that both networks differ
    dqn.remember(np.array([0.3, -0.2]), 1, 0.7, np.array([-0.5, 0.9]), terminated, next_mask=np.array(allowed))
    return dqn


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("allowed", [[True, True, True], [False, True, False], [True, False, True], [False] * 3])
def test_the_temporal_difference_is_that_of_the_formula(double: bool, terminated: bool, allowed: list[bool]) -> None:
    dqn = memory_with_one_transition(double=double, terminated=terminated, allowed=allowed)
    memory, states = dqn.memory, np.array([[0.3, -0.2], [-0.5, 0.9]])
    online, target = (forward(dqn.sizes, weights, states)[-1] for weights in (memory.online, memory.target))
    goal = 0.7
    if not terminated and any(allowed):
        chooser = online[1] if double else target[1]
        best = max((a for a in range(3) if allowed[a]), key=lambda a: chooser[a])
        goal += 0.99 * target[1, best]
    expected = online[0, 1] - goal
    draw(dqn.hyper, memory)
    loss = learn(dqn.hyper, memory)
    assert memory.errors[0] == pytest.approx(expected, abs=1e-12)
    size = abs(expected)
    assert loss == pytest.approx(size**2 / 2 if size <= 1 else size - 0.5, abs=1e-12)


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not() -> None:
    for terminated, truncated, discount in ((True, False, 0.0), (False, True, 0.99), (True, True, 0.0)):
        dqn = DQN(2, 2, SMALL, rng=np.random.default_rng(0))
        dqn.remember(np.zeros(2), 0, 1.0, np.ones(2), terminated, truncated=truncated)
        assert dqn.memory.replay.discounts[0] == np.float32(discount)


def test_masked_actions_are_never_chosen_and_the_others_evenly_when_exploring() -> None:
    dqn = DQN(2, 5, SMALL, rng=np.random.default_rng(1))
    mask = np.array([False, True, False, True, True])
    counts = np.bincount([dqn.act(np.ones(2), mask, epsilon=1.0) for _ in range(6_000)], minlength=5)
    assert counts[0] == counts[2] == 0
    assert np.abs(counts[mask] - 2_000).max() < 200  # five standard deviations
    values = dqn.q_values(np.ones((1, 2)))[0]
    assert dqn.act(np.ones(2), mask) == max((1, 3, 4), key=lambda a: values[a])


def test_epsilon_falls_in_a_straight_line_and_stays() -> None:
    hyper = hyper_of(DQNSettings(epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=80))
    assert [epsilon_at(hyper, step) for step in (0, 40, 80, 800)] == pytest.approx([0.9, 0.5, 0.1, 0.1])


def test_the_learning_rate_falls_as_torchs_linear_schedule_does() -> None:
    torch = pytest.importorskip("torch")
    hyper = hyper_of(DQNSettings(learning_rate=0.02, learning_rate_end_factor=0.25, learning_rate_steps=60))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.02)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.25, total_iters=60)
    for step in range(100):
        assert learning_rate_at(hyper, step) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        schedule.step()
    assert learning_rate_at(hyper_of(DQNSettings(learning_rate=0.02)), 99) == 0.02


@pytest.mark.parametrize("backend", ["numba", "numpy", "torch"])
def test_a_rate_that_has_fallen_to_zero_moves_no_weight(rooms: Any, backend: str) -> None:
    if backend == "torch":
        pytest.importorskip("torch")
    settings = changed(learning_rate_end_factor=0.0, learning_rate_steps=100)
    trainer = rooms.train(rooms.corridor(5, limit=20), settings, seed=4, steps=99, backend=backend)
    before = trainer.dqn.memory.online.copy()
    trainer.run(1)
    at_zero = trainer.dqn.memory.online.copy()
    trainer.run(50)
    np.testing.assert_array_equal(at_zero, before)
    np.testing.assert_array_equal(trainer.dqn.memory.online, before)
    assert trainer.run(0).updates == 131
    fresh = rooms.train(rooms.corridor(5, limit=20), settings, seed=4, steps=0, backend=backend)
    assert not np.array_equal(fresh.dqn.memory.online, before)


def test_the_target_network_moves_when_told() -> None:
    for tau, every in ((1.0, 3), (0.25, 1)):
        dqn = DQN(
            2, 2, changed(tau=tau, target_every=every, batch_size=4, dtype="float64"), rng=np.random.default_rng(2)
        )
        rng = np.random.default_rng(3)
        for _ in range(10):
            dqn.remember(rng.normal(size=2), 0, rng.normal(), rng.normal(size=2), False)
        expected = dqn.memory.target.copy()
        for number in range(1, 8):
            dqn.train_step()
            if number % every == 0:
                expected += tau * (dqn.memory.online - expected)
            np.testing.assert_allclose(dqn.memory.target, expected, rtol=0, atol=1e-15)


def test_priorities_become_the_temporal_differences() -> None:
    dqn = DQN(2, 2, changed(prioritised=True, batch_size=8, dtype="float64"), rng=np.random.default_rng(2))
    rng = np.random.default_rng(3)
    for _ in range(8):
        dqn.remember(rng.normal(size=2), 0, 5 * rng.normal(), rng.normal(size=2), False)
    dqn.train_step()
    memory = dqn.memory
    leaves = memory.replay.tree[memory.replay.tree.size // 2 :]
    for row, error in zip(memory.rows, memory.errors, strict=True):
        assert leaves[row] == pytest.approx((abs(error) + 1e-6) ** 0.6)
    assert memory.replay.highest[0] >= leaves.max()


def test_too_few_transitions_train_nothing() -> None:
    dqn = DQN(2, 2, SMALL, rng=np.random.default_rng(0))
    assert dqn.train_step() is None


def test_rewards_that_blow_up_are_reported_as_divergence() -> None:
    dqn = DQN(
        1, 2, changed(huber_delta=math.inf, max_grad_norm=math.inf, learning_rate=1e30), rng=np.random.default_rng(0)
    )
    for _ in range(20):
        dqn.remember(np.ones(1), 0, 1e30, np.ones(1), False)

    def train() -> None:
        for _ in range(20):
            dqn.train_step()

    with pytest.raises(AIBacktraderError, match="has diverged"):
        train()


def test_the_listener_hears_of_progress_and_may_stop(rooms: Any) -> None:
    trainer = rooms.train(rooms.corridor(5, limit=20), SMALL, seed=1, steps=0)
    heard: list[Any] = []
    last = trainer.run(1_000, slice_steps=100, on_progress=lambda now: (heard.append(now), len(heard) < 3)[1])
    assert [now.steps for now in heard] == [100, 200, 300]
    assert last.interrupted
    assert last.steps == 300
    assert last.updates == 281
    assert heard[-1].loss > 0.0
    assert heard[-1].mean_length <= 20
    assert heard[-1].epsilon == pytest.approx(1.0 - 0.95 * 300 / 400)
    assert trainer.run(50).steps == 350


def test_ctrl_c_ends_the_training_and_keeps_the_agent(rooms: Any) -> None:
    trainer = rooms.train(rooms.corridor(5, limit=20), SMALL, seed=1, steps=100)

    class Interrupting(Trainer):
        def _advance(self, n_steps: int) -> None:
            if self.dqn.memory.counters[STEPS] >= 300:
                raise KeyboardInterrupt
            super()._advance(n_steps)

    stopped = Interrupting(trainer.dqn, trainer.env, trainer.kernels, episode_fields=("state", "clock"))
    progress = stopped.run(10_000, slice_steps=100)
    assert progress.interrupted
    assert progress.steps == 300


def test_evaluation_leaves_the_training_alone(rooms: Any) -> None:
    trainer = rooms.train(rooms.corridor(5, limit=20), SMALL, seed=1, steps=100)
    with pytest.raises(SettingsError, match="env must be another"):
        trainer.evaluate(np.arange(3), env=trainer.env)
    before = {name: array.copy() for name, array in trainer.state().items()}
    trainer.evaluate(np.arange(3), env=rooms.corridor(5, limit=20))
    for name, array in trainer.state().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"gamma": 1.5}, "gamma must be between 0 and 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": math.nan}, "learning_rate must be finite"),
        ({"learning_rate_end_factor": -0.1}, "learning_rate_end_factor must be between 0 and 1"),
        ({"learning_rate_steps": 0}, "learning_rate_steps must be at least 1"),
        ({"tau": 0.0}, "tau must be greater than 0"),
        ({"dtype": "float16"}, "dtype must be one of 'float32', 'float64'"),
        ({"batch_size": 500, "buffer_size": 100}, "batch_size must not be above buffer_size"),
        ({"hidden": (0,)}, "hidden must be at least 1"),
        ({"n_step": 0, "gamma": 2.0}, "2 faults"),
    ],
)
def test_faulty_settings_are_named(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        DQNSettings(**changes)


def test_faulty_arguments_are_named() -> None:
    with pytest.raises(SettingsError, match="rng must be a numpy"):
        DQN(2, 2, rng=3)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="backend must be one of"):
        DQN(2, 2, rng=np.random.default_rng(0), backend="jax")
    dqn = DQN(2, 2, SMALL, rng=np.random.default_rng(0))
    with pytest.raises(SettingsError, match=r"state must have shape \(2,\), got \(3,\)"):
        dqn.act(np.zeros(3))
    with pytest.raises(SettingsError, match="at least one action"):
        dqn.act(np.zeros(2), np.zeros(2, bool))
    with pytest.raises(SettingsError, match="reward must be finite"):
        dqn.remember(np.zeros(2), 0, math.nan, np.zeros(2), False)
    with pytest.raises(SettingsError, match="state must be finite"):
        dqn.remember(np.array([0.0, math.nan]), 0, 0.0, np.zeros(2), False)
    with pytest.raises(SettingsError, match="action must be between 0 and 1"):
        dqn.remember(np.zeros(2), 2, 0.0, np.zeros(2), False)
    with pytest.raises(SettingsError, match=r"states must have shape \(n, 2\)"):
        dqn.q_values(np.zeros(2))
