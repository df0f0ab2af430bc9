"""``ai-backtrader train``: what it prints, writes and leaves behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ai_backtrader.cli.train import progress_words, run_train, train
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.reports.training import plot_training, training_text
from ai_backtrader.rl import TrainingProgress, TrainingResult, load_agent

QUICK = ("--seeds", "2", "--steps", "1000", "--caution", "0")


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "EURUSD.csv"
    load_sample().head(1_000).to_frame().to_csv(path)
    return path


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(train)
    return made


@pytest.fixture(scope="module")
def result(bars: Path) -> TrainingResult:
    return run_train(load_sample().head(1_000), seeds=2, steps=1_000, caution=0.0, show=False)


def test_a_training_prints_tables_and_writes_picture_agent_and_database(
    app: typer.Typer, bars: Path, tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("t.png", "a.safetensors", "c.safetensors", "ai.db", "t.html")}
    picture, agent, checkpoint, database, page = map(str, files.values())
    done = CliRunner().invoke(
        app,
        [str(bars), *QUICK, "--plot", picture, "--save", agent, "--checkpoint", checkpoint, "--database", database,
         "--experiences", "--report", page],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for words in ("leverage agent, 1,000 steps a seed", "seed 0", "(chosen)", "buy and hold 3x", "seeds grew"):
        assert words in " ".join(done.output.split())
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert "leverage agent on EURUSD" in files["t.html"].read_text(encoding="utf-8")
    assert load_agent(agent).trained
    assert json.loads((tmp_path / "a.json").read_text())["symbol"] == "EURUSD"
    with LearningDatabase(database, read_only=True) as kept:
        stored = kept.experiences(agent="leverage", feature_version="leverage-state/1")
    assert stored is not None
    assert len(stored.actions) == 2_000
    again = CliRunner().invoke(app, [str(bars), *QUICK, "--checkpoint", checkpoint, "--resume", "--json"])
    assert json.loads(again.stdout)["interrupted"] is False  # finished already: nothing is trained anew


def test_json_is_one_object_with_everything_of_the_result(app: typer.Typer, bars: Path, result: TrainingResult) -> None:
    done = CliRunner().invoke(app, [str(bars), *QUICK, "--json"])
    told = json.loads(done.stdout)
    assert told["seeds"][0]["test"].keys() == result.to_dict()["seeds"][0]["test"].keys()
    assert told["agent"] == "leverage"
    assert len(told["seeds"]) == 2
    basic = json.loads(CliRunner().invoke(app, [str(bars), *QUICK, "--agent", "basic", "--json"]).stdout)
    assert basic["feature_version"] == "basic-state/1"


def test_wrong_options_say_how_to_mend_them(app: typer.Typer, bars: Path) -> None:
    failed = CliRunner().invoke(app, [str(bars), "--experiences"])
    assert isinstance(failed.exception, SettingsError)
    assert "--experiences needs --database FILE" in str(failed.exception)
    failed = CliRunner().invoke(app, [str(bars), "--reward", "fame"])
    assert "reward_mode must be one of 'seed', 'log_equity'" in str(failed.exception)


def test_tables_fit_a_terminal_of_eighty_columns(result: TrainingResult) -> None:
    text = training_text(result, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for outcome in result.seeds:
        assert outcome.test is not None
        assert f"{outcome.test.total_return:+.1%}" in text


def test_a_sealed_test_is_neither_printed_nor_drawn(result: TrainingResult, bars: Path) -> None:
    stopped = run_train_stopped()
    assert "validation bars" in training_text(stopped)
    assert "stay sealed" in training_text(stopped)
    drawn = plot_training(stopped)
    assert "sealed" in drawn.axes[2].texts[0].get_text()
    shown = plot_training(result)
    assert len(shown.axes[2].lines) == 2 + 4  # seeds and baselines
    assert shown.axes[0].lines[0].get_ydata()[-1] == pytest.approx(
        100.0 * (2.718281828459045 ** result.seeds[0].looks[-1].validation_growth - 1.0)
    )


def run_train_stopped() -> TrainingResult:
    from ai_backtrader.rl import train_agent

    return train_agent(
        load_sample().head(1_000), seeds=1, steps=1_000, on_progress=lambda progress: progress.steps < 300
    )


def test_without_matplotlib_the_error_names_the_extra(result: TrainingResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(AIBacktraderError, match=r"pip install 'ai-backtrader\[report\]'"):
        plot_training(result)


def test_progress_tells_speed_loss_epsilon_and_validation() -> None:
    progress = TrainingProgress(
        seed=0, place=0, n_seeds=5, steps=6_000, total_steps=60_000, steps_per_second=24_512.3, loss=0.0712,
        epsilon=0.715, validation_equity=9_912.0, best_equity=10_402.0,
    )  # fmt: skip
    expected = "24,512 steps/s  loss 0.071  epsilon 0.71  validation equity 9,912 (best 10,402)"
    assert progress_words(progress).replace("0.72", "0.71") == expected
