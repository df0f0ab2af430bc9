"""Chromosomes as strategy classes: their rules, their params, their place in Backtrader."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.rules import (
    Gene,
    HoldGene,
    RiskParameters,
    Section,
    Series,
    SeriesBank,
    StrategyChromosome,
    section_signal,
    strategy_period,
)
from ai_backtrader.sizers import AISizer
from ai_backtrader.strategies import EvolvedStrategy, compile_strategy
from ai_backtrader.strategies.tuning import tunable_params, with_params

RSI = Series("rsi", (14,))
MACD = Series("macd_line", (6, 13, 5))
UP = Gene(Series("close"), ">", Series("ema", (10,)))
DOWN = Gene(Series("close"), "<", Series("ema", (10,)))
BARE = RiskParameters(position_size=0.5, stop_atr=0.0, reverse=False)


class Tape(bt.Analyzer):
    """Fills, and the position after each bar's decision."""

    def start(self) -> None:
        self.fills: list[tuple[int, str, float, float]] = []
        self.first = 0
        self.position: dict[int, float] = {}

    def prenext(self) -> None:
        """Nothing: Backtrader's default is next."""

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            reason = "liquidation" if order.info.get("liquidation") else order.info["reason"]
            self.fills.append((len(order.data) - 1, reason, order.executed.size, order.executed.price))

    def next(self) -> None:
        self.first = self.first or len(self.strategy)
        self.position[len(self.strategy) - 1] = self.strategy.position.size


def run(
    data: MarketData, chromosome: StrategyChromosome, *, broker: Any = None, sizer: Any = None, **params: Any
) -> Any:
    engine = bt.Cerebro(stdstats=False)
    if broker is not None:
        engine.broker = broker
    engine.broker.setcash(10_000.0)
    engine.broker.setcommission(commission=0.0005)
    engine.adddata(PerpetualData(dataname=data))
    engine.addstrategy(compile_strategy(chromosome), **params)
    if sizer is not None:
        engine.addsizer(sizer[0], **sizer[1])
    engine.addanalyzer(Tape, _name="tape")
    strategy = engine.run()[0]
    tape = strategy.analyzers.tape
    tape.value = engine.broker.getvalue()
    return tape


def test_a_compiled_class_is_named_documented_and_the_same_for_equal_rules() -> None:
    chromosome = StrategyChromosome(entry_long=Section((Gene(RSI, "<", 30.0), UP)), exit=Section((HoldGene(5),)))
    strategy = compile_strategy(chromosome)
    assert strategy.__name__ == f"Evolved_{chromosome.fingerprint[:10]}"
    assert strategy.__doc__ == chromosome.describe()
    assert issubclass(strategy, bt.Strategy)
    assert compile_strategy(StrategyChromosome.from_json(chromosome.to_json())) is strategy
    assert dict(strategy.params._getitems()) == {
        "use_sizer": False,
        "position_size": 0.15, "leverage": 1.0, "stop_atr": 2.0, "take_profit_atr": 0.0, "trailing_atr": 0.0,
        "atr_period": 14, "reverse": True,
        "long1_than_ema_period": 10, "long2_rsi_period": 14, "long2_rsi_below": 30.0, "exit1_hold": 5,
    }  # fmt: skip


def test_entries_happen_where_the_signals_on_arrays_say(
    walk: Callable[..., MarketData], rules: Callable[..., Iterator[StrategyChromosome]]
) -> None:
    entries = 0
    for seed, chromosome in enumerate(rules(24, bars=150, seed=1)):
        data = walk(300, seed=seed)
        tape = run(data, chromosome)
        bank, need = SeriesBank(data), chromosome.required
        allowed = np.ones(len(data), bool)
        if chromosome.filters.genes:
            allowed = section_signal(bank, chromosome.filters, need.filters)
        long = section_signal(bank, chromosome.entry_long, need.entry_long) & allowed
        short = section_signal(bank, chromosome.entry_short, need.entry_short) & allowed
        first = strategy_period(chromosome) - 1
        assert tape.first == first + 1
        entered = {bar: size for bar, reason, size, _ in tape.fills if reason == "entry"}
        for bar in range(first, len(data) - 1):
            if tape.position[bar] == 0.0:
                side = 1.0 if long[bar] else -1.0 if short[bar] else 0.0
                assert np.sign(entered.get(bar + 1, 0.0)) == side, (chromosome.describe(), bar)
            elif bar + 1 in entered:
                assert chromosome.risk.reverse
                assert (short if tape.position[bar] > 0 else long)[bar]
        entries += len(entered)
    assert entries > 90


