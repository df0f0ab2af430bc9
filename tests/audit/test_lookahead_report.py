"""What check_lookahead says: bars, orders, warm-up, and what cannot be checked."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.audit import AuditError, check_lookahead
from ai_backtrader.audit.futures import changed_market, future_score
from ai_backtrader.audit.lookahead_report import Verdict
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.cli import main
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.sizers import AISizer
from ai_backtrader.strategies import AIStrategy, compile_strategy


@pytest.fixture(scope="module")
def data() -> MarketData:
    return load_sample().head(240)


class Cross(bt.Strategy):
    params = (("fast", 5), ("slow", 15))

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=self.p.fast), bt.ind.SMA(period=self.p.slow))

    def next(self) -> None:
        if self.cross[0] > 0:
            self.buy()
        elif self.cross[0] < 0 and self.position:
            self.close()


class PeeksOnce(bt.Strategy):
    """Honest orders on bars 20, 40, …; those from bar 100 on have a price of the next bar."""

    def next(self) -> None:
        if len(self) % 20 == 1 and len(self) > 1:
            array = self.data.low.array
            price = array[len(self)] if len(self) > 100 and len(self) < len(array) else self.data.low[0]
            self.buy(exectype=bt.Order.Limit, price=price, size=3)


class Random(bt.Strategy):
    rng = np.random.default_rng()

    def next(self) -> None:
        self.buy(size=self.rng.random() + 0.1)


class Idle(bt.Strategy):
    pass


class Breaks(bt.Strategy):
    params = (("at", 90),)

    def next(self) -> None:
        if len(self) == self.p.at:
            raise ZeroDivisionError("spread is zero")


def test_it_names_the_first_bar_and_order_that_know_the_future(data: MarketData) -> None:
    report = check_lookahead(PeeksOnce, data)
    first = report.first_difference
    assert first is not None
    assert (first.bar, first.kind, first.side, first.size) == (100, "order", "buy", 3.0)
    assert first.price == data.low[101]
    assert first.full is not None
    assert first.full.order_type == "Limit"
    assert str(first.time) == str(data.times[100].astype("datetime64[s]")).replace("T", " ")
    assert "bar 100" in str(report)
    assert "leaking" in str(report)


def test_the_report_is_plain_json(data: MarketData) -> None:
    values = json.loads(json.dumps(check_lookahead(PeeksOnce, data).to_dict(), allow_nan=False))
    assert values["verdict"] == "leaking"
    assert values["first_difference"]["full"]["size"] == 3.0
    clean = json.loads(json.dumps(check_lookahead(Cross, data).to_dict(), allow_nan=False))
    assert clean["clean"] is True
    assert clean["first_difference"] is None


def test_random_orders_are_called_not_deterministic_and_are_not_accused(data: MarketData) -> None:
    report = check_lookahead(Random, data)
    assert report.verdict is Verdict.NOT_DETERMINISTIC
    assert not report.clean
    assert "not deterministic" in str(report)
    assert report.runs == 2


def test_a_strategy_that_never_trades_gives_nothing_to_check(data: MarketData) -> None:
    report = check_lookahead(Idle, data)
    assert report.verdict is Verdict.NOTHING_TO_CHECK
    assert not report.clean
    assert "nothing to check" in str(report)


def test_indicators_longer_than_the_data_are_said_to_be(data: MarketData) -> None:
    # Backtrader itself fails on an indicator that is longer than its feed.
    with pytest.raises(AuditError, match="Cross raised IndexError"):
        check_lookahead(Cross, data.head(30), slow=60)


def test_an_error_of_the_strategy_is_named_with_its_bar(data: MarketData) -> None:
    for at in (90, 230):
        with pytest.raises(
            AuditError, match=rf"Breaks raised ZeroDivisionError: spread is zero on bar {at - 1} \(2017"
        ):
            check_lookahead(Breaks, data, at=at)


def test_an_error_in_stop_is_no_leak(data: MarketData) -> None:
    class Stops(Cross):
        def stop(self) -> None:
            raise RuntimeError("no disk")

    with pytest.raises(AuditError, match="Stops raised RuntimeError: no disk"):
        check_lookahead(Stops, data)


def test_wrong_arguments_are_named_together() -> None:
    with pytest.raises(SettingsError, match="3 faults") as caught:
        check_lookahead(int, pd.DataFrame(), cash=-1.0)
    text = str(caught.value)
    for words in ("subclass of backtrader.Strategy", r"MarketData.from_frame", "cash must be greater than 0"):
        assert words in text


def test_data_too_short_are_refused(data: MarketData) -> None:
    with pytest.raises(SettingsError, match="data too short: EURUSD has 10 bars, at least 20"):
        check_lookahead(Cross, data.head(10))


def test_the_warm_up_is_what_a_later_start_needs(data: MarketData) -> None:
    class Thirty(bt.Strategy):
        def __init__(self) -> None:
            self.high = bt.ind.Highest(self.data.close, period=30)

        def next(self) -> None:
            if self.data.close[0] == self.high[0]:
                self.buy(size=1)
            else:
                self.sell(size=1)

    assert check_lookahead(Thirty, data.head(150)).warm_up == 29

    class Impatient(bt.Strategy):
        """Decides from the first bar on, with whatever it has."""

        def next(self) -> None:
            past = self.data.close.get(size=min(len(self), 40))
            (self.buy if past[-1] > np.mean(past) else self.sell)(size=1)

    warm_up = check_lookahead(Impatient, data.head(150)).warm_up
    assert warm_up is not None
    assert 1 <= warm_up <= 39


def test_orders_that_count_bars_never_settle(data: MarketData) -> None:
    class Counts(bt.Strategy):
        def next(self) -> None:
            if len(self) % 11 == 0:
                self.buy(size=1)

    report = check_lookahead(Counts, data)
    assert report.clean
    assert report.warm_up is None
    assert "did not settle" in str(report)


class OnlyOnce(bt.Indicator):
    """Average that works only over all bars at once."""

    lines = ("average",)

    def __init__(self) -> None:
        self.addminperiod(10)

    def once(self, start: int, end: int) -> None:
        past = np.array(self.data.array)
        for place in range(start, end):
            self.lines.average.array[place] = past[place - 9 : place + 1].mean()

    def next(self) -> None:
        self.lines.average[0] = float("nan")


def test_an_indicator_that_needs_preloading_is_noted_and_not_accused(data: MarketData) -> None:
    class Above(bt.Strategy):
        def __init__(self) -> None:
            self.average = OnlyOnce(self.data)

        def next(self) -> None:
            if self.data.close[0] > self.average[0]:
                self.buy(size=1)

    report = check_lookahead(Above, data)
    assert report.clean
    assert "differs without preloading, but with no other future" in report.notes[0]


def test_days_of_a_frame_that_know_the_evening_are_found() -> None:
    bars = load_sample().head(900)
    evenings = bars.to_frame()["close"].resample("1D").last().dropna()

    class Evening(bt.Strategy):
        days = evenings

        def next(self) -> None:
            today = pd.Timestamp(self.data.datetime.date(0), tz="UTC")
            if len(self) % 4 == 0 and self.days.get(today, 0.0) > self.data.close[0]:
                self.buy(size=1)

    class Yesterday(Evening):
        days = evenings.shift(1)

    report = check_lookahead(Evening, bars)
    assert report.verdict is Verdict.LEAKING
    assert report.first_difference is not None
    assert "Evening.days" in report.first_difference.test
    assert check_lookahead(Yesterday, bars).clean


def test_what_the_class_holds_is_as_it_was_afterwards(data: MarketData) -> None:
    closes = data.close.tolist()

    class Holds(bt.Strategy):
        prices: ClassVar[list[float]] = closes
        log: ClassVar[dict[str, int]] = {}

        def next(self) -> None:
            self.log["bars"] = self.log.get("bars", 0) + 1
            type(self).last = len(self)
            if self.prices[len(self) - 1] > 1.05:
                self.buy(size=1)

    assert check_lookahead(Holds, data).clean
    assert Holds.prices is closes
    assert closes == data.close.tolist()
    assert Holds.log == {}
    assert not hasattr(Holds, "last")


def test_a_parameter_of_the_strategy_wins_over_one_of_the_check(data: MarketData) -> None:
    class Cash(bt.Strategy):
        params = (("cash", 1.0), ("table", None))

        def next(self) -> None:
            if len(self) % 10 == 0:
                self.buy(size=self.p.cash)

    seen = check_lookahead(Cash, data, cash=7.0)
    assert seen.clean
    leak = check_lookahead(PeeksOnce, data, cash=5_000.0)
    assert leak.verdict is Verdict.LEAKING


def test_a_peek_at_the_next_funding_rate_is_found(data: MarketData) -> None:
    class Collects(bt.Strategy):
        def next(self) -> None:
            rates = self.data.funding_rate.array
            if len(self) % 8 == 0 and len(self) < len(rates):
                (self.sell if rates[len(self)] > 0 else self.buy)(size=1)

    stamps = np.where(np.arange(len(data)) % 8 == 0, 1e-4, 0.0)
    frame = data.to_frame().assign(funding_rate=stamps)
    rates = MarketData.from_frame(frame, symbol="PERP", bar_seconds=data.bar_seconds)
    assert check_lookahead(Collects, rates).verdict is Verdict.LEAKING


def test_a_frame_given_as_a_parameter_is_changed_too(data: MarketData) -> None:
    class Given(bt.Strategy):
        params = (("frame", None),)

        def next(self) -> None:
            later = self.p.frame["close"].iloc[min(len(self), len(self.p.frame) - 1)]
            if later > self.data.close[0]:
                self.buy(size=1)

    assert check_lookahead(Given, data, frame=data.to_frame()).verdict is Verdict.LEAKING


def test_the_other_future_leaves_the_known_bars_alone_and_turns_the_rest(data: MarketData) -> None:
    other = changed_market(data, 100, np.random.default_rng(0))
    for name, values in data.columns().items():
        np.testing.assert_array_equal(other.columns()[name][:100], values[:100])
    moves = np.log(data.close[100:] / data.close[99]), np.log(other.close[100:] / other.close[99])
    far = np.abs(moves[0]) > 0.001
    assert far.any()
    assert (np.sign(moves[0][far]) == -np.sign(moves[1][far])).all()


def test_a_column_without_knowledge_of_the_future_has_no_score() -> None:
    rng = np.random.default_rng(8)
    told = 0
    for _ in range(300):
        close = 100.0 * np.exp(np.cumsum(rng.standard_t(3, 250) * 0.01))
        for column in (
            close,
            pd.Series(close).rolling(9).mean().to_numpy(),
            rng.normal(size=250),
            np.sign(np.diff(close, prepend=1.0)),
        ):
            told += future_score(column, close) is not None
    assert told == 0
    assert future_score(np.append(close[1:], close[-1]), close) is not None


def test_ai_strategy_is_clean() -> None:
    report = check_lookahead(AIStrategy, load_sample().head(1200))
    assert report.clean, str(report)
    assert report.orders > 20
    assert report.runs <= 22


def test_ai_strategy_is_clean_on_leverage() -> None:
    broker = lambda: LeverageBroker(leverage=5.0)  # noqa: E731  # one line says it
    report = check_lookahead(AIStrategy, load_sample().head(400), make_broker=broker, cash=10_000.0)
    assert report.clean, str(report)


def test_an_evolved_strategy_is_clean() -> None:
    rng = np.random.default_rng(3)
    sample, checked = load_sample().head(350), 0
    for _ in range(2):
        report = check_lookahead(compile_strategy(StrategyChromosome.random(rng)), sample)
        assert report.verdict in (Verdict.CLEAN, Verdict.NOTHING_TO_CHECK), str(report)
        checked += report.clean
    assert checked >= 1


def test_a_cross_with_the_ai_sizer_is_clean() -> None:
    report = check_lookahead(Cross, load_sample().head(400), sizer=AISizer, sizer_params={"risk_budget": 0.01})
    assert report.clean, str(report)
    assert report.orders > 10


FILE = """
import backtrader as bt


