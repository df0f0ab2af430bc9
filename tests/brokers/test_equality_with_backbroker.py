"""At leverage 1 and without funding LeverageBroker is BackBroker, to the last bit."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker

BARS = 130
SETS = (
    "synthetic calm",
    "synthetic wild",
    "BTCUSDT-perp-1h-2020-2023.csv.gz",
    "EURUSD-1h-2017-2022.csv.gz",
    "ORCL-1d-1995-2014-backtrader-sample.csv.gz",
)
FAST, FULL = 60, 240


PHASE_ONE = ("market", "bracket", "reverse", "reduce", "exit", "cancel")
ALL_KINDS = (
    *PHASE_ONE, "close order", "limit", "stop", "stop limit", "trail", "trail limit", "oco", "target", "valid",
)  # fmt: skip


def _columns(name: str, rng: np.random.Generator, random_bars: Any, real_bars: Any, count: int) -> dict[str, Any]:
    if name.startswith("synthetic"):
        return random_bars(
            rng, count, scale=float(rng.choice([0.5, 100.0, 20_000.0])), sigma=0.02 if "wild" in name else 0.005
        )
    columns = real_bars(name, int(rng.integers(0, 4500)), count)
    # Mark prices and funding stay away: the equality is about a broker without them.
    return {key: columns[key] for key in ("open", "high", "low", "close", "volume", "index")}


def _compare(
    name: str, seed: int, feed: Any, random_bars: Any, real_bars: Any, trader_class: Any, *, everything: bool
) -> int:
    rng = np.random.default_rng([seed, SETS.index(name)])
    tables = [_columns(name, rng, random_bars, real_bars, BARS)]
    daily = name.startswith("ORCL")
    if everything and rng.random() < 0.4:
        slow = {key: values[::3] for key, values in tables[0].items()}
        slow["index"] = (
            tables[0]["index"][::3]
            if "index" in tables[0]
            else np.datetime64("2024-01-01T00", "ns") + np.arange(len(slow["open"])) * np.timedelta64(3, "h")
        )
        tables.append(slow)
    price = float(tables[0]["close"][0])
    kinds = (
        rng.choice(ALL_KINDS, size=rng.integers(3, 9), replace=False) if everything or rng.random() < 0.5 else PHASE_ONE
    )
    trader = {
        "seed": seed,
        "kinds": tuple(map(str, kinds)),
        "size": float(rng.choice([0.02, 0.1, 0.4])) * 10_000 / price,
    }
    if trader["size"] > 3:
        trader["size"] = round(trader["size"])
    settings: dict[str, Any] = {"shortcash": bool(rng.random() < 0.5)}
    commission: dict[str, Any] = {"commission": float(rng.choice([0.0, 0.0005, 0.002]))}
    if rng.random() < 0.4:
        settings["slip_perc" if rng.random() < 0.5 else "slip_fixed"] = 0.001
        settings |= {key: bool(rng.random() < 0.5) for key in ("slip_open", "slip_match", "slip_limit", "slip_out")}
    engine: dict[str, Any] = {}
    if everything:
        settings |= {key: True for key in ("coc", "fundmode") if rng.random() < 0.15}
        settings |= {key: False for key in ("checksubmit", "int2pnl") if rng.random() < 0.15}
        if rng.random() < 0.2:
            settings["filler"] = bt.broker.fillers.FixedBarPerc(perc=float(rng.choice([1.0, 20.0])))
        draw = rng.random()
        if draw < 0.15:
            commission |= {"interest": 0.1, "interest_long": bool(rng.random() < 0.5)}
        elif draw < 0.3:
            commission |= {"margin": price / 5, "mult": float(rng.choice([1.0, 2.0]))}
        elif draw < 0.4:
            commission |= {"commtype": bt.CommInfoBase.COMM_FIXED, "stocklike": True, "commission": 0.5}
        engine["runonce"] = bool(rng.random() < 0.7)
        engine["preload"] = bool(rng.random() < 0.7)
        engine["exactbars"] = int(rng.choice([0, 0, 0, 1, -1]))
        engine["cheat_on_open"] = bool(rng.random() < 0.15)
        engine["quicknotify"] = bool(rng.random() < 0.15)

    logs = []
    for broker in (bt.brokers.BackBroker(**settings), LeverageBroker(**settings)):
        cerebro = bt.Cerebro(stdstats=False, **engine)
        cerebro.broker = broker
        broker.setcash(10_000.0)
        broker.setcommission(**commission)
        for number, columns in enumerate(tables):
            frame = {"timeframe": bt.TimeFrame.Days, "compression": 1} if daily else {}
            cerebro.adddata(feed(columns, **frame), name=f"d{number}")
        cerebro.addstrategy(trader_class, **trader)
        try:
            logs.append(cerebro.run()[0].log)
        except (IndexError, ZeroDivisionError, TypeError) as error:
            # Backtrader's own faults (exactbars with a slow feed, ...): then ours must be the same.
            logs.append([(type(error), str(error))])
    theirs, ours = logs
    for expected, found in zip(theirs, ours, strict=False):
        assert found == expected, (seed, settings, commission, engine, trader)
    assert len(ours) == len(theirs)
    return sum(1 for entry in theirs if len(entry) == 6 and entry[5])


@pytest.mark.parametrize("name", SETS)
def test_random_strategies_fill_and_are_valued_as_on_backbroker(
    name: str, feed: Any, random_bars: Any, real_bars: Any, random_trader: Any
) -> None:
    fills = sum(
        _compare(name, seed, feed, random_bars, real_bars, random_trader, everything=False) for seed in range(FAST)
    )
    assert fills > 10 * FAST


@pytest.mark.parametrize("name", SETS)
def test_every_order_type_and_engine_setting_gives_what_backbroker_gives(
    name: str, feed: Any, random_bars: Any, real_bars: Any, random_trader: Any
) -> None:
    fills = sum(
        _compare(name, seed, feed, random_bars, real_bars, random_trader, everything=True)
        for seed in range(1000, 1000 + FAST // 5)
    )
    assert fills > FAST


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_thousand_strategies_of_every_kind_equal_backbroker(
    name: str, feed: Any, random_bars: Any, real_bars: Any, random_trader: Any
) -> None:
    for seed in range(2000, 2000 + FULL):
        _compare(name, seed, feed, random_bars, real_bars, random_trader, everything=True)