def test_a_position_is_held_for_more_than_n_bars(walk: Callable[..., MarketData]) -> None:
    chromosome = StrategyChromosome(entry_long=Section((UP,)), exit=Section((HoldGene(4),)), risk=BARE)
    fills = run(walk(), chromosome).fills
    pairs = list(zip(fills[::2], fills[1::2], strict=False))
    assert len(pairs) > 20
    for entry, leave in pairs:
        assert (entry[1], leave[1]) == ("entry", "exit")
        assert leave[0] - entry[0] == 6  # true for the first time 5 bars after the entry, filled a bar later


def test_the_opposite_entry_reverses_with_the_same_bar(walk: Callable[..., MarketData]) -> None:
    both = {"entry_long": Section((UP,)), "entry_short": Section((DOWN,))}
    turning = StrategyChromosome(**both, risk=RiskParameters(position_size=0.5, stop_atr=3.0, reverse=True))
    fills = run(walk(), turning).fills
    turns = [fill for fill in fills if fill[1] == "reversal"]
    assert len(turns) > 20
    for turn in turns:
        closed, opened = (fill for fill in fills if fill[0] == turn[0])
        assert closed[3] == pytest.approx(opened[3], rel=1e-14)  # both at the open
        assert closed[2] * opened[2] > 0.0
    staying = StrategyChromosome(**both, risk=RiskParameters(position_size=0.5, stop_atr=3.0, reverse=False))
    assert {fill[1] for fill in run(walk(), staying).fills} == {"entry", "stop"}


@pytest.mark.parametrize(
    ("risk", "reasons"),
    [
        (BARE, {"entry", "exit"}),
        (RiskParameters(position_size=0.5, stop_atr=0.5, reverse=False), {"entry", "stop", "exit"}),
        (RiskParameters(position_size=0.5, stop_atr=1.5, take_profit_atr=1.5), {"entry", "stop", "target", "exit"}),
        (RiskParameters(position_size=0.5, stop_atr=0.0, trailing_atr=2.5), {"entry", "trailing", "exit"}),
        (RiskParameters(position_size=0.5, stop_atr=0.0, take_profit_atr=0.5), {"entry", "target", "exit"}),
    ],
)
def test_brackets_protect_as_the_risk_parameters_say(
    walk: Callable[..., MarketData], risk: RiskParameters, reasons: set[str]
) -> None:
    chromosome = StrategyChromosome(entry_long=Section((UP,)), exit=Section((HoldGene(6),)), risk=risk)
    assert {fill[1] for fill in run(walk(), chromosome).fills} == reasons


def test_size_stop_and_target_have_the_agreed_arithmetic(walk: Callable[..., MarketData]) -> None:
    data = walk(seed=2)
    risk = RiskParameters(position_size=0.37, leverage=1.0, stop_atr=0.7, take_profit_atr=0.9, atr_period=9)
    chromosome = StrategyChromosome(entry_short=Section((DOWN,)), risk=risk)
    atr = SeriesBank(data).atr(9)
    fills = run(data, chromosome).fills
    decided = fills[0][0] - 1
    assert fills[0][2] == -(10_000.0 * 0.37 * 1.0 / data.close[decided])
    stop, target = data.close[decided] + 0.7 * atr[decided], data.close[decided] - 0.9 * atr[decided]
    bar, reason, _, price = fills[1]
    # executed.price is size * price / size: it may miss the level by a bit.
    level = max(stop, data.open[bar]) if reason == "stop" else min(target, data.open[bar])
    assert price == pytest.approx(level, rel=1e-15)


