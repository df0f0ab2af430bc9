"""What is said of each adaptation: figures by hand, and nothing where there is nothing to say."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from ai_backtrader.events import TradeClosed
from ai_backtrader.strategies import AdaptationRecord, compared_runs
from ai_backtrader.strategies.adaptation_spans import FEWEST_TRADES, worths_of
from ai_backtrader.values import Direction

START = dt.datetime(2024, 1, 1)
TIMES = np.datetime64(START, "ns") + np.arange(401) * np.timedelta64(3_600 * 10**9, "ns")


def at(place: int) -> dt.datetime:
    return START + dt.timedelta(hours=place)


def record(place: int, changed: Sequence[str] = (), search: str = "evolve") -> AdaptationRecord:
    return AdaptationRecord(
        symbol="X", bar=place + 1, at=at(place), reason="drift", search=search, regime=None, bars=place + 1, seed=1,
        trials=10, put_forward=2, passed=len(changed), changed=tuple(changed), verdict="said",
    )  # fmt: skip


def trades(closed: Sequence[int]) -> list[TradeClosed]:
    return [
        TradeClosed(
            symbol="X", strategy_id="ai", direction=Direction.LONG, entry_price=1.0, exit_price=1.0, pnl_pct=0.0,
            opened_at=at(place - 1), closed_at=at(place),
        )
        for place in closed
    ]  # fmt: skip


def curve(steps: np.ndarray) -> np.ndarray:
    return 100.0 * np.exp(np.concatenate(([0.0], np.cumsum(steps))))


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(2).normal(0.0, 0.01, (2, 400))


def test_the_figures_are_those_of_the_stretch(noise: np.ndarray) -> None:
    base = noise[0]
    extra = noise[1] * 0.1 + 0.0003
    extra[:100] = 0.0
    adapted, without = curve(base + extra), curve(base)
    records = [record(50), record(100, ["rules one"]), record(100, (), "optimize"), record(250, ["two", "three"])]
    idle, first, second = worths_of(records, TIMES, adapted, without, trades(range(101, 400, 4)), trades([99]))
    assert (idle.verdict, idle.place, idle.last, idle.trades) == ("changed nothing", 50, 50, 0)
    assert (first.place, first.last, first.until, first.searches) == (100, 250, at(250), 2)
    assert (second.place, second.last, second.changed) == (250, 400, ("two", "three"))
    assert (first.put_forward, first.passed) == (4, 1)
    assert first.growth == pytest.approx(adapted[250] / adapted[100] - 1.0, rel=1e-12)
    assert first.growth_without == pytest.approx(without[250] / without[100] - 1.0, rel=1e-12)
    assert first.gain == pytest.approx(math.expm1(extra[100:250].sum()), rel=1e-9)
    assert first.gain_to_end == pytest.approx(math.expm1(extra[100:].sum()), rel=1e-9)
    assert second.gain_to_end == pytest.approx(second.gain)
    assert (1.0 + first.gain) * (1.0 + second.gain) == pytest.approx(1.0 + first.gain_to_end)
    width = 1.959964 * extra[100:250].std(ddof=1) * math.sqrt(150)
    assert first.low == pytest.approx(math.expm1(extra[100:250].sum() - width), rel=1e-5)
    assert first.high == pytest.approx(math.expm1(extra[100:250].sum() + width), rel=1e-5)
    assert first.trades == len([place for place in range(101, 400, 4) if place <= 250])


def test_what_paid_and_what_did_not_is_said_with_its_doubt(noise: np.ndarray) -> None:
    base, jitter = noise
    many, few = trades(range(20, 400, 10)), trades(range(20, 100, 10))
    assert len(few) < FEWEST_TRADES <= len(many)

    def verdict(drift: float, spread: float, made: list[TradeClosed] = many) -> str:
        extra = spread * (jitter - jitter[10:].mean()) + drift
        extra[:10] = 0.0
        (worth,) = worths_of([record(10, ["rules"])], TIMES, curve(base + extra), curve(base), made, [])
        return worth.verdict

    assert verdict(0.001, 0.1) == "paid"
    assert verdict(-0.001, 0.1) == "did not pay"
    assert verdict(0.0001, 1.0) == "paid, within luck"
    assert verdict(-0.0001, 1.0) == "did not pay, within luck"
    assert verdict(0.001, 0.1, few) == f"too few trades to say ({len(few)})"
    assert verdict(0.0, 0.0) == "no bar differed"


def test_the_same_trades_in_both_runs_say_nothing(noise: np.ndarray) -> None:
    both = trades(range(20, 400, 10))
    moved = curve(noise[0] + 0.001)
    (worth,) = worths_of([record(10, ["rules"])], TIMES, moved, curve(noise[0]), both, both)
    assert worth.trades == 0
    assert worth.verdict == "too few trades to say (0)"


def test_an_account_that_was_used_up_has_no_interval(noise: np.ndarray) -> None:
    adapted = curve(noise[0])
    adapted[300:] = 0.0
    records = [record(10, ["rules"])]
    (worth,) = worths_of(records, TIMES, adapted, curve(noise[1]), trades(range(20, 400, 10)), [])
    assert worth.gain == -1.0
    assert math.isnan(worth.low)
    assert worth.verdict == "did not pay, within luck"
    document = json.loads(json.dumps(worth.to_dict(), allow_nan=False))
    assert document["low"] is None
    assert document["at"] == "2024-01-01T10:00:00"


def test_the_whole_is_told_with_each_of_its_parts(noise: np.ndarray) -> None:
    extra = np.where(np.arange(400) >= 100, 0.0005 + 0.001 * noise[1], 0.0)
    adapted, without = curve(noise[0] + extra), curve(noise[0])
    records = [record(40), record(100, ["one"]), record(300, ["two"])]
    compared = compared_runs(records, TIMES, adapted, without, trades(range(102, 108)), [])
    assert compared.first_bar == 101
    assert compared.gain == pytest.approx(compared.worths[1].gain_to_end)
    assert "by 6 trades that only one of the two made, too few to say." in compared.verdict
    document = json.loads(json.dumps(compared.to_dict(), allow_nan=False))
    assert [one["verdict"] for one in document["adaptations"]] == [
        "changed nothing", "too few trades to say (6)", "too few trades to say (0)",
    ]  # fmt: skip
    assert document["paid"] is True
    nothing = compared_runs(records[:1], TIMES, without, without)
    assert nothing.to_dict()["paid"] is None
    assert "the two runs are the same" in nothing.verdict