class Tomorrow(bt.Strategy):
    params = (("size", 1.0),)

    def next(self):
        if self.data.close[1] > self.data.close[0]:
            self.buy(size=self.p.size)


class Today(bt.Strategy):
    def next(self):
        if self.data.close[0] > self.data.open[0]:
            self.buy(size=1)
"""


def call(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["ai-backtrader", "lookahead", *arguments]
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: MarketData) -> Path:
    path = tmp_path_factory.mktemp("lookahead")
    (path / "mine.py").write_text(FILE)
    data.head(120).to_frame().to_csv(path / "A.csv")
    return path


def test_the_command_names_the_leak(folder: Path) -> None:
    code, out, err = call("mine.py", "--data", "A.csv", "--strategy", "Tomorrow", cwd=folder)
    assert code == 0, err
    words = " ".join(out.split())
    for word in ("Tomorrow on A: leaking", "First difference", "order buy 1 A Market", "IndexError"):
        assert word in words


def test_the_command_gives_json_and_takes_parameters(folder: Path) -> None:
    options = ["--data", "A.csv", "--strategy", "Tomorrow", "--param", "size=2.5", "--json"]
    code, out, err = call("mine.py", *options, cwd=folder)
    assert code == 0, err
    assert json.loads(out)["first_difference"]["size"] == 2.5


def test_the_command_fails_only_when_told(folder: Path) -> None:
    options: Callable[[str], list[Any]] = lambda name: [  # noqa: E731  # one line says it
        "mine.py",
        "--data",
        "A.csv",
        "--fail-on-findings",
        "--strategy",
        name,
    ]
    assert call(*options("Tomorrow"), cwd=folder)[0] == 3
    code, out, _ = call(*options("Today"), cwd=folder)
    assert code == 0
    assert "Today on A: clean" in out


def test_a_wrong_call_of_the_command_is_one_line(folder: Path) -> None:
    code, out, err = call("mine.py", "--data", "A.csv", cwd=folder)
    assert (code, out) == (1, "")
    assert "several strategies; it holds Today, Tomorrow" in err