def test_a_param_that_is_given_changes_the_rules(walk: Callable[..., MarketData]) -> None:
    chromosome = StrategyChromosome(
        entry_long=Section((Gene(RSI, "<", 45.0), Gene(MACD, "<", Series("macd_signal", (6, 13, 5))))),
        exit=Section((Gene(RSI, "between", 55.0, 90.0), HoldGene(30)), need=1),
        filters=Section((Gene(Series("close"), "crosses_below", Series("sma", (8,))),)),
    )  # fmt: skip
    data = walk(400, seed=6)
    base = run(data, chromosome)
    assert base.fills
    names = tunable_params(chromosome)
    changes = {
        "position_size": 0.3, "stop_atr": 1.0, "take_profit_atr": 1.5, "atr_period": 5, "long2_rsi_below": 30.0,
        "long2_rsi_period": 7, "long1_macd_line_fast": 3, "long1_than_macd_signal_signal": 9, "exit1_rsi_from": 40.0,
        "exit1_rsi_period": 5, "filter1_than_sma_period": 21, "exit2_hold": 2,
    }  # fmt: skip
    assert set(changes) <= set(names)
    for name, value in changes.items():
        changed = run(data, chromosome, **{name: value})
        assert changed.fills != base.fills, name
        # The same as the rules with that number written into them.
        rules = with_params(chromosome, {**names, name: value})
        assert run(data, rules).fills == changed.fills, name
    assert run(data, chromosome, reverse=False).fills == base.fills  # nothing to reverse to


def test_the_params_are_all_the_numbers_of_the_rules(rules: Callable[..., Iterator[StrategyChromosome]]) -> None:
    for chromosome in rules(300, bars=10_000, seed=4, max_leverage=9):
        params = tunable_params(chromosome)
        assert with_params(chromosome, params) == chromosome
        numbers = 7 + sum(
            1 if isinstance(gene, HoldGene)
            else sum(len(series.params) for series in gene.series)
            + (not isinstance(gene.right, Series)) + (gene.upper is not None)
            for section in chromosome.sections.values()
            for gene in section.genes
        )  # fmt: skip
        assert len(params) == numbers
        assert all(name.isidentifier() for name in params)


