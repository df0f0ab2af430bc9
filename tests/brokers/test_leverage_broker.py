"""LeverageBroker on hand-written bars: margin, liquidation, order inside the bar, notifications, refusals."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker, Liquidation
from ai_backtrader.errors import SettingsError
from ai_backtrader.market.margin import MaintenanceTiers, liquidation_price
from ai_backtrader.values import Direction

FLAT = (100.0, 100.0, 100.0, 100.0)
LIQUIDATION_10X = 90 / 0.995  # long 10 at 100, margin 100, 0.5 %


def test_margin_is_posted_and_given_back(feed: Any, run: Any) -> None:
    ran = run(
        LeverageBroker(),
        feed([FLAT] * 4 + [(110, 110, 110, 110)] * 2),
        {1: lambda s: s.buy(size=10, leverage=5), 5: lambda s: s.close()},
    )
    assert [bar[0] for bar in ran.bars] == [1000, 800, 800, 800, 800, 1100]
    assert [bar[1] for bar in ran.bars] == [1000, 1000, 1000, 1000, 1100, 1100]


def test_a_short_falls_linearly_and_never_turns_up_beyond_twice_its_entry(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (150, 150, 150, 150), (190, 190, 190, 190), (300, 300, 300, 300), (400, 400, 400, 400)]
    ran = run(LeverageBroker(), feed(rows), {1: lambda s: s.sell(size=5, leverage=1)})
    assert [bar[1] for bar in ran.bars[:4]] == [1000, 1000, 750, 550]
    # Liquidated on the gap: the margin of 500 is gone, no more.
    assert [bar[1] for bar in ran.bars[4:]] == [500, 500]
    assert ran.broker.liquidations[0].reason == "gap"


def test_a_long_is_liquidated_inside_the_bar_at_the_price_of_the_formula(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 101, 99, 100), (100, 100, 85, 88), FLAT, FLAT]
    ran = run(LeverageBroker(leverage=10), feed(rows), {1: lambda s: s.buy(size=10)})
    record = ran.broker.liquidations[0]
    assert record == Liquidation(
        bar_time=dt.datetime(2024, 1, 1, 3), data_name="d0", side=Direction.LONG, size=10.0, entry_price=100.0,
        price=record.price, leverage=10.0, margin=100.0, loss=record.loss, fee=0.0, funding=0.0, reason="bar",
    )  # fmt: skip
    assert record.price == pytest.approx(LIQUIDATION_10X, rel=1e-14)
    assert record.loss == pytest.approx(10 * (100 - LIQUIDATION_10X))
    assert ran.broker.getcash() == ran.broker.getvalue() == pytest.approx(1000 - record.loss)
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301  # our own bytes


def test_a_short_is_liquidated_inside_the_bar(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 101, 99, 100), (100, 125, 100, 120), FLAT]
    ran = run(LeverageBroker(leverage=5), feed(rows), {1: lambda s: s.sell(size=10)})
    assert ran.broker.liquidations[0].price == pytest.approx(120 / 1.005)
    assert ran.broker.liquidations[0].side is Direction.SHORT


@pytest.mark.parametrize(("opening", "fill"), [(90.2, 90.2), (50.0, 90.0)])
def test_a_gap_fills_at_the_open_but_never_beyond_the_bankruptcy_price(
    opening: float, fill: float, feed: Any, run: Any
) -> None:
    rows = [FLAT, FLAT, FLAT, (opening, 95, opening, 95), FLAT]
    ran = run(LeverageBroker(leverage=10), feed(rows), {1: lambda s: s.buy(size=10)})
    record = ran.broker.liquidations[0]
    assert (record.price, record.reason) == (fill, "gap")
    assert record.loss == pytest.approx(10 * (100 - fill))
    assert record.loss <= record.margin


def test_fee_and_commission_are_paid_out_of_what_is_left_of_the_margin(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 85, 88), FLAT]
    small = run(LeverageBroker(leverage=10, liquidation_fee=0.001), feed(rows), {1: lambda s: s.buy(size=10)},
                commission={"commission": 0.0005})  # fmt: skip
    record = small.broker.liquidations[0]
    assert record.fee == pytest.approx(0.0015 * 10 * LIQUIDATION_10X)
    large = run(LeverageBroker(leverage=10, liquidation_fee=0.02), feed(rows), {1: lambda s: s.buy(size=10)},
                commission={"commission": 0.0005})  # fmt: skip
    record = large.broker.liquidations[0]
    assert record.loss == pytest.approx(100.0, abs=1e-9)
    assert record.fee == pytest.approx(100 - 10 * (100 - LIQUIDATION_10X))
    assert large.broker.getcash() == pytest.approx(1000 - 0.5 - 100)


def test_the_fee_can_count_into_the_maintenance_margin(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 85, 88), FLAT]
    broker = LeverageBroker(leverage=10, liquidation_fee=0.01, fee_in_maintenance=True)
    ran = run(broker, feed(rows), {1: lambda s: s.buy(size=10)})
    assert ran.broker.liquidations[0].price == pytest.approx(90 / (1 - 0.005 - 0.01))


def test_everybody_is_told_once_and_nothing_is_left_behind(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, FLAT, (100, 100, 80, 95), (95, 130, 70, 100), FLAT]

    def enter(s: Any) -> None:
        s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=85, limitprice=120)
        s.kept["resting"] = s.sell(size=3, exectype=bt.Order.Limit, price=200)

    ran = run(LeverageBroker(leverage=10), feed(rows), {1: enter})
    strategy = ran.strategy
    assert [liquidation.reason for liquidation in strategy.told] == ["bar"]
    assert strategy.told == ran.broker.liquidations
    assert strategy.statuses(1) == ["Submitted", "Accepted", "Canceled"]
    assert strategy.statuses(2) == ["Submitted", "Accepted", "Canceled"]
    assert strategy.statuses(3) == ["Submitted", "Accepted", "Canceled"]
    assert strategy.statuses(4) == ["Accepted", "Completed"]
    assert len(ran.trades) == 1
    assert ran.trades[0].pnlcomm == pytest.approx(-ran.broker.liquidations[0].loss)
    assert not ran.broker.pending
    assert ran.broker.getcash() == pytest.approx(1000 + ran.trades[0].pnlcomm)
    # The record comes with the bar's notifications, before the strategy's next().
    assert strategy.heard[-4:] == ["liquidation", "order", "order", "trade"] or "liquidation" in strategy.heard


def test_the_liquidation_order_says_what_it_is(feed: Any, run: Any, scripted: Any) -> None:
    class Watching(scripted):  # type: ignore[misc]
        def notify_order(self, order: Any) -> None:
            super().notify_order(order)
            if order.info.get("liquidation"):
                self.kept.setdefault("seen", []).append((order.status, order.info["liquidation_reason"]))

    rows = [FLAT, FLAT, (100, 100, 80, 95), FLAT]
    ran = run(LeverageBroker(leverage=10), feed(rows), {1: lambda s: s.buy(size=10)}, strategy=Watching)
    assert ran.strategy.kept["seen"] == [(bt.Order.Accepted, "bar"), (bt.Order.Completed, "bar")]


def test_a_bracket_is_unprotected_on_its_entry_bar_but_not_from_liquidation(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 80, 95), (95, 130, 70, 100), FLAT]
    ran = run(
        LeverageBroker(leverage=10), feed(rows),
        {2: lambda s: s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=95, limitprice=120)},
    )  # fmt: skip
    assert ran.broker.liquidations[0].bar_time == dt.datetime(2024, 1, 1, 2)
    assert not ran.broker.pending
    assert ran.broker.getposition(ran.strategy.data).size == 0


@pytest.mark.parametrize(
    ("stop", "bar", "wins"),
    [
        (95.0, (100, 100, 80, 95), "stop"),
        (91.0, (100, 100, 80, 95), "stop"),
        (LIQUIDATION_10X, (100, 100, 80, 95), "liquidation"),
        (85.0, (100, 100, 80, 95), "liquidation"),
        (95.0, (93, 96, 80, 95), "stop at the open"),
        (95.0, (90.2, 96, 80, 95), "liquidation"),
    ],
)
def test_the_nearer_of_stop_and_liquidation_wins(stop: float, bar: Any, wins: str, feed: Any, run: Any) -> None:
    ran = run(
        LeverageBroker(leverage=10), feed([FLAT, FLAT, FLAT, bar, FLAT]),
        {1: lambda s: s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=stop, limitprice=120)},
    )  # fmt: skip
    price = ran.trades[0].pnl / 10 + 100
    if wins == "liquidation":
        assert len(ran.broker.liquidations) == 1
    else:
        assert not ran.broker.liquidations
        assert price == pytest.approx(93 if wins == "stop at the open" else stop)
    assert len(ran.trades) == 1


def test_a_take_profit_in_the_bar_of_the_liquidation_comes_too_late_unless_it_fills_at_the_open(
    feed: Any, run: Any
) -> None:
    def enter(s: Any) -> None:
        s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=50, limitprice=110)

    late = run(LeverageBroker(leverage=10), feed([FLAT, FLAT, FLAT, (100, 120, 80, 100), FLAT]), {1: enter})
    assert len(late.broker.liquidations) == 1
    early = run(LeverageBroker(leverage=10), feed([FLAT, FLAT, FLAT, (112, 120, 80, 100), FLAT]), {1: enter})
    assert not early.broker.liquidations
    assert early.trades[0].pnl == pytest.approx(120)


def test_a_close_sent_before_a_gap_is_cancelled_and_reverses_nothing(feed: Any, run: Any) -> None:
    ran = run(
        LeverageBroker(leverage=10), feed([FLAT, FLAT, FLAT, (80, 85, 75, 80), FLAT, FLAT]),
        {1: lambda s: s.buy(size=10), 3: lambda s: s.close()},
    )  # fmt: skip
    assert ran.strategy.statuses(1) == ["Submitted", "Canceled"]
    assert ran.broker.getposition(ran.strategy.data).size == 0
    assert ran.broker.liquidations[0].price == 90.0


def test_the_mark_price_triggers_and_prices_the_liquidation(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 70, 100), (100, 100, 95, 100), FLAT]
    marks = {
        "mark_open": [100, 100, 100, 100, 100], "mark_high": [100] * 5,
        "mark_low": [100, 100, 95, 90, 100], "mark_close": [100, 100, 99, 98, 100],
    }  # fmt: skip
    ran = run(LeverageBroker(leverage=10), feed(rows, **marks), {1: lambda s: s.buy(size=10)})
    assert [record.bar_time.hour for record in ran.broker.liquidations] == [3]
    last = run(LeverageBroker(leverage=10, trigger="last"), feed(rows, **marks), {1: lambda s: s.buy(size=10)})
    assert [record.bar_time.hour for record in last.broker.liquidations] == [2]
    # A NaN in the mark falls back to the last price.
    marks["mark_low"][2] = float("nan")
    ran = run(LeverageBroker(leverage=10), feed(rows, **marks), {1: lambda s: s.buy(size=10)})
    assert [record.bar_time.hour for record in ran.broker.liquidations] == [2]


def test_a_stop_on_the_last_price_never_costs_more_than_the_margin(feed: Any, run: Any) -> None:
    # The last price crashes through everything, the mark stays: the stop fills, at worst at the bankruptcy price.
    rows = [FLAT, FLAT, FLAT, (60, 100, 50, 55), (55, 55, 55, 55)]
    marks = {f"mark_{name}": [100.0] * 5 for name in ("open", "high", "low", "close")}
    ran = run(
        LeverageBroker(leverage=10), feed(rows, **marks),
        {1: lambda s: s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=98, limitprice=120)}, cash=100.0,
    )  # fmt: skip
    assert not ran.broker.liquidations
    assert ran.trades[0].pnl == pytest.approx(-100.0)
    assert ran.broker.getcash() == 0.0
    held = run(LeverageBroker(leverage=10), feed(rows, **marks), {1: lambda s: s.buy(size=10)}, cash=100.0)
    assert min(bar[1] for bar in held.bars) == 0.0


def test_the_entry_bar_of_a_limit_order_counts_and_that_of_a_close_order_does_not(feed: Any, run: Any) -> None:
    rows = [FLAT, (100, 100, 80, 92), (92, 95, 91, 92), FLAT]
    limit = run(
        LeverageBroker(leverage=10), feed(rows), {1: lambda s: s.buy(size=5, exectype=bt.Order.Limit, price=95)}
    )  # fmt: skip
    assert [record.bar_time.hour for record in limit.broker.liquidations] == [1]
    close = run(
        LeverageBroker(leverage=10), feed(rows, sessionend=dt.time(1, 0)),
        {1: lambda s: s.buy(size=5, exectype=bt.Order.Close)},
    )  # fmt: skip
    assert close.strategy.statuses(0)[-1] == "Completed"
    assert not close.broker.liquidations


def test_the_entry_bar_of_a_stop_order_is_judged_pessimistically_unless_the_open_explains_it(
    feed: Any, run: Any
) -> None:
    def enter(leverage: float) -> Any:
        return {1: lambda s: s.buy(size=1, exectype=bt.Order.Stop, price=105, leverage=leverage)}

    ambiguous = [FLAT, (100, 106, 90, 105), (105, 105, 105, 105)]
    assert len(run(LeverageBroker(), feed(ambiguous), enter(10)).broker.liquidations) == 1  # 94.97, low 90
    # At 50x the liquidation price 103.4 lies above the open, which came before the entry: only the close counts.
    alive = [FLAT, (100, 106, 99.5, 105), (105, 105, 105, 105)]
    assert not run(LeverageBroker(), feed(alive), enter(50)).broker.liquidations
    dead = [FLAT, (100, 106, 99.5, 103), (105, 105, 105, 105)]
    record = run(LeverageBroker(), feed(dead), enter(50)).broker.liquidations[0]
    assert record.price == pytest.approx(105 * 0.98 / 0.995)


def test_additions_post_their_own_margin_and_reductions_free_it_in_proportion(feed: Any, run: Any) -> None:
    seen: list[tuple[float, float, float]] = []

    def look(s: Any) -> None:
        broker = s.broker
        seen.append((broker.position_margin(s.data), broker.get_position_leverage(s.data), broker.getcash()))

    rows = [FLAT, FLAT, (100, 100, 100, 110), (110, 110, 110, 110), (110,) * 4, (110,) * 4, (110,) * 4, (110,) * 4]
    ran = run(
        LeverageBroker(), feed(rows),
        {
            1: lambda s: s.buy(size=10, leverage=5),
            2: look,
            3: lambda s: s.buy(size=10, leverage=11),
            4: look,
            5: lambda s: s.sell(size=5),
            6: look,
            7: lambda s: s.close(),
        },
    )  # fmt: skip
    assert seen[0] == pytest.approx((200, 5, 800))
    assert seen[1] == pytest.approx((300, 2100 / 300, 700))
    assert seen[2] == pytest.approx((225, 7, 700 + 75 + 5 * (110 - 105)))
    assert ran.broker.getcash() == pytest.approx(1100)


def test_an_addition_without_leverage_keeps_the_positions(feed: Any, run: Any) -> None:
    ran = run(LeverageBroker(), feed([FLAT] * 5), {1: lambda s: s.buy(size=10, leverage=5), 2: lambda s: s.buy(size=5)})
    assert ran.broker.get_position_leverage(ran.strategy.data) == 5.0
    assert ran.broker.position_margin(ran.strategy.data) == 300.0


@pytest.mark.parametrize(("new", "expected"), [(4.0, 4.0), (None, 10.0)])
def test_a_reversal_in_one_order_takes_the_orders_leverage_or_keeps_the_positions(
    new: float | None, expected: float, feed: Any, run: Any
) -> None:
    ran = run(
        LeverageBroker(), feed([FLAT, FLAT, (100, 100, 100, 105), (105,) * 4, (105,) * 4]),
        {1: lambda s: s.buy(size=10, leverage=10), 3: lambda s: s.sell(size=30, leverage=new)},
    )  # fmt: skip
    data = ran.strategy.data
    assert ran.broker.getposition(data).size == -20
    assert ran.broker.get_position_leverage(data) == expected
    assert ran.broker.position_margin(data) == pytest.approx(20 * 105 / expected)
    assert ran.broker.getvalue() == pytest.approx(1050)
    assert ran.trades[0].pnl == pytest.approx(50)


def test_a_plain_position_reversed_with_leverage_becomes_margined(feed: Any, run: Any) -> None:
    for shortcash in (True, False):
        ran = run(
            LeverageBroker(shortcash=shortcash), feed([FLAT, FLAT, (110,) * 4, (110,) * 4, (110,) * 4]),
            {1: lambda s: s.buy(size=5), 3: lambda s: s.sell(size=15, leverage=10)},
        )  # fmt: skip
        assert ran.broker.position_margin(ran.strategy.data) == pytest.approx(110)
        assert ran.broker.getvalue() == pytest.approx(1050)
        assert ran.broker.getcash() == pytest.approx(940)


def test_leverage_cannot_be_added_to_a_plain_position(feed: Any, run: Any) -> None:
    ran = run(LeverageBroker(), feed([FLAT] * 5), {1: lambda s: s.buy(size=2), 2: lambda s: s.buy(size=2, leverage=5)})
    assert ran.strategy.statuses(1)[-1] == "Margin"
    assert ran.broker.rejections == {"plain position": 1}


@pytest.mark.parametrize("name", ["buy", "sell"])
def test_orders_above_the_margin_are_refused_on_both_sides_counted_and_explained(
    name: str, feed: Any, run: Any
) -> None:
    kept: dict[str, Any] = {}
    plan = {1: lambda s: kept.update(order=getattr(s, name)(size=101))}
    ran = run(LeverageBroker(leverage=10), feed([FLAT] * 4), plan)
    assert kept["order"].status == bt.Order.Margin
    assert kept["order"].info["reject_reason"] == "cash"
    assert ran.broker.rejections == {"cash": 1}


def test_the_tiers_leverage_caps_the_order(feed: Any, run: Any) -> None:
    tiers = MaintenanceTiers([(0, 500, 0.01, 0, 20), (500, 2000, 0.05, None, 5)])
    kept: dict[str, Any] = {}
    broker = LeverageBroker(tiers={"d0": tiers})
    plan = {1: lambda s: kept.update(big=s.buy(size=6, leverage=10), small=s.buy(size=6, leverage=5))}
    ran = run(broker, feed([FLAT] * 4), plan)
    assert kept["big"].status == bt.Order.Margin
    assert "above 5 for a notional of 600" in kept["big"].info["reject_reason"]
    assert kept["small"].status == bt.Order.Completed
    assert ran.broker.max_leverage_for(ran.strategy.data, 400) == 20
    assert ran.broker.max_leverage_for(ran.strategy.data, 3000) == 0
    assert ran.broker.liquidation_price(ran.strategy.data) == pytest.approx(
        liquidation_price(side="long", entry_price=100, size=6, margin=120, tiers=tiers)
    )


def test_margin_that_does_not_cover_the_maintenance_margin_opens_nothing(feed: Any, run: Any) -> None:
    broker = LeverageBroker(tiers=MaintenanceTiers.flat(0.02))
    ran = run(broker, feed([FLAT] * 4), {1: lambda s: s.buy(size=1, leverage=60)})
    assert ran.broker.rejections == {"maintenance": 1}


def test_a_refused_order_leaves_no_trace_in_the_cash_of_the_next(feed: Any, run: Any) -> None:
    plan = {1: lambda s: (s.buy(size=5000), s.buy(size=10))}
    ran = run(LeverageBroker(leverage=10), feed([FLAT] * 4), plan)
    assert ran.strategy.statuses(0)[-1] == "Margin"
    assert ran.strategy.statuses(1)[-1] == "Completed"


@pytest.mark.parametrize("wrong", [0.5, 126.0, float("nan"), "ten"])
def test_a_leverage_out_of_range_is_an_error_at_the_call(wrong: Any, feed: Any, run: Any) -> None:
    with pytest.raises(SettingsError, match="leverage must be"):
        run(LeverageBroker(), feed([FLAT] * 4), {1: lambda s: s.buy(size=1, leverage=wrong)})


def test_a_prepared_leverage_serves_the_next_opening_order_only(feed: Any, run: Any) -> None:
    def first(s: Any) -> None:
        s.broker.prepare_leverage(s.data, 4)
        s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=50, limitprice=200)

    def second(s: Any) -> None:
        s.broker.prepare_leverage(s.data, 8)
        s.close()

    ran = run(LeverageBroker(), feed([FLAT] * 8), {1: first, 4: second, 6: lambda s: s.sell(size=10)})
    data = ran.strategy.data
    assert ran.bars[2][0] == 750
    assert ran.broker.get_position_leverage(data) == 8  # the closing order did not take it
    assert ran.broker.position_margin(data) == 125


def test_a_veto_rejects_the_next_opening_order_with_its_bracket(feed: Any, run: Any) -> None:
    def vetoed(s: Any) -> None:
        s.broker.prepare_veto(s.data, "risk")
        s.kept["bracket"] = s.buy_bracket(size=1, exectype=bt.Order.Market, stopprice=90, limitprice=110)

    ran = run(LeverageBroker(leverage=2), feed([FLAT] * 5), {1: vetoed, 2: lambda s: s.buy(size=1)})
    assert [order.status for order in ran.strategy.kept["bracket"]] == [bt.Order.Rejected] * 3
    assert ran.broker.rejections == {"risk": 1}
    assert ran.broker.getposition(ran.strategy.data).size == 1


def test_sizes_round_down_to_the_lot_and_orders_below_the_minimum_are_rejected(feed: Any, run: Any) -> None:
    broker = LeverageBroker(leverage=2)
    broker.set_instrument("d0", lot_step=0.1, min_size=0.2, min_notional=25.0)
    plan = {
        1: lambda s: s.buy(size=0.3 + 0.1 - 0.1),
        2: lambda s: s.buy(size=0.29),
        3: lambda s: s.buy(size=0.19),
        4: lambda s: s.buy(size=0.24),
        5: lambda s: s.sell(size=0.5 + 0.37),
        6: lambda s: s.sell(size=0.09),
        7: lambda s: s.buy(size=0.05),
    }
    ran = run(broker, feed([FLAT] * 9), plan)
    assert [order[3] for order in ran.orders if order[2] == "Completed"] == pytest.approx([0.3, -0.8, 0.05])
    assert [entry[2] for entry in ran.orders].count("Rejected") == 4
    assert ran.broker.rejections == {"minimum notional": 2, "minimum size": 1, "lot step": 1}


def test_targets_in_value_and_percent_are_met_exactly_and_do_not_oscillate(feed: Any, run: Any) -> None:
    dear = (95_000.0,) * 4
    targets = {1: 0.2, 3: -0.2, 5: -0.5, 7: 0.0}
    plan = {bar: (lambda s, t=target: s.order_target_percent(target=t)) for bar, target in targets.items()}
    ran = run(LeverageBroker(leverage=10), feed([dear] * 9), plan)
    assert [bar[3] * 95_000 for bar in ran.bars] == pytest.approx([0, 200, 200, -200, -200, -500, -500, 0, 0])
    again = {bar: (lambda s: s.order_target_percent(target=0.2)) for bar in range(1, 7)}
    ran = run(LeverageBroker(leverage=10), feed([FLAT] * 8), again)
    assert [bar[3] for bar in ran.bars] == pytest.approx([0] + [2.0] * 7)


def test_the_margin_ratio_is_nought_at_entry_one_at_liquidation_and_half_way_between(feed: Any, run: Any) -> None:
    seen: list[tuple[float, float]] = []

    def look(s: Any) -> None:
        seen.append((s.broker.margin_ratio(s.data), s.broker.maintenance_ratio(s.data)))

    middle = (100 + LIQUIDATION_10X) / 2
    close_by = LIQUIDATION_10X * (1 + 1e-12)
    rows = [FLAT, FLAT, (100, 100, middle, middle), (middle, middle, close_by, close_by), FLAT]
    run(LeverageBroker(leverage=10), feed(rows), {1: lambda s: s.buy(size=10), 2: look, 3: look, 4: look})
    assert [ratio for ratio, _ in seen] == pytest.approx([0.0, 0.5, 1.0], abs=1e-9)
    assert seen[0][1] == pytest.approx(0.05)
    assert seen[2][1] == pytest.approx(1.0)


def test_queries_on_a_flat_or_plain_feed_have_neutral_answers(feed: Any, run: Any) -> None:
    ran = run(LeverageBroker(), feed([FLAT] * 4), {1: lambda s: s.buy(size=2)})
    broker, data = ran.broker, ran.strategy.data
    assert broker.liquidation_price(data) is None
    assert broker.bankruptcy_price(data) is None
    assert (broker.margin_ratio(data), broker.maintenance_ratio(data)) == (0.0, 0.0)
    assert (broker.get_position_leverage(data), broker.position_margin(data)) == (1.0, 200.0)
    assert broker.funding_paid() == broker.funding_paid(data) == 0.0


def test_a_default_leverage_margins_every_order_and_setcommission_goes_before_it(feed: Any, run: Any) -> None:
    ran = run(LeverageBroker(leverage=3), feed([FLAT] * 4), {1: lambda s: s.sell(size=3)})
    assert ran.broker.position_margin(ran.strategy.data) == pytest.approx(100)
    ran = run(
        LeverageBroker(leverage=3), feed([FLAT] * 4), {1: lambda s: s.sell(size=3)}, commission={"leverage": 6.0}
    )  # fmt: skip
    assert ran.broker.position_margin(ran.strategy.data) == pytest.approx(50)
    ran = run(LeverageBroker(margin_always=True), feed([FLAT] * 4), {1: lambda s: s.sell(size=3)})
    assert ran.broker.position_margin(ran.strategy.data) == pytest.approx(300)


def test_wrong_settings_are_told_together() -> None:
    with pytest.raises(SettingsError, match="4 faults"):
        LeverageBroker(leverage=200, margin_mode="both", funding_hours=0, tiers=[1])
    with pytest.raises(SettingsError, match="got True"):
        LeverageBroker(funding=True)


def test_plain_and_margined_positions_live_side_by_side(feed: Any, run: Any) -> None:
    bars = [FLAT, FLAT, (100, 100, 90, 90), (90,) * 4, (90,) * 4, (90,) * 4]

    def enter(s: Any) -> None:
        s.buy(data=s.data0, size=4)
        s.sell(data=s.data1, size=8, leverage=4)

    def leave(s: Any) -> None:
        s.close(data=s.data0)
        s.close(data=s.data1)

    ran = run(LeverageBroker(), [feed(bars), feed(bars)], {1: enter, 4: leave})
    assert [bar[0] for bar in ran.bars] == [1000, 400, 400, 400, 1040, 1040]
    assert [bar[1] for bar in ran.bars] == [1000, 1000, 1040, 1040, 1040, 1040]


def test_cash_is_the_start_plus_the_trades_over_random_runs_with_everything_on(
    feed: Any, run: Any, random_bars: Any, scripted: Any
) -> None:
    class Gambler(scripted):  # type: ignore[misc]
        params = (("seed", 0),)

        def next(self) -> None:
            super().next()
            rng = self.kept.setdefault("rng", np.random.default_rng(self.p.seed))
            close, held = self.data.close[0], self.position.size
            if not held and rng.random() < 0.3:
                leverage = float(rng.choice([1, 2, 5, 10, 25, 50, 100]))
                size = self.broker.getcash() * 0.3 * leverage / close
                up = rng.random() < 0.5
                sign = 1 if up else -1
                (self.buy_bracket if up else self.sell_bracket)(
                    size=size, exectype=bt.Order.Market, leverage=leverage,
                    stopprice=close * (1 - sign * rng.choice([0.01, 0.05, 0.3])),
                    limitprice=close * (1 + sign * rng.choice([0.01, 0.05, 0.3])),
                )  # fmt: skip
            elif held and rng.random() < 0.2:
                draw = rng.random()
                send = self.sell if held > 0 else self.buy
                if draw < 0.4:
                    self.close()
                elif draw < 0.6:
                    send(size=abs(held) / 3)
                elif draw < 0.8:
                    send(size=abs(held) * 1.5, leverage=float(rng.choice([2, 20])))
                else:
                    (self.buy if held > 0 else self.sell)(size=abs(held) / 2, leverage=3.0)

    total = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        columns = random_bars(rng, 500, sigma=0.012)
        rates = np.where(np.arange(500) % 8 == 0, rng.normal(0, 0.002, 500), 0.0)
        broker = LeverageBroker(liquidation_fee=0.005)
        ran = run(
            broker, feed(columns, funding_rate=rates), strategy=Gambler, params={"seed": seed}, cash=10_000.0,
            commission={"commission": 0.0005},
        )  # fmt: skip
        total += len(broker.liquidations)
        assert min(min(bar[0], bar[1]) for bar in ran.bars) >= -1e-9
        for record in broker.liquidations:
            assert record.loss <= record.margin * (1 + 1e-12)
        if not broker.getposition(ran.strategy.data).size:
            closed = sum(trade.pnlcomm for trade in ran.trades)
            assert broker.getcash() == pytest.approx(10_000 + closed, abs=1e-6)
    assert total > 100


def test_the_broker_pickles_before_and_after_a_run(feed: Any, run: Any) -> None:
    fresh = pickle.loads(pickle.dumps(LeverageBroker(leverage=3, tiers=MaintenanceTiers.flat(0.01))))  # noqa: S301
    ran = run(fresh, feed([FLAT] * 4), {1: lambda s: s.buy(size=3)})
    assert ran.broker.position_margin(ran.strategy.data) == pytest.approx(100)
