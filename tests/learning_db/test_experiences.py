"""Replay buffers: every bit comes back, agents are not mixed, the oldest go first."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import ExperiencesGathered
from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError
from ai_backtrader.learning_db.chunks import CHUNK_ROWS, pack, unpack

Make = Callable[..., ExperiencesGathered]
NAMES = {"agent": "leverage", "feature_version": "leverage-state/1"}
ARRAYS = ("states", "actions", "rewards", "next_states", "terminated")


def assert_same(found: ExperiencesGathered | None, *parts: ExperiencesGathered) -> None:
    assert found is not None
    for name in ARRAYS:
        whole = np.concatenate([getattr(part, name) for part in parts])
        stored = getattr(found, name)
        assert stored.tobytes() == whole.astype(stored.dtype).tobytes(), name
    assert found.states.dtype == found.next_states.dtype == np.float32
    assert (found.actions.dtype, found.rewards.dtype, found.terminated.dtype) == (np.int64, np.float64, np.bool_)


def test_batches_come_back_bit_for_bit_before_and_after_the_file_was_closed(path: Path, make_batch: Make) -> None:
    batches = [make_batch(number) for number in range(3)]
    with LearningDatabase(path, strict=True) as database:
        for batch in batches:
            database.record(batch)
        assert_same(database.experiences(**NAMES), *batches)
    with LearningDatabase(path, read_only=True) as database:
        found = database.experiences(**NAMES)
    assert_same(found, *batches)
    assert found is not None
    assert (found.agent, found.symbol, found.at) == ("leverage", "BTC/USDT", batches[-1].at)


@given(
    n=st.integers(1, 12),
    width=st.integers(1, 4),
    seed=st.integers(0, 99),
    joined=st.sampled_from(["chained", "apart", "special"]),
)
def test_any_successors_survive_packing(n: int, width: int, seed: int, joined: str) -> None:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(n, width)).astype(np.float32)
    after = np.roll(states, -1, axis=0) if joined == "chained" else rng.normal(size=(n, width)).astype(np.float32)
    if joined == "special":
        states[rng.random((n, width)) < 0.4] = np.nan
        after = np.roll(states, -1, axis=0)
        after[rng.random((n, width)) < 0.2] = -0.0
    batch = ExperiencesGathered(
        **NAMES, symbol="BTC", states=states, next_states=after, actions=rng.integers(-5, 5, n),
        rewards=rng.normal(size=n), terminated=rng.random(n) < 0.5,
    )  # fmt: skip
    assert_same(unpack(pack(batch), n=n), batch)


def test_a_batch_longer_than_a_chunk_comes_back_whole(path: Path, make_batch: Make) -> None:
    batch = make_batch(1, n=2 * CHUNK_ROWS + 3, width=2)
    with LearningDatabase(path, strict=True) as database:
        database.record(batch)
        assert database.info()["rows"]["rl_experiences"] == 3
        assert_same(database.experiences(**NAMES), batch)


def test_the_limit_takes_the_newest(path: Path, make_batch: Make) -> None:
    batches = [make_batch(number) for number in range(3)]
    with LearningDatabase(path) as database:
        for batch in batches:
            database.record(batch)
        found = database.experiences(**NAMES, limit=60)
        assert found is not None
        whole = np.concatenate([batch.rewards for batch in batches])
        assert found.rewards.tolist() == whole[-60:].tolist()
        assert len(database.experiences(**NAMES, limit=1_000).rewards) == 150  # type: ignore[union-attr]  # there are some


def test_agents_versions_symbols_and_times_are_kept_apart(path: Path, make_batch: Make) -> None:
    with LearningDatabase(path) as database:
        database.record(make_batch(1))
        database.record(make_batch(2, agent="basic"))
        database.record(make_batch(3, feature_version="leverage-state/2", width=9))
        database.record(make_batch(4, symbol="ETH/USDT"))
        assert database.experiences(**NAMES).symbol == "BTC/USDT,ETH/USDT"  # type: ignore[union-attr]  # there are some
        assert_same(database.experiences(**NAMES, symbol="ETH/USDT"), make_batch(4))
        assert_same(database.experiences(**NAMES, as_of=dt.datetime(2024, 1, 1, 3)), make_batch(1))
        assert database.experiences(**NAMES, as_of=dt.datetime(2023, 1, 1)) is None
        assert database.experiences(agent="nobody", feature_version="1") is None


def test_the_same_batch_twice_counts_once(path: Path, make_batch: Make) -> None:
    with LearningDatabase(path) as database:
        for _ in range(2):
            database.record(make_batch(1))
            database.flush()
        assert_same(database.experiences(**NAMES), make_batch(1))


def test_what_the_caller_does_to_its_arrays_afterwards_is_its_own_business(path: Path, make_batch: Make) -> None:
    batch = make_batch(1)
    with LearningDatabase(path) as database:
        database.record(batch)
        batch.states[:] = 0.0
        assert_same(database.experiences(**NAMES), make_batch(1))


def test_arrays_that_do_not_fit_together_are_refused_all_faults_at_once(path: Path, make_batch: Make) -> None:
    good = make_batch(1)
    bad = ExperiencesGathered(
        **NAMES, symbol="BTC", states=good.states, next_states=good.next_states[:, :3], actions=good.actions[:7],
        rewards=good.rewards, terminated=good.terminated,
    )  # fmt: skip
    with (
        LearningDatabase(path) as database,
        pytest.raises(SettingsError, match=r"2 faults[\s\S]*next_states[\s\S]*actions"),
    ):
        database.record(bad)


def test_a_feature_version_with_two_widths_is_named(path: Path, make_batch: Make) -> None:
    with LearningDatabase(path) as database:
        database.record(make_batch(1))
        database.record(make_batch(2, width=9))
        with pytest.raises(LearningDatabaseError, match=r"have \[6, 9\] features"):
            database.experiences(**NAMES)


def test_a_damaged_chunk_is_not_learned_from(path: Path, make_batch: Make) -> None:
    with LearningDatabase(path) as database:
        database.record(make_batch(1))
    raw = sqlite3.connect(path)
    payload = bytearray(raw.execute("SELECT payload FROM rl_experiences").fetchone()[0])
    payload[100] ^= 1
    raw.execute("UPDATE rl_experiences SET payload = ?", (bytes(payload),))
    raw.commit()
    raw.close()
    with LearningDatabase(path) as database:
        with pytest.raises(LearningDatabaseError, match="a chunk of experiences is damaged"):
            database.experiences(**NAMES)
        assert not database.verify().ok


def test_pruning_keeps_the_newest_of_each_agent_in_whole_chunks(path: Path, make_batch: Make) -> None:
    with LearningDatabase(path) as database:
        for number in range(6):
            database.record(make_batch(number))
        database.record(make_batch(9, agent="basic"))
        assert database.prune(max_experiences=120, compact=True) == 3
        assert_same(database.experiences(**NAMES), *(make_batch(number) for number in (3, 4, 5)))
        assert database.experiences(agent="basic", feature_version="leverage-state/1") is not None
        assert database.verify().ok
        assert database.prune(max_experiences=0) == 4
        assert database.experiences(**NAMES) is None


def test_a_limit_of_the_database_is_kept_as_it_grows(path: Path, make_batch: Make) -> None:
    with LearningDatabase(path, max_experiences=100) as database:
        for number in range(6):
            database.record(make_batch(number))
            database.flush()
        assert_same(database.experiences(**NAMES), make_batch(4), make_batch(5))


@pytest.mark.parametrize("limit", [0, -3, 1.5])
def test_a_limit_that_is_none_is_refused(limit: float, path: Path) -> None:
    with pytest.raises(SettingsError, match="max_experiences must be"):
        LearningDatabase(path, max_experiences=limit)  # type: ignore[arg-type]  # the point of the test
    with LearningDatabase(path) as database, pytest.raises(SettingsError, match="limit must be"):
        database.experiences(**NAMES, limit=limit)  # type: ignore[arg-type]  # the point of the test
