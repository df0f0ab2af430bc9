"""`ai-backtrader audit` on files, as a user calls it."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ai_backtrader.cli import main
from ai_backtrader.market import MarketData

STRATEGY = """
import backtrader as bt


class Hold(bt.Strategy):
    params = (("size", 900.0),)

    def next(self):
        if len(self) == 2:
            self.buy(size=self.p.size)


class Idle(bt.Strategy):
    pass
"""
CRASH = [100.0, 100.0, 101.0, 100.0, 96.0, 92.0, 88.0, 80.0, 70.0, 60.0, 55.0, 60.0, 75.0, 90.0, 110.0, 130.0, 130.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_path: Callable[..., MarketData]) -> Path:
    path = tmp_path_factory.mktemp("audit")
    (path / "mine.py").write_text(STRATEGY)
    for name in ("A", "B"):
        make_path(CRASH, symbol=name).to_frame().to_csv(path / f"{name}.csv")
    return path


def call(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["ai-backtrader", "audit", *arguments]
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


def test_the_table_names_what_was_hidden(folder: Path) -> None:
    code, out, err = call("mine.py", "--data", "A.csv", "--strategy", "Hold", "--leverage", "10", cwd=folder)
    assert code == 0, err
    for word in ("Hold on A at 10x", "liquidation survived", "negative equity", "Backtrader", "LeverageBroker"):
        assert word in " ".join(out.split())


def test_json_holds_the_findings_and_the_parameters_work(folder: Path) -> None:
    options = ["mine.py", "--data", "A.csv", "--strategy", "Hold", "--leverage", "10", "--param", "size=100", "--json"]
    code, out, err = call(*options, cwd=folder)
    assert code == 0, err
    result = json.loads(out)
    (survived,) = [finding for finding in result["findings"] if finding["kind"] == "liquidation survived"]
    assert survived["money"] == pytest.approx(100 * 100 / 10)
    assert not [finding for finding in result["findings"] if finding["kind"] == "negative equity"]


def test_two_feeds_picture_and_page(folder: Path) -> None:
    options = ["mine.py", "--data", "A.csv", "--data", "B.csv", "--strategy", "Hold", "--plot", "a.png"]
    code, out, err = call(*options, "--html", "a.html", cwd=folder)
    assert code == 0, err
    assert "Hold on A, B at 1x" in out
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "a.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_findings_fail_the_command_only_when_told(folder: Path) -> None:
    options = ["mine.py", "--data", "A.csv", "--fail-on-findings", "--leverage", "10", "--strategy"]
    assert call(*options, "Hold", cwd=folder)[0] == 3
    code, out, _ = call(*options, "Idle", cwd=folder)
    assert code == 0
    assert "Nothing was hidden" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["mine.py", "--data", "A.csv"], "several strategies; it holds Hold, Idle"),
        (["none.py", "--data", "A.csv"], "no such file"),
        (["mine.py", "--data", "none.csv", "--strategy", "Hold"], "none.csv"),
        (
            ["mine.py", "--data", "A.csv", "--strategy", "Hold", "--leverage", "0.5"],
            "leverage must be between 1 and 125",
        ),
        (["mine.py", "--data", "A.csv", "--strategy", "Hold", "--param", "size"], "expected name=value, got 'size'"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_one(folder: Path, options: list[str], words: str) -> None:
    code, out, err = call(*options, cwd=folder)
    assert code == 1
    assert out == ""
    assert err.startswith("error: ")
    assert words in err
