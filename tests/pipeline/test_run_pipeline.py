"""A whole run: the same twice, resumable, honest about what nothing has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.evidence import TrialKey
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.market import MarketData
from ai_backtrader.pipeline import STAGES, Profile, card_of, replay_run, run_pipeline
from ai_backtrader.pipeline.folder import RunFolder, runs_folder


def content_hash(path: Path) -> str:
    with LearningDatabase(path, read_only=True) as database:
        return database.content_hash()


def test_the_same_seed_gives_the_same_run_with_one_and_two_workers(base: Any, tmp_path: Path) -> None:
    again = run_pipeline(base.data, database=tmp_path / "again.db", jobs=2, **base.options)
    assert again.run_id == base.result.run_id
    assert dict(again.card) == dict(base.result.card)
    assert set(again.hashes) == {"decisions", "trades", "weights", "values", "rehearsal", "allocation", "database"}
    assert content_hash(tmp_path / "again.db") == content_hash(base.database)
    for name, values in base.result.arrays.items():
        assert again.arrays[name].tobytes() == values.tobytes(), name


def test_a_killed_run_goes_on_at_its_stage_and_comes_to_the_same(base: Any, tmp_path: Path) -> None:
    database = tmp_path / "killed.db"

    def kill(stage: str, words: str, share: float) -> None:
        if stage == "walk":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pipeline(base.data, database=database, on_stage=kill, **base.options)
    with LearningDatabase(database, read_only=True) as known:
        assert known.runs()["status"].tolist() == ["interrupted"]
    result = run_pipeline(base.data, database=database, resume=True, **base.options)
    assert [stage.name for stage in result.stages if not stage.resumed] == ["walk"]
    assert dict(result.hashes) == dict(base.result.hashes)
    assert content_hash(database) == content_hash(base.database)
    finished = run_pipeline(base.data, database=database, resume=True, **base.options)
    assert all(stage.resumed for stage in finished.stages)
    assert finished.to_dict()["card"] == result.to_dict()["card"]


def test_no_stage_before_the_walk_sees_a_bar_of_it(base: Any) -> None:
    first = base.result.card["parts"]["walk"]
    columns = {name: values.copy() for name, values in base.data.columns().items()}
    for name in ("open", "high", "low", "close"):
        columns[name][first:] *= np.linspace(1.0, 3.0, len(base.data) - first)
    for name, pick in (("high", np.maximum), ("low", np.minimum)):
        columns[name] = pick(columns[name], pick(columns["open"], columns["close"]))
    other = MarketData(symbol=base.data.symbol, times=base.data.times, bar_seconds=base.data.bar_seconds, **columns)
    stopped: dict[str, Any] = {}

    class Enough(Exception):  # noqa: N818  # ends the run
        pass

    def stop(stage: str, words: str, share: float) -> None:
        stopped[stage] = words
        if stage == "walk":
            raise Enough

    with pytest.raises(Enough):
        run_pipeline(other, on_stage=stop, **base.options)
    assert other.fingerprint != base.data.fingerprint
    for name in STAGES[:-1]:
        assert stopped[name] == base.result.stage(name).finding


def test_the_result_says_what_was_found_and_whose_it_is(base: Any) -> None:
    result = base.result
    searches = result.stage("optimise").found["searches"]
    assert [search["regime"] for search in searches] == ["all", "bull"]
    done = sum(search["rules"] is not None for search in searches)
    assert result.stage("optimise").finding.startswith(f"{sum(s['passed'] for s in searches)} of {done} parameter")
    assert "passed the sealed test" in result.stage("evolve").finding
    walk = result.walk
    evolved = [name for name in walk["members"] if name.startswith("evolved_")]
    assert set(walk["members"]) == {"fund", "ai", "technical", "buy_and_hold", *evolved}
    assert evolved  # the best was taken along
    assert walk["attribution"]["votes"].keys() >= {"technical", "evolved", "rl"}
    assert sum(walk["attribution"]["shapley"].values()) == pytest.approx(walk["attribution"]["total"], abs=1e-12)
    assert walk["attribution"]["bars"] == walk["bars"] + 1 == len(result.arrays["times"])
    held = result.curve("holding")
    assert held[-1] - 1.0 == pytest.approx(walk["holding"]["total_return"])
    own = result.curve("buy_and_hold")[-1] - 1.0
    assert own == pytest.approx(0.99 * (held[-1] - 1.0), abs=0.002)  # its costs, and the first open
    for name, figures in walk["members"].items():
        assert result.curve(name)[-1] - 1.0 == pytest.approx(figures["total_return"])
    assert "holding" in result.verdict
    assert json.loads(result.to_json())["run_id"] == result.run_id


def test_every_trial_and_the_look_at_the_walk_are_counted(base: Any) -> None:
    design = base.data.head(base.result.card["parts"]["walk"])
    with LearningDatabase(base.database, read_only=True) as known:
        searched = known.trials(TrialKey(design.fingerprint, "technical")).n_trials
        evolved = known.trials(TrialKey(design.fingerprint, "evolved")).n_trials
        assert known.runs()["status"].tolist() == ["done"]
        champions = len(base.result.stage("evolve").found["champions"])
        on_the_way = [one["put_forward"] for one in base.result.walk["adaptations"] if one["search"] == "evolve"]
        assert len(known.evolved_strategies()) == champions + sum(on_the_way)
        assert set(known.trades()["strategy_id"]) == {"ai"}
    told = sum(search.get("trials", 0) for search in base.result.stage("optimise").found["searches"])
    assert searched == told
    assert evolved == base.result.stage("evolve").found["evaluations"]
    assert base.result.walk["trials"] >= searched + evolved
    assert base.result.walk["opening"] == 1


def test_a_replay_finds_the_same_and_names_what_was_changed(base: Any, tmp_path: Path) -> None:
    found = replay_run(base.result.run_id, base.database, base.data)
    assert found.differences == ()
    assert found.causes == ()
    assert "came to the same: decisions, trades" in found.verdict
    card = card_of(base.result.run_id, base.database)
    card["hashes"]["trades"] = "0" * 64
    RunFolder(runs_folder(tmp_path / "other.db") / base.result.run_id).write("card", card)
    changed = type(found)(card=card_of(base.result.run_id, tmp_path / "other.db"), result=found.result)
    assert changed.differences == ("trades",)
    assert "Code and versions are the same: this should not be" in changed.verdict
    card["versions"]["numpy"] = "1.0"
    assert type(found)(card=card, result=found.result).causes[0].startswith("numpy 1.0 is now")


def test_a_replay_wants_the_runs_own_data_and_id(base: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the data are not those of the run: it had 2,400 bars"):
        replay_run(base.result.run_id, base.database, base.data.head(2_399))
    with pytest.raises(AIBacktraderError, match=f"no finished run 'x'.*finished are {base.result.run_id}"):
        card_of("x", base.database)
    with pytest.raises(AIBacktraderError, match="finished are none"):
        card_of("x", tmp_path / "none.db")


def test_wrong_arguments_are_told_together_and_short_data_refused(base: Any, tiny: Profile) -> None:
    with pytest.raises(SettingsError, match="3 faults") as caught:
        run_pipeline(base.data, profile="fast", seed=-1, cash=0.0)
    assert "profile must be one of 'quick', 'standard', 'thorough', got 'fast'" in caught.value.faults[0]
    with pytest.raises(SettingsError, match="unexpected keyword argument 'leverage'"):
        run_pipeline(base.data, leverage=3.0)
    with pytest.raises(SettingsError, match=r"the data have 600 bars; a run needs about \d+"):
        run_pipeline(base.data.head(600), profile=tiny)
    with pytest.raises(SettingsError, match="resume needs the database"):
        run_pipeline(base.data, profile=tiny, resume=True)
    with pytest.raises(SettingsError, match="data must be MarketData, got list"):
        run_pipeline([], profile=tiny)  # type: ignore[arg-type]  # the fault under test


@pytest.mark.slow
def test_another_run_on_the_same_bars_pays_for_the_first_one(base: Any, tmp_path: Path) -> None:
    database = tmp_path / "shared.db"
    first = run_pipeline(base.data, database=database, **base.options)
    second = run_pipeline(base.data, database=database, **{**base.options, "seed": 4})
    assert second.run_id != first.run_id
    assert second.walk["opening"] == 2
    assert second.walk["trials"] > first.walk["trials"]
    assert "walked 2 times" in second.verdict
    # What the first run knew before is known to its replay, and nothing more.
    assert replay_run(first.run_id, database, base.data).differences == ()
    assert replay_run(second.run_id, database, base.data).differences == ()
    again = run_pipeline(base.data, database=database, **base.options)
    assert again.walk["opening"] == 1


@pytest.mark.slow
def test_the_quick_profile_on_the_whole_sample_is_the_same_twice_with_one_and_two_workers(tmp_path: Path) -> None:
    from ai_backtrader.datafeeds import load_sample

    runs = [
        run_pipeline(load_sample(), database=tmp_path / f"{jobs}.db", jobs=jobs, commission=0.00005) for jobs in (1, 2)
    ]
    assert dict(runs[0].card) == dict(runs[1].card)
    assert content_hash(tmp_path / "1.db") == content_hash(tmp_path / "2.db")
