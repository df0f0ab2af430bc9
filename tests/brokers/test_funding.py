"""Funding: when it falls due, who pays whom, and what it does to cash, margin and trades."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.errors import SettingsError

FLAT = (100.0, 100.0, 100.0, 100.0)
RATE = 0.0001


def _rates(count: int, every: int = 8) -> np.ndarray:
    return np.where(np.arange(count) % every == 0, RATE, 0.0)


def test_a_constant_rate_falls_due_at_each_stamp_that_a_position_lives_through(feed: Any, run: Any) -> None:
    # Opened at 01:00, closed at 01:00 of the next day: 08, 16 and 00.
    plan = {1: lambda s: s.buy(size=10), 25: lambda s: s.close()}
    ran = run(LeverageBroker(leverage=5, funding=RATE), feed([FLAT] * 26), plan)
    assert ran.broker.funding_paid() == pytest.approx(0.3, rel=1e-12)
    assert ran.broker.getcash() == pytest.approx(1000 - 0.3, rel=1e-14)
    assert ran.trades[0].pnlcomm == pytest.approx(-0.3, rel=1e-12)


def test_a_rate_line_is_settled_at_the_start_of_its_bar(feed: Any, run: Any) -> None:
    plan = {1: lambda s: s.buy(size=10), 25: lambda s: s.close()}
    by_line = run(LeverageBroker(leverage=5), feed([FLAT] * 26, funding_rate=_rates(26)), plan)
    by_rate = run(LeverageBroker(leverage=5, funding=RATE), feed([FLAT] * 26), plan)
    assert [bar[:2] for bar in by_line.bars] == [bar[:2] for bar in by_rate.bars]
    named = run(LeverageBroker(leverage=5, funding="volume"), feed([FLAT] * 26, volume=_rates(26)), plan)
    assert named.broker.funding_paid() == by_line.broker.funding_paid()


def test_a_position_opened_at_the_stamp_does_not_pay_it_and_one_closed_at_it_does(feed: Any, run: Any) -> None:
    rates = feed([FLAT] * 12, funding_rate=_rates(12))
    opened = run(LeverageBroker(leverage=5), rates, {8: lambda s: s.buy(size=10)})
    assert opened.broker.funding_paid() == 0.0
    rates = feed([FLAT] * 12, funding_rate=_rates(12))
    closed = run(LeverageBroker(leverage=5), rates, {6: lambda s: s.buy(size=10), 8: lambda s: s.close()})
    assert closed.broker.funding_paid() == pytest.approx(0.1)
    assert closed.trades[0].pnlcomm == pytest.approx(-0.1)


def test_payments_of_longs_and_shorts_cancel(feed: Any, run: Any) -> None:
    rng = np.random.default_rng(5)
    rows = [FLAT] * 40
    rates = np.where(rng.random(40) < 0.4, rng.normal(0, 0.001, 40), np.nan)
    plans = ({2: lambda s: s.buy(size=7.3)}, {2: lambda s: s.sell(size=7.3)})
    paid = [
        run(LeverageBroker(leverage=3), feed(rows, funding_rate=rates), plan).broker.funding_paid() for plan in plans
    ]
    assert paid[0] != 0.0
    assert abs(sum(paid)) <= 1e-12


def test_nothing_is_charged_without_a_rate_or_when_switched_off(feed: Any, run: Any) -> None:
    plan = {1: lambda s: s.buy(size=10)}
    silent = run(LeverageBroker(leverage=5), feed([FLAT] * 26), plan)  # the feed's line holds NaN
    off = run(LeverageBroker(leverage=5, funding=False), feed([FLAT] * 26, funding_rate=_rates(26)), plan)
    zero = run(LeverageBroker(leverage=5, funding=0.0), feed([FLAT] * 26, funding_rate=_rates(26)), plan)
    assert {ran.broker.funding_paid() for ran in (silent, off, zero)} == {0.0}


def test_a_line_that_the_feed_lacks_is_an_error_that_names_the_feeds_lines(feed: Any, run: Any) -> None:
    with pytest.raises(SettingsError, match=r"'carry'.*funding_rate"):
        run(LeverageBroker(funding="carry"), feed([FLAT] * 4), {1: lambda s: s.buy(size=1)})


def test_the_mark_open_of_the_bar_is_the_price(feed: Any, run: Any) -> None:
    marks = {
        "mark_open": np.full(12, 110.0),
        "mark_high": [110.0] * 12,
        "mark_low": [100.0] * 12,
        "mark_close": [100.0] * 12,
    }
    ran = run(LeverageBroker(leverage=5, funding=RATE), feed([FLAT] * 12, **marks), {1: lambda s: s.buy(size=10)})
    assert ran.broker.funding_paid() == pytest.approx(RATE * 10 * 110)


@pytest.mark.parametrize("hours", [1, 4, 24])
def test_the_schedule_can_be_any(hours: int, feed: Any, run: Any) -> None:
    broker = LeverageBroker(leverage=5, funding=RATE, funding_hours=hours, funding_offset=2)
    ran = run(broker, feed([FLAT] * 50), {1: lambda s: s.buy(size=10)})
    stamps = sum((hour - 2) % hours == 0 for hour in range(2, 50))  # opened at 01:00
    assert ran.broker.funding_paid() == pytest.approx(0.1 * stamps)


def test_daily_bars_settle_every_stamp_since_the_bar_before(feed: Any, run: Any) -> None:
    daily = feed([FLAT] * 6, freq="D", timeframe=bt.TimeFrame.Days, compression=1)
    ran = run(LeverageBroker(leverage=5, funding=RATE), daily, {1: lambda s: s.buy(size=10), 4: lambda s: s.close()})
    # Opened at the start of day 2, closed at that of day 5: nine stamps.
    assert ran.broker.funding_paid() == pytest.approx(0.9)


def test_bars_labelled_by_their_end_have_the_position_pay_the_stamp_at_the_end_of_its_entry_bar(
    feed: Any, run: Any
) -> None:
    # Label 08:00 is the bar from 07:00 to 08:00; the position opened in it is there at 08:00.
    plan = {8: lambda s: s.buy(size=10), 10: lambda s: s.close()}
    ends = run(LeverageBroker(leverage=5, funding=RATE, bar_label="end"), feed([FLAT] * 14), plan)
    starts = run(LeverageBroker(leverage=5, funding=RATE, bar_label="start"), feed([FLAT] * 14), plan)
    assert ends.broker.funding_paid() == pytest.approx(0.1)
    assert starts.broker.funding_paid() == 0.0
    line = run(LeverageBroker(leverage=5, bar_label="end"), feed([FLAT] * 14, funding_rate=_rates(14)), plan)
    assert line.broker.funding_paid() == pytest.approx(0.1)


def test_what_free_cash_cannot_pay_is_taken_from_the_margin_and_moves_the_liquidation_price(
    feed: Any, run: Any
) -> None:
    seen: list[tuple[float, float, float]] = []

    def look(s: Any) -> None:
        seen.append((s.broker.getcash(), s.broker.position_margin(s.data), s.broker.liquidation_price(s.data)))

    rates = np.where(np.arange(12) == 4, 0.02, 0.0)
    ran = run(
        LeverageBroker(leverage=10), feed([FLAT] * 12, funding_rate=rates),
        {1: lambda s: s.buy(size=10), 4: look, 5: look, 8: lambda s: s.close()}, cash=105.0,
    )  # fmt: skip
    assert seen[0] == pytest.approx((5.0, 100.0, 90 / 0.995))
    assert seen[1] == pytest.approx((0.0, 85.0, 91.5 / 0.995))
    assert ran.broker.getcash() == pytest.approx(85.0)
    assert ran.trades[0].pnlcomm == pytest.approx(-20.0)


def test_funding_is_settled_before_the_gap_check_of_its_bar(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, FLAT, (91, 95, 91, 95), FLAT]  # 91 is above 90.45, but not above the moved price
    rates = [0.0, 0.0, 0.0, 0.02, 0.0]
    ran = run(LeverageBroker(leverage=10), feed(rows, funding_rate=rates), {1: lambda s: s.buy(size=10)}, cash=100.0)
    record = ran.broker.liquidations[0]
    assert record.reason == "gap"
    assert record.funding == pytest.approx(0.02 * 10 * 91)
    assert ran.broker.getcash() >= 0.0
    assert ran.broker.getcash() == pytest.approx(100 + ran.trades[0].pnlcomm)


def test_a_plain_position_pays_from_cash(feed: Any, run: Any) -> None:
    plan = {1: lambda s: s.sell(size=5), 25: lambda s: s.close()}
    ran = run(LeverageBroker(funding=RATE), feed([FLAT] * 26), plan)
    assert ran.broker.getcash() == pytest.approx(1000 + 0.15)
    assert ran.broker.funding_paid() == pytest.approx(-0.15)


def test_each_closing_order_names_the_funding_it_books(feed: Any, run: Any) -> None:
    def leave(s: Any) -> None:
        s.kept["open"] = s.broker.position_funding(s.data)
        s.kept["exit"] = s.close()

    plan = {1: lambda s: s.buy(size=10), 10: lambda s: s.buy(size=1), 20: leave}
    ran = run(LeverageBroker(leverage=5, funding=RATE), feed([FLAT] * 26), plan)
    kept = ran.strategy.kept
    assert kept["open"] == kept["exit"].info["funding"] == pytest.approx(0.1 + 0.11)
    assert ran.broker.position_funding(ran.strategy.data) == 0.0


def test_a_broker_without_positions_charges_nothing_for_the_time_between(feed: Any, run: Any) -> None:
    plan = {1: lambda s: s.buy(size=10), 3: lambda s: s.close(), 40: lambda s: s.buy(size=10), 44: lambda s: s.close()}
    ran = run(LeverageBroker(leverage=5, funding=RATE), feed([FLAT] * 50), plan)
    assert ran.broker.funding_paid() == 0.0  # 40:00 is 16:00: opened at it; closed before 00:00
