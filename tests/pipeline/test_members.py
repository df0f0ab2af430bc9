"""Who trades in a run, and the folder that keeps what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.engine import Engine
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.market import compute_features, label_regimes
from ai_backtrader.orchestrator import Context, TechnicalSource
from ai_backtrader.parameter_optimizer import technical_rules
from ai_backtrader.pipeline import BuyAndHold, Crew, PipelineSettings, RegimeRules, from_bar, run_fund
from ai_backtrader.pipeline.folder import RunFolder
from ai_backtrader.strategies import Adaptation, compile_strategy
from ai_backtrader.values import Regime

BASE = {
    "ema_fast": 12, "ema_slow": 26, "rsi_period": 14, "rsi_overbought": 75, "rsi_oversold": 25, "adx_period": 14,
    "adx_threshold": 15, "atr_period": 14, "atr_stop": 2.0, "atr_target": 4.0, "macd_fast": 12, "macd_slow": 26,
    "macd_signal": 9, "bb_period": 20, "bb_std": 2.5,
}  # fmt: skip
FIRST = 200


class _Fills(bt.Analyzer):
    def start(self) -> None:
        self.rets = []

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            self.rets.append((len(order.data) - 1, order.executed.size, order.executed.price))

    def get_analysis(self) -> Any:
        return self.rets


def run(strategy: type, bars: int = 1_500, **params: Any) -> tuple[list[Any], float]:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(commission=0.0001)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(bars)))
    cerebro.addstrategy(strategy, **params)
    cerebro.addanalyzer(_Fills, _name="fills")
    return cerebro.run()[0].analyzers.fills.get_analysis(), cerebro.broker.getvalue()


def test_one_set_of_rules_for_all_regimes_trades_as_the_compiled_strategy() -> None:
    rules = technical_rules(BASE)
    ours, value = run(from_bar(RegimeRules, FIRST), rules={None: rules})
    theirs, expected = run(from_bar(compile_strategy(rules), FIRST))
    assert len(ours) > 20
    assert ours == theirs
    assert value == expected


def test_each_regime_is_entered_by_its_own_rules() -> None:
    bars = load_sample().head(1_500)
    regimes = label_regimes(compute_features(bars))
    fills, _ = run(RegimeRules, rules={Regime.BULL: technical_rules(BASE)})
    held, entries = 0.0, []
    for bar, size, _ in fills:
        if held == 0.0:
            entries.append(bar - 1)
        held = 0.0 if abs(held + size) < 1e-9 else held + size
    assert len(entries) > 3
    assert all(regimes.label(bar).sign > 0 for bar in entries)


def test_nobody_decides_before_the_first_bar() -> None:
    fills, _ = run(from_bar(BuyAndHold, 300))
    assert [bar for bar, _, _ in fills] == [301]


@pytest.mark.parametrize("adaptation", [None, Adaptation(every_bars=10_000)], ids=["rehearsal", "walk"])
def test_what_is_seen_of_a_bar_is_the_same_whenever_a_run_begins(adaptation: Adaptation | None) -> None:
    data = load_sample().head(900)
    features = compute_features(data)
    regimes = label_regimes(features)
    crew, settings = Crew(technical={None: technical_rules(BASE)}, evolved={}), PipelineSettings(commission=0.0001)
    for first in (400, 600):
        run = run_fund(data, first, crew, Engine(), settings, adaptation=adaptation)
        assert len(run.decisions) == len(data) - first
        assert run.times[0] == data.times[first]
        for bar, decision in enumerate(run.decisions, start=first):
            seen = TechnicalSource().vote(
                Context(
                    symbol=data.symbol, at=None, indicators=features.indicators(bar), current_price=data.close[bar],
                    regime=regimes.label(bar), high_volatility=bool(regimes.high_volatility[bar]), position=0.0,
                    portfolio_value=1.0, current_position={}, risk_info={},
                )
            )  # fmt: skip
            assert seen in decision.votes, bar


def test_buy_and_hold_keeps_what_it_bought() -> None:
    data = load_sample().head(1_500)
    fills, value = run(BuyAndHold)
    (bar, size, price), *rest = fills
    assert (bar, rest) == (1, [])
    assert price == data.open[1]
    assert value == pytest.approx(10_000.0 - 0.0001 * size * price + size * (data.close[-1] - price))


def test_each_stage_has_a_seed_of_its_own_that_the_settings_carry_through_json() -> None:
    settings = PipelineSettings(profile="standard", seed=7, funding=0.0001)
    assert PipelineSettings.from_dict(settings.to_dict()) == PipelineSettings(
        profile=settings.work, seed=7, funding=0.0001
    )
    seeds = {settings.seed_of(name) for name in ("optimise/all", "evolve", "train/0", "rehearse", "walk")}
    assert len(seeds) == 5
    assert PipelineSettings(seed=8).seed_of("walk") not in seeds


def test_a_damaged_or_missing_file_counts_as_not_done(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.read("walk") is None
    folder.write("walk", {"found": 1.5}, {"values": np.arange(3.0)})
    assert folder.read("walk") == {"found": 1.5}
    np.testing.assert_array_equal(folder.arrays("walk")["values"], np.arange(3.0))
    text = (folder.path / "walk.json").read_text()
    (folder.path / "walk.json").write_text(text.replace("1.5", "2.5"))
    assert folder.read("walk") is None
    (folder.path / "walk.json").write_text(text[: len(text) // 2])
    assert folder.read("walk") is None
    (folder.path / "walk.json").write_text(text)
    (folder.path / "walk.npz").write_bytes((folder.path / "walk.npz").read_bytes()[:-40])
    assert folder.read("walk") is None
    with pytest.raises(AIBacktraderError, match="the arrays of stage walk are damaged"):
        folder.arrays("walk")
    with pytest.raises(AIBacktraderError, match="cannot be kept"):
        folder.write("walk", {"found": float("nan")})
