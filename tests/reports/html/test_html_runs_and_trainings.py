"""Pages of a whole run and of a training: what they say, and that a browser draws them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.events import TradeClosed
from ai_backtrader.market import MaintenanceTiers, MarketData
from ai_backtrader.pipeline import PipelineResult, Profile, run_pipeline
from ai_backtrader.reports.html import html_page
from ai_backtrader.rl import EnvironmentSettings, TrainingResult, train_agent
from ai_backtrader.strategies import AdaptationRecord, compared_runs
from ai_backtrader.values import Direction, FrozenMapping, Regime

pytest.importorskip("plotly")

_TITLES = "return [...document.querySelectorAll('figure h3')].map((title) => title.textContent)"
_EMPTY = """
return [...document.querySelectorAll('.chart')]
  .filter((chart) => ![...chart.querySelectorAll('path.js-line, path.js-fill, .point path, .points path')]
    .some((path) => (path.getAttribute('d') || '').length > 5))
  .map((chart) => chart.closest('figure').querySelector('h3').textContent)
"""
_WORDS = "return document.querySelector('main').textContent"
_MIDDLE = """
const chart = [...document.querySelectorAll('.chart')]
  .find((chart) => chart.closest('figure').querySelector('h3').textContent === arguments[0]);
chart.scrollIntoView({block: 'center'});
const box = chart.querySelector('.nsewdrag').getBoundingClientRect();
return [box.x + box.width / 2, box.y + box.height / 2]
"""
_HOVER = "return [...document.querySelectorAll('.hoverlayer text')].map((text) => text.textContent).join(' ')"
LOOKS = pytest.mark.parametrize(
    "look", [{}, {"dark": True}, {"width": 390, "touch": True}], ids=["light", "dark", "phone"]
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- a whole run


@pytest.fixture(scope="module")
def run() -> PipelineResult:
    tiny = Profile(
        name="tiny", trials=8, surrogate="random", regimes=(Regime.BULL,), generations=3, population=10, champions=2,
        agent_steps=400, agent_seeds=2,
    )  # fmt: skip
    return run_pipeline(load_sample().head(1_500), profile=tiny, seed=1, commission=0.00005, admit="best")


@pytest.fixture(scope="module")
def run_text(run: PipelineResult) -> str:
    return html_page(run)


@LOOKS
def test_every_chart_of_a_whole_run_is_drawn(run_text: str, opened: Callable[..., Any], look: dict[str, Any]) -> None:
    page = opened(run_text, **look)
    assert page.complaints() == []
    assert page.run(_EMPTY) == []
    assert page.run(_TITLES) == [
        "Growth of 1", "Drawdown", "Share of the fund's capital", "What each source contributed", "Fitness",
        "Diversity", "Return on the validation bars as it learns", "Loss",
    ]  # fmt: skip
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_a_whole_run_says_what_every_stage_found(
    run: PipelineResult, run_text: str, opened: Callable[..., Any]
) -> None:
    words = opened(run_text).run(_WORDS).replace("\N{NO-BREAK SPACE}", " ")
    assert words.count(run.verdict) == 2  # at the top, and with the evidence
    for stage in run.stages:
        assert stage.finding in words
    for search in run.stage("optimise").found["searches"]:
        assert search["verdict"] in words
    for champion in run.stage("evolve").found["champions"]:
        assert champion["words"].splitlines()[0] in words
    for given in run.stage("allocate").found["plan"]["allocations"]:
        assert given["reason"] in words
    for one in run.walk["adaptations"]:
        assert one["verdict"] in words
    assert run.hashes["database"] in words
    assert f"{run.walk['trials']:,} trials were made on these data, and the walk was looked at once" in words


def test_the_growth_of_a_whole_run_ends_where_the_figures_say(
    run: PipelineResult, run_text: str, opened: Callable[..., Any]
) -> None:
    page = opened(run_text)
    ends = page.run(
        "return Object.fromEntries(document.getElementById('chart-0')._fullData.map("
        "(trace) => [trace.name, trace.y.at(-1)]))"
    )
    for name, figures in run.walk["members"].items():
        assert ends[name] == pytest.approx(1.0 + figures["total_return"], abs=1e-12), name
    assert ends["holding, no costs"] == pytest.approx(1.0 + run.walk["holding"]["total_return"], abs=1e-12)
    stacked = page.run(
        "return document.getElementById('chart-2')._fullData.map((trace) => trace.y[0]).reduce((sum, y) => sum + y)"
    )
    assert stacked == pytest.approx(100.0)
    page.move(*page.run(_MIDDLE, "Growth of 1"))
    said = page.wait_for(_HOVER)
    assert "fund" in said
    assert "holding, no costs" in said


def adapted(run: PipelineResult) -> PipelineResult:
    """The run, had something passed on its way twice: its account grows a little faster from then on."""
    times, without = run.arrays["times"], run.arrays["member_ai"]
    steps = np.random.default_rng(1).normal(0.0002, 0.002, len(times))
    steps[:100] = 0.0
    records = [
        AdaptationRecord(
            symbol="EURUSD", bar=place + 1, at=times[place].astype("datetime64[us]").item(), reason="drift of EURUSD",
            search="evolve", regime=None, bars=place + 1, seed=1, trials=9, put_forward=1, passed=len(changed),
            changed=changed, verdict="said",
        )
        for place, changed in ((40, ()), (99, ("Long when <i>RSI(14)</i> < 30",)), (300, ("Short when RSI(14) > 70",)))
    ]  # fmt: skip
    trades = [
        TradeClosed(
            symbol="EURUSD", strategy_id="ai", direction=Direction.LONG, entry_price=1.0, exit_price=1.0, pnl_pct=0.0,
            opened_at=times[place - 1].astype("datetime64[us]").item(),
            closed_at=times[place].astype("datetime64[us]").item(),
        )
        for place in range(110, 300, 10)
    ]  # fmt: skip
    own = without * np.exp(np.cumsum(steps))
    told = compared_runs(records, times, own, without, trades, []).to_dict()
    searches = [
        {"bar": int(np.searchsorted(times, np.datetime64(one.at))), "reason": one.reason, "search": one.search,
         "put_forward": 1, "passed": one.passed, "trials": 9, "verdict": one.verdict, "changed": list(one.changed)}
        for one in records
    ]  # fmt: skip
    walk = dict(run.walk) | {
        "adaptations": searches,
        "adaptation": told | {"fund": {"return": 0.03, "without": 0.01}},
    }
    stages = tuple(
        dataclasses.replace(one, found=FrozenMapping(walk)) if one.name == "walk" else one for one in run.stages
    )
    arrays = FrozenMapping(dict(run.arrays) | {"member_ai": own, "without_ai": without, "without_fund": without})
    return dataclasses.replace(run, stages=stages, arrays=arrays)


@LOOKS
def test_each_adaptation_stands_beside_the_same_run_without(
    run: PipelineResult, opened: Callable[..., Any], look: dict[str, Any]
) -> None:
    result = adapted(run)
    page = opened(html_page(result), **look)
    assert page.complaints() == []
    assert page.run(_EMPTY) == []
    assert {"With adaptation and without", "Gain by adaptation so far"} <= set(page.run(_TITLES))
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    wide = (
        "document.querySelectorAll('table.stacked')].filter((one) => one.scrollWidth > one.parentElement.clientWidth)"
    )
    assert page.run("return document.querySelectorAll('table.stacked').length") >= 3
    assert page.run(f"return [...{wide}.length") == 0  # words need no scrolling, not even on a phone
    words = page.run(_WORDS).replace("\N{NO-BREAK SPACE}", " ")
    found = result.walk["adaptation"]
    idle, first, second = found["adaptations"]
    assert found["verdict"] in words
    assert "The fund returned +3.00 %, without adaptation +1.00 %." in words
    assert [idle["verdict"], second["verdict"]] == ["changed nothing", "too few trades to say (0)"]
    for one in found["adaptations"]:
        assert one["verdict"] in words
        assert one["at"][:16].replace("T", " ") in words
    assert f"{100.0 * first['low']:+.2f} to {100.0 * first['high']:+.2f} %" in words
    own, other, marked = page.run(
        "const chart = [...document.querySelectorAll('.chart')].find((chart) => "
        "chart.closest('figure').querySelector('h3').textContent === 'With adaptation and without');"
        "const [other, own, marks] = chart._fullData; return [own.y.at(-1), other.y.at(-1), marks.y.length]"
    )
    assert own / other - 1.0 == pytest.approx(first["gain_to_end"], abs=1e-12)
    assert marked == 2


def test_what_an_adaptation_changed_is_told_under_the_mouse(run: PipelineResult, opened: Callable[..., Any]) -> None:
    result = adapted(run)
    page = opened(html_page(result))
    point = page.run(
        "const chart = [...document.querySelectorAll('.chart')].find((chart) => "
        "chart.closest('figure').querySelector('h3').textContent === 'With adaptation and without');"
        "const point = chart.querySelector('.points path'); point.scrollIntoView({block: 'center'});"
        "const box = point.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"
    )
    page.move(*point)
    said = page.wait_for(_HOVER)
    first = result.walk["adaptation"]["adaptations"][1]
    assert f"drift of EURUSD: {first['verdict']}, {100.0 * first['gain']:+.2f} %" in said


def test_a_whole_run_without_some_systems_says_so(run: PipelineResult) -> None:
    off: dict[str, dict[str, Any]] = {
        "optimise": {"searches": []},
        "evolve": {"champions": [], "evaluations": 0, "verdict": "switched off"},
        "train": {"seeds": 0, "passed": False, "kept": False, "reason": "switched off"},
        "allocate": {"plan": None, "weights": {"ai": 1.0}, "state": None},
        "walk": dict(run.walk) | {"adaptations": [], "attribution": {"total": 0.0, "votes": {}}},
    }
    stages = tuple(dataclasses.replace(one, found=FrozenMapping(off.get(one.name, one.found))) for one in run.stages)
    text = html_page(dataclasses.replace(run, stages=stages))
    for words in (
        "No parameters were searched.", "Switched off.", "No source voted", "AIStrategy did not search on the way",
        "all members begin with equal capital",
    ):  # fmt: skip
        assert words in text


# ----------------------------------------------------------------------------------------------------------- a training


@pytest.fixture(scope="module")
def bars() -> MarketData:
    return load_sample().head(1_200)


@pytest.fixture(scope="module")
def training(bars: MarketData) -> TrainingResult:
    broker = EnvironmentSettings(tiers=MaintenanceTiers.flat(0.01), liquidation_fee=0.005, funding=0.0001)
    return train_agent(bars, seeds=3, steps=900, caution=0.0, environment=broker)


@LOOKS
def test_every_chart_of_a_training_is_drawn(
    training: TrainingResult, opened: Callable[..., Any], look: dict[str, Any]
) -> None:
    page = opened(html_page(training), **look)
    assert page.complaints() == []
    assert page.run(_EMPTY) == []
    assert page.run(_TITLES) == [
        "Return on the test bars", "Account on the test bars", "Return on the validation bars as it learns", "Loss",
    ]  # fmt: skip
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_a_training_stands_beside_its_baselines_with_its_spread(
    training: TrainingResult, opened: Callable[..., Any]
) -> None:
    page = opened(html_page(training))
    words = page.run(_WORDS).replace("\N{NO-BREAK SPACE}", " ")
    assert training.verdict in words
    for name in training.baselines:
        assert name.replace("_", " ") in words
    for word in ("Liquidated", "Above 0.7", "Funding", "maintenance", training.data_fingerprint):
        assert word in words
    mean, minus = page.run(
        "const trace = document.getElementById('chart-0')._fullData[1];return [trace.x[0], trace.error_x.arrayminus[0]]"
    )
    growths = training.test_growths
    assert mean == pytest.approx(100.0 * math.expm1(growths.mean()))
    low = growths.mean() - 2.0 * growths.std(ddof=1) / math.sqrt(3)
    assert mean - minus == pytest.approx(100.0 * math.expm1(low))


def test_a_stopped_training_shows_no_test(bars: MarketData) -> None:
    stopped = train_agent(bars, seeds=1, steps=900, on_progress=lambda progress: progress.steps < 300)
    text = html_page(stopped)
    assert "the test bars stay sealed" in text
    assert "Account on the test bars" not in text
