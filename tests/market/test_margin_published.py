"""Worked examples that the exchanges publish, reproduced to the printed digit."""

from __future__ import annotations

import pytest

from ai_backtrader.market.margin import MaintenanceTiers, bankruptcy_price, liquidation_price

# Binance, "How to Calculate Liquidation Price of USD-M Futures Contracts",
# www.binance.com/en/support/faq/b3c689c1f50a44cabb3a84e663b81d93: the example account of that page, a wallet of
# 1,535,443.01 USDT with two long positions (its figures are also kept in the tests of github.com/freqtrade/freqtrade,
# tests/exchange/test_binance.py). Of each tier table only the rows in play are needed.
WALLET = 1_535_443.01
BTC_TIERS = [
    (0, 50_000, 0.004, 0, 125),
    (50_000, 250_000, 0.005, 50, 100),
    (250_000, 1_000_000, 0.01, 1_300, 50),
    (1_000_000, 10_000_000, 0.025, 16_300, 20),
]


def _one_tier(rate: float, amount: float) -> MaintenanceTiers:
    """A table whose second row, in force from a notional of 1,000, has the rate and amount printed in an example."""
    floor = 1_000.0
    before = rate - amount / floor
    if before >= 0.0:
        return MaintenanceTiers([(0, floor, before, 0, 125), (floor, 1e12, rate, amount, 125)])
    floor = amount / rate
    return MaintenanceTiers([(0, floor, 0.0, 0, 125), (floor, 1e12, rate, amount, 125)])


@pytest.mark.parametrize(
    ("size", "entry", "rate", "amount", "printed"),
    [(3683.979, 1456.84, 0.10, 135_365.0, 1114.78), (109.488, 32481.98, 0.025, 16_300.0, 18778.73)],
)
def test_binance_one_position_on_the_whole_wallet(
    size: float, entry: float, rate: float, amount: float, printed: float
) -> None:
    found = liquidation_price(
        side="long", entry_price=entry, size=size, margin=WALLET, tiers=_one_tier(rate, amount)
    )  # fmt: skip
    assert round(found or 0.0, 2) == printed


def test_binance_cross_margin_with_two_positions() -> None:
    eth = {"size": 3683.979, "entry_price": 1456.84}
    btc = {"size": 109.488, "entry_price": 32481.98}
    eth_tiers, btc_tiers = _one_tier(0.10, 135_365.0), MaintenanceTiers(BTC_TIERS)
    # Marks of the example: 1,335.18 and 31,967.27; the page prints the other contract's maintenance margin and profit.
    eth_owed, btc_owed = eth_tiers.maintenance(3683.979 * 1335.18), btc_tiers.maintenance(109.488 * 31967.27)
    assert (round(eth_owed, 3), round(btc_owed, 5)) == (356_512.508, 71_200.81144)
    eth_profit, btc_profit = 3683.979 * (1335.18 - 1456.84), 109.488 * (31967.27 - 32481.98)
    assert (round(eth_profit, 2), round(btc_profit, 2)) == (-448_192.89, -56_354.57)
    first = liquidation_price(side="long", margin=WALLET - btc_owed + btc_profit, tiers=eth_tiers, **eth)
    second = liquidation_price(side="long", margin=WALLET - eth_owed + eth_profit, tiers=btc_tiers, **btc)
    assert (round(first or 0.0, 2), round(second or 0.0, 2)) == (1153.26, 26316.89)


def test_binance_wallet_of_500_behind_a_long_of_1000() -> None:
    # Binance, "How to avoid liquidation", binance.com/en/support/faq/25edcd7fe0e544839d0847b8cbb2e400: wallet 500 USDT,
    # long BTCUSDT worth 1,000 USDT at 50,000: 25,100.40.
    found = liquidation_price(
        side="long", entry_price=50_000, size=0.02, margin=500, tiers=MaintenanceTiers(BTC_TIERS)
    )  # fmt: skip
    assert round(found or 0.0, 2) == 25_100.40


def test_binance_maintenance_amounts_by_its_own_formula() -> None:
    # Same page: "Maintenance Amount on Level 3 = 250,000 * (1% - 0.5%) + 50 USDT = 1,300 USDT"; 264,000 USDT is at 1 %.
    tiers = MaintenanceTiers([(*row[:3], None, row[4]) for row in BTC_TIERS])
    assert tiers.rate_and_amount(264_000) == (0.01, pytest.approx(1_300))
    assert tiers.rate_and_amount(500_000)[1] == pytest.approx(1_300)


def test_bybit_usdt_contract_long() -> None:
    # Bybit, "Liquidation Price (USDT Contract)", bybit.com/en-US/help-center/s/article/Liquidation-Price-USDT-Contract,
    # example 1: long 1 BTC at 20,000 with 50x, maintenance 0.5 % of the entry value: 19,700 USDT.
    found = liquidation_price(
        side="long", entry_price=20_000, size=1, margin=400, tiers=MaintenanceTiers.flat(0.005), maintenance_at="entry"
    )
    assert found == 19_700.0


def test_bybit_inverse_contract_bankruptcy_with_the_fee_to_close() -> None:
    # Bybit, "How to calculate Liquidation Price (Inverse Contract)", help.bybit.com/hc/en-us/articles/360039261334:
    # 0.5 BTC behind 10,000 contracts bought at 8,000 USD, taker fee 0.075 %: 5,718.57. In 1/price the long is a short.
    # (The liquidation price on that page, 5,739.50, does not follow from its own equation, which gives 5,739.08.)
    found = liquidation_price(
        side="short", entry_price=1 / 8_000, size=10_000, margin=0.5, tiers=MaintenanceTiers.flat(0.0), fee_rate=0.00075
    )
    assert round(1 / (found or 1.0), 2) == 5718.57


def test_bitmex_margin_of_a_linear_contract_and_what_it_can_lose() -> None:
    # BitMEX, "Linear Perpetual Contracts", www.bitmex.com/app/linearPerpetualsGuide: long 1,000,000 USDT at 5,000 and
    # 50x needs 20,000 USDT for 200,000,000 contracts with a multiplier of 0.000001.
    contracts = 1_000_000 / (5_000 * 0.000001)
    assert contracts == pytest.approx(200_000_000)
    size = contracts * 0.000001
    margin = size * 5_000 / 50
    assert margin == pytest.approx(20_000)
    gone = bankruptcy_price(side="long", entry_price=5_000, size=size, margin=margin)
    assert size * (5_000 - gone) == pytest.approx(20_000)
