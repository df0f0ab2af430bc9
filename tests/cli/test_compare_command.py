"""The ``compare`` command: strategies of files beside AIStrategy and holding, evolved ones proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from typer.testing import CliRunner

from ai_backtrader.cli import main
from ai_backtrader.cli.app import app
from ai_backtrader.cli.compare import strategies_of
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import simulate
from ai_backtrader.strategies import export_source

OWN = '''
import backtrader as bt


class Fast(bt.Strategy):
    """Long above the average."""

    def __init__(self):
        self.cross = bt.ind.CrossOver(self.data, bt.ind.SMA(period=10))

    def next(self):
        if self.cross[0]:
            self.order_target_percent(target=0.5 if self.cross[0] > 0 else 0.0)


class Slow(bt.Strategy):
    """Never trades."""
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars, an exported champion, a search's JSON and strategies of one's own."""
    place = tmp_path_factory.mktemp("compare")
    data = load_sample().head(700)
    data.to_frame().to_csv(place / "EURUSD.csv")
    rng = np.random.default_rng(5)
    rules: list[StrategyChromosome] = []
    while len(rules) < 3:
        one = StrategyChromosome.random(rng)
        rules += [one] if len(simulate(data, one).fills) >= 10 else []
    (place / "champion.py").write_text(export_source(rules[0]), encoding="utf-8")
    document = {"champions": [{"chromosome": json.loads(one.to_json())} for one in rules[1:]], "evaluations": 300}
    (place / "search.json").write_text(json.dumps(document), encoding="utf-8")
    (place / "one.json").write_text(rules[1].to_json(), encoding="utf-8")
    (place / "own.py").write_text(OWN, encoding="utf-8")
    return place


def call(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_evolved_strategies_are_proven_beside_ones_own_and_ai_strategy(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "compared.html"
    files = [folder / "champion.py", folder / "search.json", f"{folder}/own.py:Fast"]
    costs = ["--commission", "0.0002", "--slippage", "0.0003", "--liquidation-fee", "0.01", "--funding", "0.0001"]
    done = call(folder / "EURUSD.csv", *files, *costs, "--trials", "40", "--report", page)
    assert done.exit_code == 0, done.output
    proven = [line for line in done.output.splitlines() if ": proven: " in line]
    assert len(proven) == 3
    assert all(line.startswith("Evolved_") and "fills equal bit for bit" in line for line in proven)
    assert "Fast" in done.output
    assert "not applicable: no evolved rules" in done.output
    assert "AIStrategy" in done.output
    assert "40 strategies looked at" in done.output
    assert "proven: " in page.read_text(encoding="utf-8")


def test_it_prints_one_json_object(folder: Path) -> None:
    done = call(folder / "EURUSD.csv", folder / "one.json", "--no-ai", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    (name,) = (name for name in document["strategies"] if name.startswith("Evolved_"))
    assert set(document["strategies"]) == {name, "buy and hold"}
    assert document["strategies"][name]["proof"]["status"] == "proven"
    assert document["strategies"][name]["proof"]["fills"] >= 10
    again = call(folder / "EURUSD.csv", folder / "one.json", "--no-ai", "--json")
    assert again.stdout == done.stdout


def test_files_without_a_strategy_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    found = strategies_of([f"{folder}/own.py:Fast", str(folder / "one.json")])
    assert all(issubclass(strategy, bt.Strategy) for strategy in found.values())
    with pytest.raises(SettingsError, match="Fast is there already; give each strategy once"):
        strategies_of([f"{folder}/own.py:Fast"] * 3)
    twice = strategies_of([str(folder / name) for name in ("one.json", "search.json")])
    assert sum(name.endswith(" (search.json)") for name in twice) == 1
    assert len(twice) == 3
    search = strategies_of([str(folder / "search.json")])
    assert sum(getattr(strategy, "searched_trials", 1) for strategy in search.values()) == 300
    empty, other, broken = (tmp_path / f"{name}.json" for name in ("empty", "other", "broken"))
    empty.write_text('{"champions": []}', encoding="utf-8")
    other.write_text('{"rules": 3}', encoding="utf-8")
    broken.write_text("{", encoding="utf-8")
    for path, words in ((empty, "has no champion"), (other, "holds no evolved strategy"), (broken, "is no JSON")):
        with pytest.raises(SettingsError, match=f"{path.name}: .*{words}"):
            strategies_of([str(path)])


def test_nothing_to_compare_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.argv", ["ai-backtrader", "compare", str(folder / "EURUSD.csv"), "--no-ai"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert "results must be a mapping of names to results, one or more, got {}" in capsys.readouterr().err
