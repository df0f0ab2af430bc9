"""Exported files: plain Backtrader, alone, with the same fills to the last bit."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.rules import (
    CATALOGUE,
    Gene,
    HoldGene,
    RiskParameters,
    Section,
    Series,
    StrategyChromosome,
    random_series,
)
from ai_backtrader.strategies import compile_strategy, export_source, run_in_cerebro
from ai_backtrader.strategies.tuning import tunable_params

# Runs files as scripts, in an interpreter for which this package does not exist.
ALONE = """
import contextlib, io, runpy, sys

class NoPackage:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ai_backtrader", "numba", "pandas", "numpy"):
            raise ModuleNotFoundError(f"no module named {name} here", name=name)

sys.meta_path.insert(0, NoPackage())
try:
    import ai_backtrader
    raise SystemExit("the package is there")
except ModuleNotFoundError:
    pass
prices, *files = sys.argv[1:]
for path in files:
    sys.argv = [path, prices]
    print("file", path)
    runpy.run_path(path, run_name="__main__")
assert not any(name.startswith("ai_backtrader") for name in sys.modules)
"""


def run_alone(prices: Path, files: list[Path]) -> dict[Path, list[list[float]]]:
    """Fills that each file prints: bar, price, size, commission, pnl; then the final value."""
    command = [sys.executable, "-I", "-W", "error", "-W", "ignore::SyntaxWarning", "-c", ALONE, str(prices)]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[Path, list[list[float]]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("file "):
            rows = found[Path(line.removeprefix("file "))] = []
        elif line.startswith("final value "):
            rows.append([float(line.removeprefix("final value "))])
        elif not line.startswith("bar,"):
            bar, _, *numbers = line.split(",")
            rows.append([float(bar), *map(float, numbers)])
    return found


def assert_same_fills(data: MarketData, chromosomes: list[StrategyChromosome], folder: Path) -> int:
    prices = folder / "prices.csv"
    data.to_frame().to_csv(prices)
    files = {}
    for chromosome in chromosomes:
        path = folder / f"evolved_{chromosome.fingerprint[:10]}.py"
        path.write_text(export_source(chromosome))
        files[path] = chromosome
    fills = 0
    for path, rows in run_alone(prices, list(files)).items():
        result = run_in_cerebro(data, files[path])
        expected = [
            [float(fill["bar"]), fill["price"], fill["size"], fill["commission"], fill["pnl"]] for fill in result.fills
        ]
        assert rows == [*expected, [result.equity[-1]]], files[path].describe()
        fills += len(expected)
    return fills


def one_of_each_series() -> list[StrategyChromosome]:
    """A chromosome for every series, compared both ways where it has constants."""
    rng = np.random.default_rng(3)
    made = []
    for name, kind in CATALOGUE.items():
        series = next(series for _ in range(99) if (series := random_series(rng, name)).strategy_period < 120)
        if kind.constants is None:
            others = [Series("ema", (9,)), Series("sma", (7,))]
            if name.startswith("macd"):
                others = [Series("macd_signal", (5, 12, 4)), Series("macd_line", (3, 9, 4))]
            genes = (Gene(series, ">", others[0]), Gene(series, "crosses_below", others[1]))
        else:
            centre = kind.constants.nearest(kind.constants.centre)
            genes = (Gene(series, "crosses_above", centre), Gene(series, "between", kind.constants.low, centre + 0.001))
        made.append(
            StrategyChromosome(
                entry_long=Section(genes[:1]),
                entry_short=Section(genes[1:]),
                exit=Section((HoldGene(9), *genes)),
                risk=RiskParameters(take_profit_atr=3.0, reverse=False),
            )
        )
    return made


def test_exported_files_alone_make_the_same_fills(
    walk: Callable[..., MarketData], rules: Callable[..., Iterator[StrategyChromosome]], tmp_path: Path
) -> None:
    chromosomes = [*rules(8, bars=120, seed=11), *one_of_each_series()]
    assert assert_same_fills(walk(240, seed=5), chromosomes, tmp_path) > 200


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_exported_files_alone_make_the_same_fills(
    walk: Callable[..., MarketData], rules: Callable[..., Iterator[StrategyChromosome]], tmp_path: Path, seed: int
) -> None:
    data = walk(600, seed=seed, still=seed == 1)
    assert assert_same_fills(data, list(rules(100, bars=300, seed=20 + seed)), tmp_path) > 1000


def test_exported_files_alone_make_the_same_fills_on_daily_bars_without_time_zone(
    shared_csv: Callable[[str], Path], rules: Callable[..., Iterator[StrategyChromosome]], tmp_path: Path
) -> None:
    data = MarketData.from_csv(shared_csv("SP500-1d-1999-2018.csv.gz")).head(700)
    frame = data.to_frame().tz_localize(None)
    frame.index = frame.index.strftime("%Y-%m-%d")
    frame.to_csv(tmp_path / "daily.csv", index_label="Date")
    chromosome = next(c for c in rules(50, bars=100, seed=2) if len(run_in_cerebro(data, c).fills) > 20)
    path = tmp_path / "evolved.py"
    path.write_text(export_source(chromosome))
    rows = run_alone(tmp_path / "daily.csv", [path])[path]
    fills = run_in_cerebro(data, chromosome).fills
    assert [row[:3] for row in rows[:-1]] == [[float(f["bar"]), f["price"], f["size"]] for f in fills]


def load(source: str, path: Path) -> Any:
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # Backtrader looks up the module of every strategy
    spec.loader.exec_module(module)
    return module


def levered_run(data: MarketData, strategy: Any, **params: Any) -> tuple[list[tuple[Any, ...]], float, int]:
    engine = bt.Cerebro(stdstats=False)
    engine.broker = broker = LeverageBroker()
    broker.setcash(10_000.0)
    broker.setcommission(commission=0.0005)
    engine.adddata(PerpetualData(dataname=data))
    engine.addstrategy(strategy, **params)
    fills: list[tuple[Any, ...]] = []

    class Told(bt.Analyzer):
        def notify_order(self, order: Any) -> None:
            if order.status in (order.Partial, order.Completed):
                done = order.executed
                fills.append((len(order.data) - 1, done.price, done.size, done.comm, done.pnl))

    engine.addanalyzer(Told)
    engine.run()
    return fills, broker.getvalue(), len(broker.liquidations)


def test_above_leverage_one_the_leverage_broker_makes_the_same_fills(
    walk: Callable[..., MarketData], rules: Callable[..., Iterator[StrategyChromosome]], tmp_path: Path
) -> None:
    data = walk(400, seed=7, step=0.02)
    total = liquidated = 0
    for chromosome in rules(15, bars=200, seed=31, max_leverage=25):
        name = f"Evolved_{chromosome.fingerprint[:10]}"
        exported = getattr(load(export_source(chromosome), tmp_path / f"{name.lower()}.py"), name)
        ours = levered_run(data, compile_strategy(chromosome))
        assert levered_run(data, exported) == ours, chromosome.describe()
        total += len(ours[0])
        liquidated += ours[2]
    assert total > 200
    assert liquidated > 3


def test_the_exported_params_have_the_compiled_names_and_work(
    walk: Callable[..., MarketData], rules: Callable[..., Iterator[StrategyChromosome]], tmp_path: Path
) -> None:
    for chromosome in rules(30, bars=200, seed=13, max_leverage=3):
        name = f"Evolved_{chromosome.fingerprint[:10]}"
        exported = getattr(load(export_source(chromosome), tmp_path / f"params_{name.lower()}.py"), name)
        ours, theirs = tunable_params(chromosome), dict(exported.params._getitems())
        assert theirs.items() <= ours.items()
        # What the file leaves out is what the chromosome does not use.
        for left_out in set(ours) - set(theirs):
            assert left_out == "reverse" or ours[left_out] in (0.0, 1.0) or left_out == "atr_period"
    chromosome = StrategyChromosome(
        entry_long=Section((Gene(Series("rsi", (14,)), "<", 45.0),)), exit=Section((HoldGene(9),))
    )
    exported = getattr(load(export_source(chromosome), tmp_path / "swept.py"), f"Evolved_{chromosome.fingerprint[:10]}")
    changed = {"long1_rsi_period": 7, "long1_rsi_below": 40.0, "exit1_hold": 4, "stop_atr": 1.0}
    data = walk(300)
    assert levered_run(data, exported, **changed) == levered_run(data, compile_strategy(chromosome), **changed)
    assert levered_run(data, exported, **changed) != levered_run(data, exported)


def test_the_source_reads_like_a_persons(rules: Callable[..., Iterator[StrategyChromosome]]) -> None:
    for chromosome in [*rules(120, bars=10_000, seed=17, max_leverage=5), *one_of_each_series()]:
        source = export_source(chromosome)
        tree = ast.parse(source)
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert imported == {"argparse", "csv", "datetime", "backtrader"}
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert "ai_backtrader" not in source
        assert chromosome.describe() in (ast.get_docstring(tree) or "")
        assert all(
            len(line) <= 120 for line in source.splitlines() if not line.startswith(("Long", "Short", "Only", "Exit"))
        )
        assert source.endswith("\n")
        assert not source.endswith("\n\n")
        # Nothing is defined that nobody uses: every method is called, every attribute read.
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        body = classes[f"Evolved_{chromosome.fingerprint[:10]}"]
        text = ast.unparse(body)
        for method in (node.name for node in body.body if isinstance(node, ast.FunctionDef)):
            assert method in ("__init__", "next", "notify_order") or f"self.{method}(" in text, (method, source)
        for target in {
            node.attr for node in ast.walk(body) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }:
            assert text.count(f"self.{target}") > 1, (target, source)
        assert ("SafeADX" in classes) == any(series.name == "adx" for series in chromosome.series)


def test_the_script_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    path = tmp_path / "evolved.py"
    path.write_text(export_source(StrategyChromosome(entry_long=Section((Gene(Series("rsi", (14,)), "<", 45.0),)))))
    for header, fault in (("date,open,high,close", "no column low"), ("open,high,low,close", "no column datetime")):
        prices = tmp_path / "prices.csv"
        prices.write_text(f"{header}\n")
        done = subprocess.run([sys.executable, str(path), str(prices)], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"{prices}: {fault} in {header.replace(',', ', ')}" in done.stderr


def test_the_file_says_how_many_strategies_the_search_looked_at(tmp_path: Path) -> None:
    chromosome = StrategyChromosome.random(np.random.default_rng(5))
    source = export_source(chromosome, trials=1_924)
    found = load(source, tmp_path / "found.py")
    assert getattr(found, f"Evolved_{chromosome.fingerprint[:10]}").searched_trials == 1_924
    assert "Chosen from 1,924 strategies that a search looked at" in source
    assert "searched_trials" not in export_source(chromosome)
    with pytest.raises(SettingsError, match="trials"):
        export_source(chromosome, trials=0)
