"""Pages of searches and comparisons: what they say, and that a browser draws them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.analyzers import Performance
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.parameter_optimizer import TECHNICAL_SPACE, optimize, technical_rules, walk_forward
from ai_backtrader.reports.html import html_page, save_comparison
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import simulate
from ai_backtrader.strategies import compile_strategy
from ai_backtrader.strategy_evolver import evolve

pytest.importorskip("plotly")

_EMPTY = """
return [...document.querySelectorAll('.chart')]
  .filter((chart) => ![...chart.querySelectorAll('path.js-line, path.point, .point path')]
    .some((path) => (path.getAttribute('d') || '').length > 5))
  .map((chart) => chart.closest('figure').querySelector('h3').textContent)
"""


def test_an_evolution_shows_its_generations_and_champions(opened: Callable[..., Any]) -> None:
    result = evolve(load_sample().head(2_000), n_generations=4, population=16, seed=2, champions=3, commission=0.0)
    page = opened(html_page(result), width=390, touch=True)
    assert page.complaints() == []
    assert page.run(_EMPTY) == []
    words = page.run("return document.querySelector('main').innerText")
    assert result.verdict in words
    for champion in result.champions:
        assert champion.chromosome.describe().splitlines()[0] in words
    drawn = page.run("return document.getElementById('chart-0')._fullData[0].y.length")
    assert drawn == len(result.history)


def test_a_search_for_parameters_shows_trials_and_importance(opened: Callable[..., Any]) -> None:
    result = optimize(technical_rules, load_sample().head(2_400), n_trials=25, surrogate="random", commission=0.00005)
    page = opened(html_page(result), dark=True)
    assert page.complaints() == []
    assert page.run(_EMPTY) == []
    shares = page.run(
        "const trace = document.getElementById('chart-1')._fullData[0];"
        "return Object.fromEntries(trace.y.map((name, place) => [name, trace.x[place]]))"
    )
    assert shares == pytest.approx({name: 100.0 * share for name, share in result.importance.items()})


def test_a_walk_forward_shows_its_tests_end_to_end(opened: Callable[..., Any]) -> None:
    result = walk_forward(
        technical_rules, load_sample().head(2_400), TECHNICAL_SPACE, train_bars=1_200, test_bars=400, n_trials=8,
        surrogate="random", commission=0.00005,
    )  # fmt: skip
    page = opened(html_page(result))
    assert page.complaints() == []
    assert page.run(_EMPTY) == []
    last = page.run("return document.getElementById('chart-0')._fullData[0].y.at(-1)")
    assert last == result.equity[-1]


def test_a_comparison_shows_what_is_proven_and_what_differs(tmp_path: Path, page: Any) -> None:
    data = load_sample().head(600)
    rng = np.random.default_rng(5)
    rules: list[StrategyChromosome] = []
    while len(rules) < 2:
        one = StrategyChromosome.random(rng)
        rules += [one] if len(simulate(data, one).fills) >= 10 else []

    def run(strategy: type[bt.Strategy], **params: Any) -> Any:
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.broker = LeverageBroker()
        cerebro.adddata(PerpetualData(dataname=data))
        cerebro.addstrategy(strategy, **params)
        cerebro.addanalyzer(Performance)
        return cerebro.run()[0]

    results = {
        "champion": run(compile_strategy(rules[0])),
        "altered": run(compile_strategy(rules[1]), position_size=0.02),
        "still": run(bt.Strategy),
    }
    path = tmp_path / "compared.html"
    comparison = save_comparison(results, path, rules={"altered": rules[1]}, resamples=0)
    page.look(width=390, touch=True)
    page.open(path)
    assert page.complaints() == []
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    told = page.run(
        "const table = [...document.querySelectorAll('table')].find((one) => one.caption?.textContent === 'Proofs');"
        "return Object.fromEntries([...table.tBodies[0].rows].map((row) => "
        "[...row.cells].map((cell) => cell.textContent)))"
    )
    assert told["champion"] == str(comparison.proofs["champion"])
    assert told["champion"].startswith("proven: ")
    assert told["altered"].startswith("differs from the simulation of its rules: fill 0 (bar ")
    assert told["still"] == "not applicable: no evolved rules, so there is no simulation of them"
    page.look()
    page.open(path)
    assert page.run(
        "return [...document.querySelectorAll('.table')].every((one) => one.scrollWidth <= one.clientWidth)"
    )
    words = page.run("return document.querySelector('main').innerText")
    gap = 100.0 * comparison.frame.loc["champion", "over_holding"]
    assert f"{gap:+,.2f}" in words


def test_a_comparison_draws_every_account_beside_holding(
    report_of: Callable[..., dict[str, Any]], tmp_path: Path, page: Any
) -> None:
    closes = [100.0 + math.sin(step / 3.0) * 5.0 for step in range(200)]
    runs = {
        name: report_of(closes, plan)["strategy"]
        for name, plan in (("early", {5: 10.0, 90: -10.0}), ("<b>late</b>", {50: 10.0, 150: -10.0}))
    }
    path = tmp_path / "compared.html"
    comparison = save_comparison(runs, path, resamples=50)
    page.look()
    page.open(path)
    assert page.complaints() == []
    assert page.run(_EMPTY) == []
    words = page.run("return document.querySelector('main').innerText")
    assert comparison.verdict in words
    legend = page.run("return [...document.querySelectorAll('#chart-0 .legendtext')].map((text) => text.textContent)")
    assert legend == ["early", "<b>late</b>", "buy and hold"]