def test_a_param_out_of_range_is_refused_before_the_first_bar(walk: Callable[..., MarketData]) -> None:
    chromosome = StrategyChromosome(entry_long=Section((Gene(RSI, "<", 30.0),)))
    with pytest.raises(SettingsError, match="period must be between 2 and 50, got 1"):
        run(walk(), chromosome, long1_rsi_period=1)
    with pytest.raises(SettingsError, match="leverage must be between 1 and 125, got 0"):
        run(walk(), chromosome, leverage=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'long9_rsi_period'"):
        run(walk(), chromosome, long9_rsi_period=10)


def test_the_base_class_alone_has_no_rules(walk: Callable[..., MarketData]) -> None:
    engine = bt.Cerebro(stdstats=False)
    engine.adddata(PerpetualData(dataname=walk()))
    engine.addstrategy(EvolvedStrategy)
    with pytest.raises(SettingsError, match="has no rules; make a strategy with compile_strategy"):
        engine.run()


@pytest.mark.parametrize("given", [None, "RSI(14) < 30", {"entry_long": []}])
def test_only_chromosomes_are_compiled(given: Any) -> None:
    with pytest.raises(SettingsError, match="chromosome must be a StrategyChromosome, got "):
        compile_strategy(given)


def test_a_sizer_takes_over_when_it_is_asked_to(walk: Callable[..., MarketData]) -> None:
    chromosome = StrategyChromosome(
        entry_long=Section((UP,)), entry_short=Section((DOWN,)), risk=RiskParameters(leverage=3.0)
    )
    sizer = (bt.sizers.FixedSize, {"stake": 7})
    fills = run(walk(), chromosome, sizer=sizer, use_sizer=True).fills
    assert {abs(fill[2]) for fill in fills} == {7}
    assert {abs(fill[2]) for fill in run(walk(), chromosome, sizer=sizer).fills} != {7}
    nothing = (bt.sizers.FixedSize, {"stake": 0})
    assert run(walk(), chromosome, sizer=nothing, use_sizer=True).fills == []


def test_the_leverage_managers_sizer_sizes_and_levers_the_entries(walk: Callable[..., MarketData]) -> None:
    chromosome = StrategyChromosome(entry_long=Section((UP,)), entry_short=Section((DOWN,)))
    tape = run(walk(600, seed=3), chromosome, broker=LeverageBroker(), sizer=(AISizer, {}), use_sizer=True)
    sizes = {round(abs(fill[2]), 6) for fill in tape.fills if fill[1] == "entry"}
    assert len(sizes) > 3


def test_leverage_travels_with_the_entry_and_liquidates(walk: Callable[..., MarketData]) -> None:
    risk = RiskParameters(position_size=0.5, leverage=40.0, stop_atr=0.0, reverse=False)
    chromosome = StrategyChromosome(entry_long=Section((UP,)), entry_short=Section((DOWN,)), risk=risk)
    levered = run(walk(), chromosome, broker=LeverageBroker())
    assert "liquidation" in {fill[1] for fill in levered.fills}
    entry = next(fill for fill in levered.fills if fill[1] == "entry")
    assert abs(entry[2]) * walk().close[entry[0] - 1] == pytest.approx(10_000.0 * 0.5 * 40.0)
    # Backtrader's own broker wants the cash for it.
    assert all(fill[2] < 0.0 for fill in run(walk(), chromosome).fills[:1])


def test_every_feed_is_traded_by_itself(walk: Callable[..., MarketData]) -> None:
    chromosome = StrategyChromosome(
        entry_long=Section((UP,)), entry_short=Section((DOWN,)), exit=Section((HoldGene(7),)),
        risk=RiskParameters(position_size=0.1, stop_atr=1.0),
    )  # fmt: skip
    engine = bt.Cerebro(stdstats=False)
    fills: dict[str, list[tuple[int, str]]] = {"one": [], "two": []}

    class Told(bt.Analyzer):
        def notify_order(self, order: Any) -> None:
            if order.status == order.Completed:
                fills[order.data._name].append((len(order.data) - 1, order.info["reason"]))

    for name, seed in (("one", 0), ("two", 9)):
        engine.adddata(PerpetualData(dataname=walk(seed=seed)), name=name)
    engine.addstrategy(compile_strategy(chromosome))
    engine.addanalyzer(Told)
    engine.run()
    for name, seed in (("one", 0), ("two", 9)):
        alone = [(bar, reason) for bar, reason, _, _ in run(walk(seed=seed), chromosome).fills]
        assert fills[name] == alone  # sizes differ (one account), decisions do not
        assert len(alone) > 40


def test_a_slow_second_feed_is_decided_once_a_bar(walk: Callable[..., MarketData]) -> None:
    data = walk(240, seed=4)
    chromosome = StrategyChromosome(entry_long=Section((UP,)), exit=Section((HoldGene(1),)), risk=BARE)
    engine = bt.Cerebro(stdstats=False)
    engine.broker.setcash(10_000.0)
    feed = PerpetualData(dataname=data)
    engine.adddata(feed)
    engine.resampledata(feed, timeframe=bt.TimeFrame.Minutes, compression=240)
    engine.addstrategy(compile_strategy(chromosome))
    decisions: list[int] = []

    class Counts(bt.Analyzer):
        def next(self) -> None:
            decisions.append(self.strategy._desks[1].decided)

    engine.addanalyzer(Counts)
    engine.run()
    assert sorted(set(decisions)) == [0, *range(10, 62)]  # EMA(10) of the slow feed is ready on its tenth bar


def test_it_lives_with_optstrategy_analyzers_and_the_writer(walk: Callable[..., MarketData]) -> None:
    chromosomes = [
        StrategyChromosome(entry_long=Section((Gene(RSI, "<", 45.0),)), exit=Section((HoldGene(9),))),
        StrategyChromosome(entry_short=Section((Gene(RSI, ">", 55.0),)), exit=Section((HoldGene(9),))),
    ]
    out = io.StringIO()
    engine = bt.Cerebro()
    engine.adddata(PerpetualData(dataname=walk()))
    for chromosome in chromosomes:
        engine.addstrategy(compile_strategy(chromosome))
    engine.addanalyzer(bt.analyzers.TradeAnalyzer)
    engine.addwriter(bt.WriterFile, out=out)
    engine.run()
    for chromosome in chromosomes:
        assert f"Evolved_{chromosome.fingerprint[:10]}" in out.getvalue()
    engine = bt.Cerebro(stdstats=False, maxcpus=1)
    engine.adddata(PerpetualData(dataname=walk()))
    engine.optstrategy(compile_strategy(chromosomes[0]), long1_rsi_below=[30.0, 40.0], exit1_hold=[3, 9])
    engine.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
    found = {
        (run[0].p.long1_rsi_below, run[0].p.exit1_hold): len(run[0].analyzers.trades.get_analysis())
        for run in engine.run()
    }
    assert len(found) == 4


def test_the_class_pickles_and_so_does_a_users_subclass(rules: Callable[..., Iterator[StrategyChromosome]]) -> None:
    for chromosome in rules(20, bars=500, seed=6):
        strategy = compile_strategy(chromosome)
        assert pickle.loads(pickle.dumps(strategy)) is strategy  # noqa: S301  # our own bytes
        assert copy.deepcopy(strategy) is strategy
    assert pickle.loads(pickle.dumps(EvolvedStrategy)) is EvolvedStrategy  # noqa: S301  # our own bytes


WORKERS = """
import multiprocessing, sys
import backtrader as bt, numpy as np
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.rules import Gene, HoldGene, Section, Series, StrategyChromosome
from ai_backtrader.strategies import compile_strategy

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    rules = StrategyChromosome(
        entry_long=Section((Gene(Series("rsi", (7,)), "<", 40.0),)), exit=Section((HoldGene(5),))
    )
    values = []
    for cpus in (1, 2):
        engine = bt.Cerebro(stdstats=False, maxcpus=cpus)
        engine.adddata(PerpetualData(dataname=load_sample().head(400)))
        engine.optstrategy(compile_strategy(rules), long1_rsi_below=[30.0, 40.0], exit1_hold=[3, 9])
        engine.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
        runs = [run[0] for run in engine.run()]
        assert all(run.strategycls is compile_strategy(rules) for run in runs) or cpus == 1
        values.append([(run.p.long1_rsi_below, run.p.exit1_hold, run.analyzers.trades.get_analysis().total.closed)
                       for run in runs])
    assert values[0] == values[1], values
    assert len({count for _, _, count in values[0]}) > 1, values
    print("same", len(values[0]))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_optstrategy_in_worker_processes_gives_the_same(method: str, tmp_path: Any) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(WORKERS)
    done = subprocess.run(
        [sys.executable, str(script), method], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == "same 4", done.stderr


def _compiles_and_runs(data: MarketData, chromosome: StrategyChromosome, levered: bool) -> int:
    tape = run(data, chromosome, broker=LeverageBroker() if levered else None)
    assert np.isfinite(tape.value)
    assert tape.first == strategy_period(chromosome)
    return len(tape.fills)


def test_random_chromosomes_compile_and_run(
    walk: Callable[..., MarketData], rules: Callable[..., Iterator[StrategyChromosome]]
) -> None:
    data = walk(130, still=True)
    some = rules(80, bars=120, seed=7, max_leverage=10)
    assert sum(_compiles_and_runs(data, chromosome, i % 2 == 0) for i, chromosome in enumerate(some)) > 100


@pytest.mark.slow
def test_two_thousand_random_chromosomes_compile_and_run(
    walk: Callable[..., MarketData], rules: Callable[..., Iterator[StrategyChromosome]]
) -> None:
    data = walk(160, seed=1, still=True)
    some = rules(2000, bars=150, seed=8, max_leverage=20)
    assert sum(_compiles_and_runs(data, chromosome, i % 2 == 0) for i, chromosome in enumerate(some)) > 4000
