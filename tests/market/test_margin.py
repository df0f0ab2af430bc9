"""Tiers, liquidation price, bankruptcy price, margin ratio."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_backtrader.errors import SettingsError
from ai_backtrader.market.margin import (
    MaintenanceTiers,
    bankruptcy_price,
    liquidation_price,
    maintenance_ratio,
    margin_ratio,
)
from ai_backtrader.values import Direction

ROWS = [
    (0, 50_000, 0.004, 0, 125),
    (50_000, 250_000, 0.005, 50, 100),
    (250_000, 1_000_000, 0.01, 1_300, 50),
    (1_000_000, 10_000_000, 0.025, 16_300, 20),
    (10_000_000, 20_000_000, 0.05, 266_300, 10),
    (20_000_000, 50_000_000, 0.1, 1_266_300, 5),
    (50_000_000, 100_000_000, 0.125, 2_516_300, 4),
    (100_000_000, 200_000_000, 0.15, 5_016_300, 3),
    (200_000_000, 300_000_000, 0.25, 25_016_300, 2),
    (300_000_000, 500_000_000, 0.5, 100_016_300, 1),
]
TIERS = MaintenanceTiers(ROWS)


def _maintenance_by_scan(notional: float) -> float:
    """Marginal sum, as a tax is computed: each slice of the notional at the rate of its row, the last without end."""
    owed = 0.0
    for number, (floor, cap, rate, _, _) in enumerate(ROWS):
        end = math.inf if number == len(ROWS) - 1 else cap
        owed += rate * max(0.0, min(notional, end) - floor)
    return owed


@given(notional=st.floats(0.0, 5e8))
def test_the_maintenance_margin_is_the_sum_over_the_slices_of_the_notional(notional: float) -> None:
    assert TIERS.maintenance(notional) == pytest.approx(_maintenance_by_scan(notional), rel=1e-12, abs=1e-6)


def test_amounts_left_out_are_computed_so_that_the_maintenance_margin_is_continuous() -> None:
    open_amounts = MaintenanceTiers([(*row[:3], None, row[4]) for row in ROWS])
    assert open_amounts.amounts == pytest.approx(TIERS.amounts, rel=1e-12)
    assert hash(MaintenanceTiers(ROWS)) == hash(TIERS)
    assert MaintenanceTiers(ROWS) == TIERS


def test_a_cap_belongs_to_the_row_below_it_and_nothing_may_be_opened_above_the_last() -> None:
    assert TIERS.max_leverage(50_000) == 125
    assert TIERS.max_leverage(50_000.01) == 100
    assert TIERS.max_leverage(6e8) == 0.0
    assert TIERS.rate_and_amount(6e8) == (0.5, 100_016_300)
    assert TIERS.rate_and_amount(300_000) == (0.01, 1_300)


def test_the_flat_table_has_one_rate() -> None:
    flat = MaintenanceTiers.flat(0.005)
    assert flat.rate_and_amount(1e12) == (0.005, 0.0)
    assert flat.max_leverage(1e12) == 125.0


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_equity_equals_maintenance_at_the_liquidation_price_in_every_tier(side: str, row: int) -> None:
    sign = 1 if side == "long" else -1
    floor, cap, _, _, top = ROWS[row]
    rng = np.random.default_rng([row, sign + 1])
    checked = reached = 0
    while checked < 300:
        target = rng.uniform(max(floor, 0.01 * cap), cap)  # notional at the liquidation
        price = float(10.0 ** rng.uniform(-4, 5))
        size = target / price
        entry = price * (1 + sign * rng.uniform(0.001, 0.8))
        margin = _maintenance_by_scan(target) + sign * size * (entry - price)
        if entry <= 0 or margin <= 0:
            continue
        checked += 1
        found = liquidation_price(side=side, entry_price=entry, size=size, margin=margin, tiers=TIERS)
        assert found is not None
        equity = margin + sign * size * (found - entry)
        assert equity == pytest.approx(_maintenance_by_scan(size * found), abs=1e-9 * size * max(found, entry))
        assert found == pytest.approx(price, rel=1e-9)
        reached += TIERS.row(size * found).max_leverage == top
    assert reached >= 299


@given(
    entry=st.floats(1e-6, 1e6),
    notional=st.floats(1.0, 4e8),
    leverage=st.floats(1.0, 125.0),
    long=st.booleans(),
    fee=st.sampled_from([0.0, 0.0005, 0.01]),
)
def test_the_position_is_alive_before_the_liquidation_price_and_dead_after_it(
    entry: float, notional: float, leverage: float, long: bool, fee: float
) -> None:
    size, sign = notional / entry, 1 if long else -1
    margin = notional / leverage
    found = liquidation_price(
        side=Direction.LONG if long else Direction.SHORT, entry_price=entry, size=size, margin=margin, tiers=TIERS,
        fee_rate=fee,
    )  # fmt: skip

    def buffer(price: float) -> float:
        value = size * price
        return margin + sign * size * (price - entry) - _maintenance_by_scan(value) - fee * value

    if found is None:
        assert long
        assert buffer(entry * 1e-9) >= -1e-9 * notional
        return
    assert buffer(found) == pytest.approx(0.0, abs=1e-9 * size * max(found, entry))
    step = sign * 1e-6 * max(found, entry)
    assert buffer(found + step) > 0
    assert buffer(found - step) < 0


def test_the_tier_is_taken_at_the_liquidation_price_not_at_the_entry() -> None:
    # Entry notional 60,000 (rate 0.5 %), but at the liquidation price the notional is below 50,000 (rate 0.4 %).
    found = liquidation_price(side="BUY", entry_price=60_000, size=1, margin=12_000, tiers=TIERS)
    assert found == pytest.approx(48_000 / 0.996)
    assert found != pytest.approx((48_000 - 50) / 0.995)


def test_leverage_one_leaves_a_long_unliquidated_and_a_short_near_twice_its_entry() -> None:
    flat = MaintenanceTiers.flat(0.005)
    assert liquidation_price(side="long", entry_price=100, size=3, margin=300, tiers=flat) is None
    assert liquidation_price(side="short", entry_price=100, size=3, margin=300, tiers=flat) == pytest.approx(
        200 / 1.005
    )


def test_the_bankruptcy_price_is_where_the_margin_is_gone() -> None:
    assert bankruptcy_price(side="LONG", entry_price=100, size=10, margin=100) == 90.0
    assert bankruptcy_price(side="sell", entry_price=100, size=10, margin=100) == 110.0
    assert bankruptcy_price(side="long", entry_price=100, size=1, margin=150) == 0.0


def test_the_margin_ratio_runs_from_nought_at_entry_to_one_at_liquidation() -> None:
    def at(equity: float) -> float:
        return margin_ratio(equity=equity, maintenance=5.0, equity_at_entry=105.0, maintenance_at_entry=5.0)

    assert (at(105.0), at(55.0), at(5.0)) == (0.0, 0.5, 1.0)
    assert (at(200.0), at(-50.0)) == (0.0, 1.0)
    assert margin_ratio(equity=5.0, maintenance=5.0, equity_at_entry=5.0, maintenance_at_entry=5.0) == 1.0
    assert maintenance_ratio(equity=50.0, maintenance=5.0) == pytest.approx(0.1)
    assert maintenance_ratio(equity=0.0, maintenance=5.0) == math.inf


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row"),
        ([(0, 10, 0.01, 0)], "row 0 must have 5 entries"),
        ([(5, 10, 0.01, 0, 10)], "notional_floor must be 0"),
        ([(0, 10, 0.01, 0, 10), (11, 20, 0.02, None, 5)], "row 1 notional_floor must be 10"),
        ([(0, 0, 0.01, 0, 10)], "notional_cap must exceed its floor"),
        ([(0, 10, 0.02, 0, 10), (10, 20, 0.01, None, 5)], "maintenance_rate must not fall"),
        ([(0, 10, 0.01, 0, 10), (10, 20, 0.02, None, 50)], "max_leverage must not exceed 10"),
        ([(0, 10_000, 0.01, 0, 10), (10_000, 20_000, 0.02, 7.0, 5)], "maintenance_amount must be 100"),
        ([(0, 10, 1.0, 0, 10)], "fraction below 1"),
        ([(0, 10, "much", 0, 10)], "maintenance_rate must be a number"),
        ([(0, 10, float("nan"), 0, 10)], "maintenance_rate must be finite"),
        ([(0, 10, 0.01, 0, 0.5)], "max_leverage must be at least 1"),
    ],
)
def test_a_faulty_table_is_refused(rows: list[tuple[float, ...]], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        MaintenanceTiers(rows)


def test_all_faults_of_a_table_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match="3 faults"):
        MaintenanceTiers([(0, 10, 0.02, 0, 10), (11, 20, 0.01, None, 50)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": "flat"}, "side must be long or short"),
        ({"side": "up"}, "expected BUY"),
        ({"entry_price": 0.0}, "entry_price must be greater than 0"),
        ({"size": -1.0}, "size must be greater than 0"),
        ({"margin": float("nan")}, "margin must be finite"),
        ({"fee_rate": -0.1}, "fee_rate must be at least 0"),
        ({"fee_rate": 0.6}, "must stay below 1"),
    ],
)
def test_a_faulty_position_is_refused(changes: dict[str, object], message: str) -> None:
    arguments = {"side": "long", "entry_price": 100.0, "size": 1.0, "margin": 10.0, "tiers": TIERS} | changes
    with pytest.raises(SettingsError, match=message):
        liquidation_price(**arguments)  # type: ignore[arg-type]  # wrong on purpose
