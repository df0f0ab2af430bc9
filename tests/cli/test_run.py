"""The run and replay commands, as a user gives them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from ai_backtrader.cli.run import replay, run
from ai_backtrader.cli.run_report import plot_run_result, run_table
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.pipeline import PROFILES, PipelineResult, Profile, run_pipeline
from ai_backtrader.pipeline.folder import RunFolder, runs_folder
from ai_backtrader.values import FrozenMapping, Regime

TINY = Profile(
    name="quick", trials=6, surrogate="random", regimes=(Regime.BULL,), generations=2, population=8, champions=2,
    agent_steps=0, agent_seeds=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    made = typer.Typer(pretty_exceptions_enable=False)
    made.command()(run)
    made.command()(replay)
    return made


@pytest.fixture(autouse=True)
def _little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "quick", TINY)


@pytest.fixture(scope="module")
def bars_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "EURUSD.csv"
    load_sample().head(1_300).to_frame().to_csv(path)
    return path


def test_a_run_prints_its_card_and_a_replay_of_it_agrees_until_something_differs(
    app: typer.Typer, bars_file: Path, tmp_path: Path
) -> None:
    database = tmp_path / "ai.db"
    ran = CliRunner().invoke(
        app, ["run", str(bars_file), "--seed", "5", "--database", str(database), "--json", "--plot",
              str(tmp_path / "run.png"), "--report", str(tmp_path / "run.html")],
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert (tmp_path / "run.png").stat().st_size > 10_000
    assert told["verdict"] in (tmp_path / "run.html").read_text(encoding="utf-8")
    card = told["card"]
    assert card["data"]["source"]["path"] == str(bars_file)
    assert (card["seed"], card["settings"]["commission"]) == (5, 0.0005)
    assert [stage["name"] for stage in told["stages"]][-1] == "walk"
    same = CliRunner().invoke(app, ["replay", told["run_id"], "--database", str(database)])
    assert same.exit_code == 0, same.output
    assert "came to the same" in same.output

    card["hashes"]["decisions"] = "0" * 64
    RunFolder(runs_folder(database) / told["run_id"]).write("card", card)
    other = CliRunner().invoke(app, ["replay", told["run_id"], "--database", str(database), "--json"])
    assert other.exit_code == 3
    assert json.loads(other.stdout)["differences"] == ["decisions"]


def test_ctrl_c_leaves_with_130_and_says_how_to_go_on(
    app: typer.Typer, bars_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ai_backtrader.pipeline.life.evolve_strategies", stop)
    database = tmp_path / "ai.db"
    stopped = CliRunner().invoke(app, ["run", str(bars_file), "--database", str(database)])
    assert stopped.exit_code == 130
    assert "the same command with --resume goes on" in stopped.stderr
    monkeypatch.undo()
    monkeypatch.setitem(PROFILES, "quick", TINY)
    on = CliRunner().invoke(app, ["run", str(bars_file), "--database", str(database), "--resume"])
    assert on.exit_code == 0, on.output
    assert "kept" in on.stdout  # the first stage was
    assert "ai-backtrader replay" in on.stdout


@pytest.fixture(scope="module")
def result() -> PipelineResult:
    return run_pipeline(load_sample().head(1_300), profile=TINY, commission=0.00005)


def test_table_and_picture_show_everybody_beside_holding(result: PipelineResult) -> None:
    from rich.console import Console

    console = Console(width=140, color_system=None)
    with console.capture() as capture:
        console.print(run_table(result))
    text = capture.get()
    for word in ("holding, no costs", "buy_and_hold", "Shapley", "parameter searches", "Deflated", result.run_id):
        assert word in text
    growth, weights, sources = plot_run_result(result).axes
    labels = [line.get_label() for line in growth.get_lines()]
    assert [str(label).split()[0] for label in labels[:-1]] == ["ai", "technical", "buy_and_hold", "fund", "holding"]
    drawn = {str(line.get_label()).split()[0]: line for line in growth.get_lines()}
    assert drawn["fund"].get_ydata()[-1] == pytest.approx(1.0 + result.walk["members"]["fund"]["total_return"])
    assert weights.get_ylim() == (0.0, 1.0)
    assert [text.get_text() for text in sources.get_yticklabels()] == list(result.walk["attribution"]["votes"])


def test_a_system_that_is_switched_off_is_named_in_the_card_and_in_the_title(app: typer.Typer, bars_file: Path) -> None:
    command = ["run", str(bars_file), "--without", "rl", "--without", "allocator"]
    told = CliRunner().invoke(app, [*command, "--json"])
    assert told.exit_code == 0, told.output
    card = json.loads(told.stdout)["card"]
    assert card["settings"]["without"] == ["rl", "allocator"]
    ran = CliRunner().invoke(app, command, terminal_width=200)
    assert "without rl, allocator)" in ran.output
    wrong = CliRunner().invoke(app, ["run", str(bars_file), "--without", "news"])
    assert wrong.exit_code != 0
    assert "got 'news'" in str(wrong.exception)


def test_the_table_of_a_run_says_whether_each_adaptation_paid() -> None:
    result = run_pipeline(load_sample().head(1_300), profile=TINY, seed=5)
    base = result.walk["members"]["ai"]["total_return"]
    one = {
        "at": "2017-03-01T05:00:00", "until": "2017-03-02T05:00:00", "reason": "drift", "changed": ["rules"],
        "growth": 0.021, "growth_without": 0.01, "gain": 0.0109, "low": -0.0042, "high": 0.0263, "probability": 0.91,
        "verdict": "paid, within luck",
    }  # fmt: skip
    idle = one | {"at": "2017-02-01T05:00:00", "changed": [], "gain": None, "verdict": "changed nothing"}
    found = {"verdict": "Adaptation paid.", "adaptations": [idle, one], "ai": {"return": base, "without": base}}
    walk = next(stage for stage in result.stages if stage.name == "walk")
    for adaptation, wanted, unwanted in (
        (found, ("2017-03-01 05:00", "+2.10 %", "-0.42 to +2.63 %", "91%", "paid, within luck"), "nothing passed"),
        (found | {"verdict": "nothing passed", "adaptations": [idle]}, ("nothing passed",), "Did it pay?"),
        (None, ("Whose doing",), "Adaptation on the way"),
    ):
        changed = dataclasses.replace(walk, found=FrozenMapping(dict(walk.found) | {"adaptation": adaptation}))
        told = dataclasses.replace(result, stages=(*result.stages[:-1], changed))
        console = Console(width=140)
        with console.capture() as capture:
            console.print(run_table(told))
        text = capture.get()
        assert all(words in text for words in wanted), text
        assert unwanted not in text
