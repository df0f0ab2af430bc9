"""The database's commands, through the command line's own runner."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ai_backtrader.cli.db import db_app
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.events import ExperiencesGathered, RegimeChanged
from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError
from ai_backtrader.values import Regime

runner = CliRunner()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "ai_learning.db"
    rng = np.random.default_rng(1)
    with LearningDatabase(path, strict=True) as opened:
        opened.record(RegimeChanged(symbol="BTC", at=None, before=None, after=Regime.BULL, high_volatility=False))
        for _ in range(3):
            opened.record(
                ExperiencesGathered(
                    agent="basic", feature_version="state/1", symbol="BTC",
                    states=rng.normal(size=(10, 2)).astype(np.float32), actions=np.zeros(10, dtype=np.int64),
                    rewards=rng.normal(size=10), next_states=rng.normal(size=(10, 2)).astype(np.float32),
                    terminated=np.zeros(10, dtype=np.bool_),
                )
            )  # fmt: skip
    return path


def test_info_tells_rows_and_transitions(database: Path) -> None:
    ran = runner.invoke(db_app, ["info", str(database), "--json"])
    assert ran.exit_code == 0
    found = json.loads(ran.stdout)
    assert found["rows"]["regime_transitions"] == 1
    assert found["transitions"] == {"basic (state/1)": 30}
    words = runner.invoke(db_app, ["info", str(database)])
    assert words.exit_code == 0
    assert "transitions of basic (state/1)" in words.stdout


def test_verify_leaves_with_3_when_a_file_is_damaged(database: Path) -> None:
    sound = runner.invoke(db_app, ["verify", str(database)])
    assert (sound.exit_code, "sound, 4 rows read" in sound.stdout.replace("\n", " ")) == (0, True)
    content = bytearray(database.read_bytes())
    content[40:90] = bytes(50)
    database.write_bytes(content)
    damaged = runner.invoke(db_app, ["verify", str(database), "--json"])
    assert damaged.exit_code == 3
    assert json.loads(damaged.stdout)["problems"]


def test_export_writes_the_files_it_names(database: Path, tmp_path: Path) -> None:
    ran = runner.invoke(db_app, ["export", str(database), str(tmp_path / "out"), "--json"])
    assert ran.exit_code == 0
    files = json.loads(ran.stdout)
    assert set(files) == {"regime_transitions", "rl_experiences-basic-state-1"}
    assert all(Path(file).stat().st_size > 0 for file in files.values())
    one = runner.invoke(db_app, ["export", str(database), str(tmp_path / "one"), "--table", "trades"])
    assert "Nothing to export" in one.stdout


def test_prune_keeps_the_newest(database: Path) -> None:
    ran = runner.invoke(db_app, ["prune", str(database), "--max-experiences", "15", "--compact", "--json"])
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["deleted_chunks"] == 1
    assert json.loads(ran.stdout)["transitions"] == {"basic (state/1)": 20}


@pytest.mark.parametrize("arguments", [["info"], ["prune", "--max-experiences", "1"]])
def test_a_missing_file_is_an_error_that_names_it_and_is_not_made(arguments: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    ran = runner.invoke(db_app, [arguments[0], str(missing), *arguments[1:]])
    assert isinstance(ran.exception, LearningDatabaseError)
    assert isinstance(ran.exception, AIBacktraderError)  # the command line makes one line of it
    assert "no such file" in str(ran.exception)
    assert not missing.exists()
