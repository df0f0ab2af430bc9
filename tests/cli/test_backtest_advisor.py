"""A backtest with a language model on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ai_backtrader.cli.app import app
from ai_backtrader.datafeeds import load_sample


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    path = tmp_path / "EURUSD.csv"
    load_sample().head(600).to_frame().to_csv(path)
    return path


def test_a_model_that_is_down_changes_nothing_and_is_named(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_BACKTRADER_LLM_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AI_BACKTRADER_LLM_MODEL", "absent")
    run = CliRunner()
    asked = run.invoke(app, ["backtest", str(bars), "--llm", "live", "--json"])
    alone = run.invoke(app, ["backtest", str(bars), "--json"])
    assert asked.exit_code == alone.exit_code == 0, asked.output
    told, without = json.loads(asked.stdout), json.loads(alone.stdout)
    assert told["performance"] == without["performance"]
    assert told["run"]["advisor"]["model"] == "absent"
    assert told["run"]["advisor"]["consultations"] > 0
    assert told["run"]["advisor"]["advised"] == 0
    words = run.invoke(app, ["backtest", str(bars), "--llm", "live"])
    assert "Advisor absent (live), which has read until an unknown date" in " ".join(words.output.split())
