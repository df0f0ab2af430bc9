"""Checkpoints: what goes on after one is what would have gone on without it; what does not belong is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.rl.agents import LeverageRLAgent, RLAgent
from ai_backtrader.rl.checkpoint import check_identity, read_checkpoint, write_checkpoint
from ai_backtrader.rl.saving import load_network, load_training, load_weights, save_network, save_training
from ai_backtrader.rl.settings import DQNSettings

SMALL = DQNSettings(
    hidden=(16,), batch_size=16, buffer_size=300, learning_starts=20, train_every=2, target_every=25, epsilon_steps=400,
    n_step=3, prioritised=True,
)  # fmt: skip


@pytest.mark.parametrize("backend", ["numba", "numpy", "torch"])
def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit(rooms: Any, tmp_path: Path, backend: str) -> None:
    if backend == "torch":
        pytest.importorskip("torch")

    def fresh(seed: int) -> Any:
        return rooms.train(rooms.corridor(5, limit=20, lanes=2), SMALL, seed=seed, steps=0, lanes=2, backend=backend)

    path = tmp_path / "agent.safetensors"
    first = fresh(1)
    first.run(333)
    save_training(first, path, feature_version="corridor/1")
    first.run(500)
    second = fresh(9)  # other weights and random numbers, all of which the checkpoint replaces
    load_training(second, path, feature_version="corridor/1")
    second.run(500)
    ours, theirs = second.state(), first.state()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes(), name


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    arrays = {
        "a": rng.normal(size=(3, 4)).astype("f4"), "b": rng.normal(size=7), "c": np.arange(5),
        "empty": np.zeros((0, 3)), "d": rng.integers(0, 2**63, 4).astype(np.uint64), "e": np.array([True, False]),
        "f": np.array(3.5),
    }  # fmt: skip
    path = tmp_path / "x"
    digest = write_checkpoint(path, identity={"what": "ever", "list": [1, 2.5]}, arrays=arrays)
    identity, found = read_checkpoint(path)
    assert identity == {"what": "ever", "list": [1, 2.5]}
    assert len(digest) == 64
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]  # no temporary file is left


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_checkpoint(path, identity={"version": "a/1"}, arrays={"w": np.arange(20.0), "n": np.arange(3)})
    content = path.read_bytes()
    for place in range(len(content)):
        for flip in (1, 0x20, 0x80):
            broken = bytearray(content)
            broken[place] ^= flip
            path.write_bytes(bytes(broken))
            with pytest.raises(AIBacktraderError, match=r"checkpoint .*x: "):
                read_checkpoint(path)


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_a_cut_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x"
    write_checkpoint(path, identity={}, arrays={"w": np.arange(20.0)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(AIBacktraderError, match=r"checkpoint .*x: "):
        read_checkpoint(path)


def test_a_file_longer_than_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_checkpoint(path, identity={}, arrays={"w": np.arange(20.0)})
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(AIBacktraderError, match="does not match its SHA-256"):
        read_checkpoint(path)


def test_what_belongs_to_something_else_is_refused_by_name(rooms: Any, tmp_path: Path) -> None:
    path = tmp_path / "x"
    trainer = rooms.train(rooms.corridor(5), SMALL, seed=1, steps=50)
    save_training(trainer, path, feature_version="a/1")
    before = trainer.dqn.memory.online.copy()
    with pytest.raises(SettingsError, match="feature_version was 'a/1', is 'a/2'; load it with"):
        load_training(trainer, path, feature_version="a/2")
    with pytest.raises(SettingsError, match="environment was"):
        load_training(rooms.train(rooms.corridor(6), SMALL, seed=1, steps=0), path, feature_version="a/1")
    wider = DQNSettings(**{**vars(SMALL), "hidden": (17,)})
    with pytest.raises(SettingsError, match=r"sizes was \[3, 16, 2\], is \[3, 17, 2\]"):
        load_training(rooms.train(rooms.corridor(5), wider, seed=1, steps=0), path, feature_version="a/1")
    with pytest.raises(SettingsError, match="environment was"):
        load_network(trainer.dqn, path, feature_version="a/1")
    np.testing.assert_array_equal(trainer.dqn.memory.online, before)


def test_of_settings_only_the_fields_that_differ_are_told() -> None:
    before = {
        "dqn": repr(DQNSettings()), "steps": 5,
        "environment": "Env(tiers=Tiers(rows=((1.0, 2), (3.0,)), name='a, b=c'), cash=1.0)",
        "segments": {"train": [0, 10], "test": [10, 20]},
    }  # fmt: skip
    after = {
        "dqn": repr(DQNSettings(hidden=(64,), gamma=0.5)), "steps": 5,
        "environment": "Env(tiers=Tiers(rows=((1.0, 2),), name='a, b=c'), cash=1.0, fee=0.1)",
        "segments": {"train": [0, 11], "test": [10, 20]},
    }  # fmt: skip
    with pytest.raises(SettingsError, match="belongs to something else") as refused:
        check_identity("x", before, after)
    assert list(refused.value.faults) == [
        f"dqn.gamma was {DQNSettings().gamma}, is 0.5",
        "dqn.hidden was (128, 64, 32), is (64,)",
        "environment.fee was missing, is 0.1",
        "environment.tiers.rows was ((1.0, 2), (3.0,)), is ((1.0, 2),)",
        "segments.train was [0, 10], is [0, 11]; load it with what it was made with, or train anew",
    ]
    check_identity("x", before, dict(before))


def test_what_is_long_is_cut_in_the_message() -> None:
    with pytest.raises(SettingsError, match=r"data was 'a{78}…, is 'b'; load it with"):
        check_identity("x", {"data": "a" * 200}, {"data": "b"})


def test_weights_alone_come_from_trainings_and_networks_alike(rooms: Any, tmp_path: Path) -> None:
    trainer = rooms.train(rooms.corridor(5), SMALL, seed=1, steps=300)
    states = trainer.env.features
    for number, save in enumerate((lambda p: save_training(trainer, p, feature_version="a/1"),
                                   lambda p: save_network(trainer.dqn, p, feature_version="a/1"))):  # fmt: skip
        path = tmp_path / str(number)
        save(path)
        other = rooms.train(rooms.corridor(5), DQNSettings(hidden=(16,)), seed=5, steps=0).dqn
        load_weights(other, path, feature_version="a/1")
        np.testing.assert_array_equal(other.q_values(states), trainer.dqn.q_values(states))
        with pytest.raises(SettingsError, match="feature_version"):
            load_weights(other, path, feature_version="b/1")


def test_an_agent_goes_on_where_it_was_saved_and_not_as_another_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    settings = DQNSettings(hidden=(8,), batch_size=8, buffer_size=50)
    path = tmp_path / "x"

    def fed(agent: RLAgent, steps: int) -> RLAgent:
        for _ in range(steps):
            state, following = rng.uniform(-1, 1, (2, 18))
            agent.remember(state, agent.select_action(state, training=True), float(rng.normal()), following, False)
            agent.train_step()
        return agent

    agent = fed(RLAgent(settings=settings, rng=np.random.default_rng(1)), 30)
    agent.save(path)
    other = RLAgent(settings=settings, rng=np.random.default_rng(7))
    assert not other.trained
    other.load(path)
    assert other.trained
    assert other.epsilon == agent.epsilon < 1.0
    saved = rng.bit_generator.state
    fed(agent, 40)
    rng.bit_generator.state = saved
    fed(other, 40)
    assert other.dqn.memory.online.tobytes() == agent.dqn.memory.online.tobytes()
    with pytest.raises(SettingsError, match="feature_version was 'basic-state/1', is 'leverage-state/1'"):
        LeverageRLAgent(settings=settings).load(path)


def test_other_programs_read_the_file(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = {"w": np.arange(6.0).reshape(2, 3), "flags": np.array([True, False, True])}
    write_checkpoint(tmp_path / "x", identity={}, arrays=arrays)
    found = safetensors.load_file(tmp_path / "x")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(AIBacktraderError, match="cannot be read"):
        read_checkpoint(tmp_path / "none")
    with pytest.raises(AIBacktraderError, match="cannot be written"):
        write_checkpoint(tmp_path / "none" / "x", identity={}, arrays={})
