"""The audit's own laws: it looks at the past only, agrees with the broker where both must, and fails clearly."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.audit import (
    AuditError,
    AuditReport,
    FindingKind,
    audit_page,
    audit_strategy,
    load_strategy,
    plot_audit,
    save_audit_page,
    save_audit_plot,
)
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData

Make = Callable[..., MarketData]


class Reckless(bt.Strategy):
    """Both ways, almost all in, no stop."""

    params = (("share", 0.8), ("leverage", 20.0))

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=10), bt.ind.SMA(period=30))

    def next(self) -> None:
        if self.cross[0]:
            self.close()
            size = self.p.share * self.p.leverage * max(self.broker.getvalue(), 1_000.0) / self.data.close[0]
            (self.buy if self.cross[0] > 0 else self.sell)(size=size)


class RandomTrader(bt.Strategy):
    """Market orders by the toss of a coin, small enough that none is refused."""

    params = (("seed", 0),)

    def __init__(self) -> None:
        self.rng = np.random.default_rng(self.p.seed)

    def next(self) -> None:
        toss = self.rng.random()
        if toss < 0.05:
            self.close()
        elif toss < 0.10:
            (self.buy if self.rng.random() < 0.5 else self.sell)(size=float(self.rng.integers(1, 20) * 100))


@pytest.fixture(scope="module")
def reckless(make_path: Make) -> AuditReport:
    rng = np.random.default_rng(1)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 600)))
    rates = np.where(np.arange(600) % 8 == 0, 0.0003, 0.0)
    return audit_strategy(Reckless, make_path(closes.tolist(), funding_rate=rates), leverage=20, commission=0.0002)


def events_before(report: AuditReport, bar: int) -> dict[tuple[str, str], list[Any]]:
    found = {
        (finding.kind.value, finding.feed): [event for event in finding.events if event.bar < bar]
        for finding in report.findings
    }
    return {key: events for key, events in found.items() if events}


@pytest.mark.parametrize("count", [40, 137, 250, 399, 520])
def test_the_first_bars_alone_give_the_first_findings(count: int, make_path: Make) -> None:
    rng = np.random.default_rng(1)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 600)))
    data = make_path(closes.tolist(), funding_rate=np.where(np.arange(600) % 8 == 0, 0.0003, 0.0))
    whole = audit_strategy(Reckless, data, leverage=20, commission=0.0002)
    part = audit_strategy(Reckless, data.head(count), leverage=20, commission=0.0002)
    assert events_before(part, count) == events_before(whole, count)
    assert len(whole.findings) >= 5


def test_the_reckless_show_most_kinds(reckless: AuditReport) -> None:
    kinds = {finding.kind for finding in reckless.findings}
    assert {
        FindingKind.LIQUIDATION_SURVIVED,
        FindingKind.GHOST_RECOVERY,
        FindingKind.FUNDING_NOT_CHARGED,
        FindingKind.SHORT_WITHOUT_MARGIN,
    } <= kinds
    bars = [finding.first_bar for finding in reckless.findings]
    assert bars == sorted(bars)


def test_the_first_death_is_the_brokers_first_liquidation() -> None:
    """The audit follows fills and knows nothing of LeverageBroker; up to the first liquidation both must agree."""
    data, agreed = load_sample().head(700), 0
    for seed in range(14):
        report = audit_strategy(RandomTrader, data, leverage=100, params={"seed": seed})
        deaths = report.of(FindingKind.LIQUIDATION_SURVIVED)
        liquidations = report.exchange.liquidations
        assert bool(deaths) == bool(liquidations), f"seed {seed}: {report}"
        if deaths:
            agreed += 1
            assert deaths[0].first_time == liquidations[0].bar_time, f"seed {seed}"
            assert deaths[0].events[0].money == pytest.approx(liquidations[0].margin, rel=1e-9)
    assert agreed > 5


def test_funding_until_the_death_is_the_brokers(shared_csv: Callable[[str], Path]) -> None:
    class Hold(bt.Strategy):
        def next(self) -> None:
            if len(self) == 1:
                self.buy(size=1)

    data = MarketData.from_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz")).head(2_000)
    report = audit_strategy(Hold, data, leverage=10)
    (funding,) = report.of(FindingKind.FUNDING_NOT_CHARGED)
    (liquidation,) = report.exchange.liquidations
    assert str(liquidation.bar_time) == "2020-03-12 10:00:00"
    assert report.of(FindingKind.LIQUIDATION_SURVIVED)[0].first_time == liquidation.bar_time
    assert funding.money == pytest.approx(liquidation.funding, rel=1e-12)


def test_constant_funding_is_the_brokers(make_path: Make) -> None:
    class Hold(bt.Strategy):
        def next(self) -> None:
            if len(self) == 1:
                self.buy(size=100)

    report = audit_strategy(Hold, make_path([100.0] * 50), leverage=2, funding=0.0001, funding_hours=4)
    (finding,) = report.of(FindingKind.FUNDING_NOT_CHARGED)
    assert finding.count == 12
    assert finding.money == pytest.approx(report.exchange.metrics["funding"], rel=1e-12)


def test_the_report_is_json_and_the_same_twice(reckless: AuditReport, make_path: Make) -> None:
    text = json.dumps(reckless.to_dict(), allow_nan=False)
    content = json.loads(text)
    assert content["clean"] is False
    assert content["findings"][0]["first_time"].endswith("Z")
    assert all(len(finding["events"]) <= 20 for finding in content["findings"])
    rng = np.random.default_rng(1)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 600)))
    rates = np.where(np.arange(600) % 8 == 0, 0.0003, 0.0)
    again = audit_strategy(Reckless, make_path(closes.tolist(), funding_rate=rates), leverage=20, commission=0.0002)
    assert json.dumps(again.to_dict(), allow_nan=False) == text


def test_fees_and_funding_explain_the_exchanges_account(reckless: AuditReport) -> None:
    metrics = reckless.exchange.metrics
    assert metrics["fees"] > 0.0
    assert metrics["funding"] != 0.0
    assert metrics["final_equity"] == reckless.exchange.equity[-1]
    assert metrics["lowest_equity"] >= 0.0


# ------------------------------------------------------------------------------------------------- pictures and pages


def test_the_picture_has_both_curves_and_the_marks(reckless: AuditReport, tmp_path: Path) -> None:
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    figure = plot_audit(reckless)
    curves = figure.axes[0]
    labels = [text.get_text() for text in curves.get_legend().get_texts()]
    assert any("Backtrader's broker" in label for label in labels)
    assert any("LeverageBroker" in label for label in labels)
    assert any("liquidation survived" in label for label in labels)
    drawn = {tuple(line.get_ydata()[-1:]) for line in curves.get_lines() if len(line.get_ydata()) > 2}
    assert (reckless.backtrader.equity[-1],) in drawn
    assert (reckless.exchange.equity[-1],) in drawn
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        save_audit_plot(reckless, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_page_is_one_file_without_network(reckless: AuditReport, tmp_path: Path) -> None:
    path = tmp_path / "audit.html"
    save_audit_page(reckless, path)
    page = path.read_text(encoding="utf-8")
    assert page == audit_page(reckless)
    assert "http://" not in page
    assert "https://" not in page
    assert "data:image/png;base64,iVBOR" in page
    assert "prefers-color-scheme: dark" in page
    for finding in reckless.findings:
        assert finding.kind.value in page


# ------------------------------------------------------------------------------------------------------ faulty input


def test_a_strategy_that_raises_is_named_with_bar_and_error(make_path: Make) -> None:
    class Breaks(bt.Strategy):
        def next(self) -> None:
            if len(self) == 7:
                raise ZeroDivisionError("division by zero")

    with pytest.raises(
        AuditError, match=r"Breaks raised ZeroDivisionError: division by zero on bar 6, after 2024-01-01"
    ):
        audit_strategy(Breaks, make_path([100.0] * 20))


def test_a_strategy_that_raises_at_once_is_named(make_path: Make) -> None:
    class Never(bt.Strategy):
        def __init__(self) -> None:
            raise ValueError("no")

    with pytest.raises(AuditError, match="Never raised ValueError: no on bar 0"):
        audit_strategy(Never, make_path([100.0] * 20))


def test_wrong_settings_are_reported_together(make_path: Make) -> None:
    with pytest.raises(SettingsError, match=r"(?s)leverage must be between 1 and 125, got 0\.5.*cash.*tiers"):
        audit_strategy(Reckless, make_path([100.0] * 20), leverage=0.5, cash=-1, tiers=0.005)


def test_what_is_no_strategy_or_no_data_is_refused(make_path: Make) -> None:
    with pytest.raises(SettingsError, match=r"(?s)strategy_class must be a subclass.*data must be MarketData"):
        audit_strategy(int, [])


def test_an_unknown_parameter_of_the_strategy_is_named(make_path: Make) -> None:
    with pytest.raises(AuditError, match=r"Reckless raised TypeError.*speed"):
        audit_strategy(Reckless, make_path([100.0] * 50), params={"speed": 3})


GOOD = "import backtrader as bt\n\n\nclass Own(bt.Strategy):\n    def next(self):\n        self.buy()\n"


def test_a_strategy_comes_out_of_a_file(tmp_path: Path, make_path: Make) -> None:
    (tmp_path / "helper.py").write_text("SIZE = 3\n")
    path = tmp_path / "my-strategy.py"
    path.write_text("from helper import SIZE\n" + GOOD.replace("self.buy()", "self.buy(size=SIZE)"))
    chosen = load_strategy(path)
    assert chosen.__name__ == "Own"
    report = audit_strategy(chosen, make_path([100.0] * 5))
    assert report.strategy == "Own"
    assert report.backtrader.metrics["fills"] == 4


def test_a_base_in_the_file_is_not_the_strategy(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(GOOD + "\n\nclass Better(Own):\n    pass\n")
    assert load_strategy(path).__name__ == "Better"
    assert load_strategy(path, "Own").__name__ == "Own"


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("x = 1\n", None, r"no strategy .* it holds none"),
        (GOOD + GOOD.replace("Own", "Other"), None, r"several strategies; it holds Other, Own: choose one by name"),
        (GOOD, "Nope", r"no strategy named 'Nope'; it holds Own"),
        ("x = 1\n1 / 0\n", None, r"running the file failed in line 2: ZeroDivisionError"),
        ("def f(:\n", None, r"running the file failed in line 1: SyntaxError"),
        ("import sys\nsys.exit(4)\n", None, r"left with exit code 4; guard the script part"),
        ("import no_such_module_at_all\n", None, r"ModuleNotFoundError"),
    ],
)
def test_a_file_that_cannot_serve_says_why(tmp_path: Path, content: str, name: str | None, words: str) -> None:
    path = tmp_path / "strategy.py"
    path.write_text(content)
    with pytest.raises(AuditError, match=words):
        load_strategy(path, name)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no such file"):
        load_strategy(tmp_path / "nothing.py")
