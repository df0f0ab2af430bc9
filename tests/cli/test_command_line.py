"""The command does what it says, fails with one line, and repeats itself to the last digit."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.cli import main
from ai_backtrader.datafeeds import load_sample


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: str | Path, cwd: Path) -> Done:
    """Run the command in this process: starting Python and Numba for each of them would take the gate's time."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["ai-backtrader", *map(str, arguments)]
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())


def test_python_dash_m_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ai_backtrader", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "backtest" in done.stdout


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "EURUSD.csv"
    load_sample().head(1_500).to_frame().to_csv(path)
    return path


def test_the_demo_prints_the_table_and_draws_the_picture(tmp_path: Path) -> None:
    done = call("demo", "--plot", "demo.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("Buy and hold", "Fees paid", "Funding paid", "Liquidations", "technical", "buy and hold: return"):
        assert word in done.stdout
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_one_object_and_the_same_twice(bars: Path) -> None:
    runs = [call("backtest", bars, "--json", "--seed", "7", cwd=bars.parent) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert runs[0].stdout == runs[1].stdout
    result: dict[str, Any] = json.loads(runs[0].stdout)
    assert result["run"]["settings"]["seed"] == 7
    assert result["run"]["data_sha256"] == load_sample_fingerprint(bars)
    assert {"performance", "liquidations", "decisions"} <= set(result)


def load_sample_fingerprint(path: Path) -> str:
    from ai_backtrader import MarketData

    return MarketData.from_csv(path).fingerprint


def test_options_reach_the_run(bars: Path) -> None:
    done = call("backtest", bars, "--json", "--cash", "500", "--max-leverage", "2", "--no-short", cwd=bars.parent)
    result = json.loads(done.stdout)
    assert result["performance"]["start_equity"] == 500.0
    assert result["run"]["settings"]["max_leverage"] == 2.0
    assert result["run"]["settings"]["allow_short"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("backtest", "nothing.csv"), 1, "nothing.csv"),
        (("backtest", "EURUSD.csv", "--cash", "-5"), 1, "cash must be greater than 0"),
        (("backtest", "EURUSD.csv", "--max-leverage", "1000", "--cash", "0"), 1, "2 faults"),
        (("backtest", "EURUSD.csv", "--seed", "one"), 2, "seed"),
        (("backtest",), 2, "Missing argument"),
        (("data", "check", "broken.csv"), 1, "broken.csv"),
        (("fly",), 2, "fly"),
    ],
)
def test_faults_end_in_a_message_and_an_exit_code(
    arguments: tuple[str, ...], code: int, message: str, bars: Path
) -> None:
    (bars.parent / "broken.csv").write_text("datetime,open,high,low,close,volume\n2024-01-01,1,2,3,1,0\n")
    done = call(*arguments, cwd=bars.parent)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_data_check_tells_what_is_odd(bars: Path) -> None:
    told = call("data", "check", bars, cwd=bars.parent)
    assert told.returncode == 0, told.stderr
    assert "1,500 bars" in told.stdout
    as_json = json.loads(call("data", "check", bars, "--json", cwd=bars.parent).stdout)
    assert as_json["bars"] == 1_500


def test_help_is_there_for_every_command(tmp_path: Path) -> None:
    for arguments in ((), ("demo",), ("backtest",), ("data", "check")):
        done = call(*arguments, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert "Usage" in done.stdout


def test_a_picture_that_cannot_be_written_leaves_the_result_on_the_screen(bars: Path) -> None:
    done = call("backtest", bars, "--plot", "no/such/folder/run.png", cwd=bars.parent)
    assert done.returncode == 1
    assert "no/such/folder" in done.stderr
    assert "Final equity" in done.stdout


@pytest.fixture(scope="module")
def trending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars on which most of an hour's move goes on in the next: something is found in them."""
    rng = np.random.default_rng(3)
    moves = np.zeros(2_150)
    for bar, shock in enumerate(rng.normal(0.0, 0.004, 2_149), start=1):
        moves[bar] = 0.6 * moves[bar - 1] + shock
    close = 100.0 * np.exp(np.cumsum(moves))
    open_ = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close),
            "low": np.minimum(open_, close),
            "close": close,
            "volume": 1.0,
        },
        index=pd.date_range("2020-01-01", periods=2_150, freq="h", name="datetime"),
    )
    path = tmp_path_factory.mktemp("trending") / "TREND.csv"
    frame.to_csv(path)
    return path


def test_a_backtest_that_adapts_says_whether_it_paid(trending: Path) -> None:
    where = trending.parent
    done = call(
        "backtest", trending, "--adapt", "--adapt-every", "2000", "--commission", "0.00005", "--json", "--report",
        "run.html", cwd=where,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    found = result["adaptation"]
    (one,) = found["adaptations"]
    assert one["changed"]
    assert one["at"] == "2020-03-24T07:00:00"  # the 2000th bar
    assert result["run"]["settings"]["adapt_every"] == 2_000
    page = (where / "run.html").read_text(encoding="utf-8")
    for words in ("Adaptation on the way", "With adaptation and without", found["verdict"], one["verdict"]):
        assert words in page
    plain = json.loads(call("backtest", trending, "--commission", "0.00005", "--json", cwd=where).stdout)
    assert "adaptation" not in plain
    ratio = result["performance"]["final_equity"] / plain["performance"]["final_equity"]
    assert found["gain"] == pytest.approx(ratio - 1.0, abs=1e-12)


def test_adapting_on_schedule_alone_or_with_a_model_is_refused(bars: Path) -> None:
    done = call("backtest", bars, "--adapt-every", "500", cwd=bars.parent)
    assert (done.returncode, "adapt_every needs adapt" in done.stderr) == (1, True)
    done = call("backtest", bars, "--adapt", "--llm", "replay", "--llm-record", "no.db", cwd=bars.parent)
    assert done.returncode == 1
    assert "leave one out" in done.stderr or "no.db" in done.stderr
