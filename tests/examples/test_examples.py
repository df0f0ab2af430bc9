"""Every example runs as it stands, and prints what it promises."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
PICTURES = {"crashes.py"}  # draws a picture of the documentation from data that do not ship; tests/audit runs it

SAID = {
    "audit_a_strategy.py": (
        r"liquidation survived: 1 position",
        r"first negative equity:",
        r"Averaging on EURUSD: clean",
    ),
    "compare_strategies.py": (
        r"AIStrategy +[-+]",
        r"buy and hold",
        r"25 strategies looked at",
        r"drawn by lot: proven: \d",
        r"AIStrategy.*: not applicable",
    ),
    "custom_reward.py": (r"always flat +\+0\.0000 per bar", r"episodes: [-+]\d"),
    "custom_vote.py": (r"lies outside the last 60 closes", r"\d+ votes to buy", r"\d+ trades, [-+]"),
    "evolve_export_run.py": (
        r"of 5 passed the sealed test",
        r"to the last bit: True",
        r"champion\.py on Backtrader's own",
    ),
    "fund_of_funds.py": (r"quick +earned +[-+]", r"the fund +[-+]", r"AIStrategy +quick +slow"),
    "leverage_broker_alone.py": (r"BackBroker\n  account: 16,000", r"reason='bar'", r"account: 5,226 of 10,000"),
    "optimise_parameters.py": (
        r"best: \{'fast': \d+",
        r"sealed bars it returned",
        r"deflated Sharpe ratio 0\.\d\d after",
    ),
    "sizer_under_sma_cross.py": (r"2\d entries asked for", r"\d\.\dx, margin", r"Why the first one: LONG"),
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs an example as ``python example.py`` would, in an empty folder, and returns what it printed."""

    def run_example(name: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name])
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


@pytest.mark.parametrize("name", SAID)
def test_the_example_prints_what_it_promises(run, name: str) -> None:
    printed = run(name)
    missing = [pattern for pattern in SAID[name] if not re.search(pattern, printed)]
    assert not missing, f"{name} does not print {missing}:\n{printed}"


def test_what_the_search_exports_is_a_file_of_its_own(run, tmp_path: Path) -> None:
    run("evolve_export_run.py")
    assert "ai_backtrader" not in re.sub(r'"""[\s\S]*?"""|#.*', "", (tmp_path / "champion.py").read_text("utf-8"))


def test_every_example_is_run_here_and_short() -> None:
    found = {path.name for path in FOLDER.glob("*.py")} - PICTURES
    assert found == set(SAID)
    lengths = {name: len((FOLDER / name).read_text("utf-8").splitlines()) for name in found}
    assert max(lengths.values()) < 60, lengths
