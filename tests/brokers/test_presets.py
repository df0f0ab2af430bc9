"""Foreign exchange and stocks on margin."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import pytest

from ai_backtrader.brokers import FX_MAJOR, FX_MINOR, US_STOCKS, LeverageBroker
from ai_backtrader.errors import SettingsError
from ai_backtrader.market.margin import liquidation_price

FLAT = (100.0, 100.0, 100.0, 100.0)


def _daily(feed: Any, rows: Any) -> Any:
    return feed(rows, freq="D", timeframe=bt.TimeFrame.Days, compression=1)


def test_an_fx_account_closes_out_at_half_of_the_initial_margin(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 98, 98.2), FLAT]
    broker = FX_MAJOR.broker()
    assert isinstance(broker, LeverageBroker)
    ran = run(broker, _daily(feed, rows), {1: lambda s: s.buy(size=100)})
    record = ran.broker.liquidations[0]
    assert record.leverage == 30
    expected = liquidation_price(side="long", entry_price=100, size=100, margin=10_000 / 30, tiers=FX_MAJOR.tiers)
    assert record.price == pytest.approx(expected)
    assert ran.broker.getcash() == pytest.approx(1000 - 10_000 / 30 + 100 * record.price / 60)


def test_swaps_are_charged_a_calendar_day_and_may_be_received(feed: Any, run: Any) -> None:
    plan = {2: lambda s: s.buy(size=10), 9: lambda s: s.close()}
    paid = run(FX_MINOR.broker(leverage=5, long_rate=0.0365, short_rate=-0.02), _daily(feed, [FLAT] * 12), plan)
    # Opened on day 3, closed on day 10: seven nights.
    assert paid.broker.getcash() == pytest.approx(1000 - 7 / 365 * 0.0365 * 1000)
    assert paid.trades[0].pnlcomm == pytest.approx(-0.7)
    plan[2] = lambda s: s.sell(size=10)
    received = run(FX_MINOR.broker(leverage=5, long_rate=0.0365, short_rate=-0.02), _daily(feed, [FLAT] * 12), plan)
    assert received.broker.getcash() == pytest.approx(1000 + 7 / 365 * 0.02 * 1000)


def test_a_weekend_counts_three_days(feed: Any, run: Any) -> None:
    columns = {name: [100.0] * 6 for name in ("open", "high", "low", "close")}
    columns["index"] = ["2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-10"]  # type: ignore[assignment]
    data = feed(columns, timeframe=bt.TimeFrame.Days, compression=1)
    ran = run(US_STOCKS.broker(short_rate=0.365), data, {1: lambda s: s.sell(size=10), 4: lambda s: s.close()})
    assert ran.trades[0].commission == pytest.approx(5 * 0.001 * 1000)  # Thursday to Tuesday


def test_stocks_are_bought_on_half_margin_at_most(feed: Any, run: Any) -> None:
    ran = run(US_STOCKS.broker(), _daily(feed, [FLAT] * 4), {1: lambda s: (s.buy(size=21), s.buy(size=20))})
    assert ran.strategy.statuses(0)[-1] == "Margin"
    assert ran.broker.position_margin(ran.strategy.data) == 1000
    with pytest.raises(SettingsError, match="between 1 and 2"):
        US_STOCKS.broker(leverage=4)
    with pytest.raises(SettingsError, match="short_rate must be finite"):
        US_STOCKS.broker(short_rate=float("inf"))


def test_there_is_no_funding_even_on_a_feed_that_has_a_rate(feed: Any, run: Any) -> None:
    data = feed([FLAT] * 12, funding_rate=[0.01] * 12)
    ran = run(FX_MAJOR.broker(leverage=2), data, {1: lambda s: s.buy(size=10)})
    assert ran.broker.funding_paid() == 0.0
