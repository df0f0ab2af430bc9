"""Proofs of evolved strategies in a comparison: the run that was made, against the simulation under its own broker."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.analyzers import Evidence, Performance, RunProof, compare, prove_run
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MaintenanceTiers, MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import simulate
from ai_backtrader.strategies import compile_strategy, export_source


@pytest.fixture(scope="module")
def bars() -> MarketData:
    return load_sample().head(500)


@pytest.fixture(scope="module")
def drawn(bars: MarketData) -> list[StrategyChromosome]:
    """Rules that trade on these bars."""
    rng = np.random.default_rng(5)
    made: list[StrategyChromosome] = []
    while len(made) < 3:
        one = StrategyChromosome.random(rng)
        if len(simulate(bars, one).fills) >= 15:
            made.append(one)
    return made


def levered(rules: StrategyChromosome, leverage: float) -> StrategyChromosome:
    return dataclasses.replace(rules, risk=dataclasses.replace(rules.risk, leverage=leverage))


def run(
    strategy: type[bt.Strategy],
    data: MarketData,
    *,
    broker: Any = None,
    feed: Any = None,
    analyzer: type[bt.Analyzer] = Performance,
    prepare: Callable[[bt.Cerebro], None] | None = None,
    **params: Any,
) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker() if broker is None else broker
    cerebro.broker.setcommission(commission=0.0003)
    cerebro.adddata(PerpetualData(dataname=data) if feed is None else feed)
    cerebro.addstrategy(strategy, **params)
    cerebro.addanalyzer(analyzer)
    if prepare is not None:
        prepare(cerebro)
    return cerebro.run()[0]


@pytest.fixture
def exported(tmp_path: Path) -> Iterator[Callable[[StrategyChromosome], type[bt.Strategy]]]:
    """The class in an exported file."""
    made = []

    def load(rules: StrategyChromosome) -> type[bt.Strategy]:
        name = f"Evolved_{rules.fingerprint[:10]}"
        path = tmp_path / f"{name}.py"
        path.write_text(export_source(rules), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(f"exported_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # Backtrader looks classes up by their module
        made.append(spec.name)
        spec.loader.exec_module(module)
        found: type[bt.Strategy] = getattr(module, name)
        return found

    yield load
    for name in made:
        del sys.modules[name]


def test_a_run_equals_the_simulation_under_its_own_broker(bars: MarketData, drawn: list[StrategyChromosome]) -> None:
    brokers: list[dict[str, Any]] = [
        {},
        {"tiers": MaintenanceTiers.flat(0.02), "liquidation_fee": 0.004, "funding": 0.001},
        {"funding": False, "max_leverage": 40.0},
    ]
    for rules, settings in zip(drawn, brokers, strict=True):
        broker = LeverageBroker(**settings)
        broker.set_slippage_perc(0.0002)
        proof = prove_run(run(compile_strategy(levered(rules, 30.0)), bars, broker=broker))
        assert proof.equal, proof
        assert proof.bars == 500
        assert str(proof) == f"proven: {proof.fills:,} fills equal bit for bit, and cash and equity at 500 bars"
        assert proof.fills >= 15


def test_a_proof_knows_the_params_of_the_run(bars: MarketData, drawn: list[StrategyChromosome]) -> None:
    usual = prove_run(run(compile_strategy(drawn[0]), bars))
    smaller = run(compile_strategy(drawn[0]), bars, position_size=0.05, atr_period=9)
    assert smaller.rules != drawn[0]
    proof = prove_run(smaller)
    assert usual.equal
    assert proof.equal
    assert prove_run(smaller, rules=drawn[0]).status == "differs"


def test_an_exported_file_is_proven_on_both_brokers(
    bars: MarketData, drawn: list[StrategyChromosome], exported: Callable[..., type[bt.Strategy]]
) -> None:
    for rules in drawn:
        plain = exported(levered(rules, 1.0))
        for broker in (LeverageBroker(), bt.brokers.BackBroker()):
            proof = prove_run(run(plain, bars, broker=broker))
            assert proof.equal, proof
            assert proof.fills >= 15
    fivefold = exported(levered(drawn[0], 5.0))
    assert prove_run(run(fivefold, bars)).equal
    changed = prove_run(run(fivefold, bars, position_size=0.01))
    assert "fill 0" in str(changed)
    assert "size" in str(changed)
    alone = prove_run(run(fivefold, bars, broker=bt.brokers.BackBroker()))
    assert str(alone) == "not applicable: Backtrader's own broker knows no leverage"


def test_bars_of_any_feed_are_proven(bars: MarketData, drawn: list[StrategyChromosome]) -> None:
    def feed() -> Any:
        return bt.feeds.PandasData(
            dataname=bars.to_frame().tz_localize(None), timeframe=bt.TimeFrame.Minutes, compression=60
        )

    ran = run(compile_strategy(drawn[0]), bars, feed=feed())
    assert prove_run(ran).equal
    assert prove_run(ran, data=bars).equal
    other = prove_run(ran, data=bars.head(499))
    assert other.not_applicable == "the bars at hand are not those that it traded"
    lean = run(
        compile_strategy(drawn[0]), bars, feed=feed(), prepare=lambda cerebro: setattr(cerebro.p, "exactbars", 1)
    )
    assert lean.analyzers.performance.equity.size == 500
    assert prove_run(lean).not_applicable == "the feed kept no bars; give data"
    assert prove_run(lean, data=bars).equal


class _Sized(bt.Sizer):
    def _getsizing(self, comminfo: Any, cash: float, data: Any, isbuy: bool) -> float:
        return 10.0


def test_a_planted_difference_is_found_where_it_is(bars: MarketData, drawn: list[StrategyChromosome]) -> None:
    rules = compile_strategy(drawn[0])
    whole = run(rules, bars)
    fourth = whole.analyzers.performance.executions[3]

    class Meddled(rules):  # type: ignore[misc,valid-type]  # made at run time
        """The same, but one unit is bought after its fourth fill, on the same bar."""

        def next(self) -> None:
            super().next()
            if len(self.data) == fourth.bar:
                self.buy(size=1.0)

    proof = prove_run(run(Meddled, bars))
    assert proof.status == "differs"
    assert proof.difference is not None
    assert proof.difference.startswith("fill 4 (bar ")
    assert proof.difference.endswith(f": bar {whole.analyzers.performance.executions[4].bar} against {fourth.bar}")
    assert str(proof) == f"differs from the simulation of its rules: {proof.difference} in Cerebro"

    class Gifted(rules):  # type: ignore[misc,valid-type]  # as above
        """The same, but a cent falls into the account at the end."""

        def next(self) -> None:
            super().next()
            if len(self.data) == 499:
                self.broker.add_cash(0.01)

    gift = prove_run(run(Gifted, bars))
    assert gift.difference is not None
    assert gift.difference.startswith("cash at bar 499: ")


def test_what_the_simulation_does_not_know_is_said_plainly(bars: MarketData, drawn: list[StrategyChromosome]) -> None:
    rules = compile_strategy(drawn[0])

    def why(**options: Any) -> str:
        proof = prove_run(run(options.pop("strategy", rules), bars.head(100), **options))
        assert not proof.equal
        assert proof.status == "not applicable"
        assert str(proof) == f"not applicable: {proof.not_applicable}"
        return proof.not_applicable

    assert why(strategy=bt.Strategy) == "no evolved rules, so there is no simulation of them"
    assert why(analyzer=Evidence) == "the run has no analyzer Performance, which keeps its fills"
    assert why(use_sizer=True, prepare=lambda cerebro: cerebro.addsizer(_Sized)) == "a sizer chose its sizes"
    assert (
        why(broker=LeverageBroker(margin_always=True)) == "the simulation does not know the broker's margin_always=True"
    )
    coo = LeverageBroker()
    coo.set_coc(True)
    assert why(broker=coo) == "the simulation does not know the broker's coc=True"
    futures = why(prepare=lambda cerebro: cerebro.broker.setcommission(commission=2.0, margin=100.0, mult=10.0))
    assert futures == "its commission is no plain fraction of the notional"
    stepped = LeverageBroker()
    stepped.set_instrument(bars.symbol, lot_step=1.0)
    assert why(broker=stepped) == "the broker had lot steps or least sizes"
    two = why(prepare=lambda cerebro: cerebro.adddata(PerpetualData(dataname=bars, name="again")))
    assert two == "it traded several feeds"
    assert why(prepare=lambda cerebro: cerebro.addstrategy(bt.Strategy)) == "other strategies traded in the same run"
    simulated = prove_run(simulate(bars, drawn[0]))
    assert simulated == RunProof(not_applicable="it is a simulation, nothing was run in Cerebro")


def test_a_comparison_shows_the_proofs(bars: MarketData, drawn: list[StrategyChromosome]) -> None:
    class Still(bt.Strategy):
        pass

    results = {
        "evolved": run(compile_strategy(drawn[0]), bars),
        "altered": run(compile_strategy(drawn[1]), bars, position_size=0.01),
        "own": run(Still, bars),
        "simulated": simulate(bars, drawn[2]),
    }
    found = compare(results, rules={"altered": drawn[1]}, resamples=0)
    assert found.proofs.keys() == results.keys()
    assert list(found.proofs) == found.frame.index[:-1].tolist()
    statuses = found.frame["proof"].to_dict()
    assert statuses == {
        "evolved": "proven", "altered": "differs", "own": "not applicable", "simulated": "not applicable",
        "buy and hold": "",
    }  # fmt: skip
    text = found.to_text()
    assert f"evolved: {found.proofs['evolved']}\n" in text
    assert "altered: differs from the simulation of its rules: fill 0 (bar " in text
    assert "own: not applicable: no evolved rules, so there is no simulation of them\n" in text
    assert "DIFFERS" in text
    document = found.to_dict()
    assert document["strategies"]["evolved"]["proof"]["fills"] == found.proofs["evolved"].fills
    assert document["strategies"]["altered"]["proof"]["difference"] == found.proofs["altered"].difference
    assert document["strategies"]["buy and hold"]["sharpe_low"] is None
    assert document["verdict"] == found.verdict


def test_rules_that_are_none_are_refused_by_name(bars: MarketData, drawn: list[StrategyChromosome]) -> None:
    results = {"one": simulate(bars, drawn[0])}
    with pytest.raises(SettingsError, match="2 faults") as refused:
        compare(results, data=bars, rules={"one": 3, "two": drawn[0]})
    assert refused.value.faults == (
        "rules of 'one' must be a StrategyChromosome or a champion, got int",
        "rules are for 'two', which is not among the results: one",
    )
