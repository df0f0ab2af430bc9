"""vectorbt's side of evolution_speed.py, run by the Python of its own environment: ``IN.npz OUT.npz``.

Portfolio.from_order_func, a column a chromosome: the way vectorbt offers for sizes that depend on the equity. CPU
seconds are the best of three runs, after its kernels are compiled.
"""

from __future__ import annotations

import gc
import sys
import time

import numpy as np
import vectorbt as vbt
from numba import njit
from vectorbt.portfolio import nb
from vectorbt.portfolio.enums import Direction, NoOrder, SizeType

FEE, CASH, BATCH = 0.0005, 10_000.0, 100


@njit
def decide(c, long, short, leave, hold, size, reverse, opening, entered):  # type: ignore[no-untyped-def]
    """The order at the open of bar i, decided at the close before."""
    i, k = c.i, c.col
    if i == 0:
        return NoOrder
    held = c.position_now
    side = 0
    if held == 0.0:
        side = 1 if long[i - 1, k] else -1 if short[i - 1, k] else 0
        if side == 0:
            return NoOrder
    else:
        turn = reverse[k] and (short[i - 1, k] if held > 0.0 else long[i - 1, k])
        if not turn and not leave[i - 1, k] and i - 1 - entered[k] <= hold[k]:
            return NoOrder
        if turn:
            side = -1 if held > 0.0 else 1
    if side != 0:
        entered[k] = i
    before = c.close[i - 1, 0]
    worth = c.cash_now + held * before
    amount = side * (worth * size[k] / before) - held
    return nb.order_nb(amount, opening[i], SizeType.Amount, Direction.Both, FEE)


def sharpe(given: dict[str, np.ndarray]) -> np.ndarray:
    """Annual Sharpe ratio of every column."""
    close, annual = given["close"], float(given["annual"])
    found = []
    for first in range(0, len(given["size"]), BATCH):
        part = slice(first, first + BATCH)
        signals = [np.ascontiguousarray(given[name][part].T) for name in ("long", "short", "exit")]
        count = signals[0].shape[1]
        portfolio = vbt.Portfolio.from_order_func(
            np.broadcast_to(close[:, None], (len(close), count)),
            decide, *signals, given["hold"][part], given["size"][part], given["reverse"][part], given["open"],
            np.zeros(count, np.int64),
            init_cash=CASH, max_orders=len(close) * count, freq="1h",
        )  # fmt: skip
        returns = portfolio.returns().to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(returns.mean(axis=0) / returns.std(axis=0, ddof=1) * np.sqrt(annual))
    return np.concatenate(found)


def main() -> None:
    given = dict(np.load(sys.argv[1]))
    few = {name: values[:BATCH] if values.ndim == 2 or len(values) != len(given["close"]) else values
           for name, values in given.items() if name != "annual"}  # fmt: skip
    sharpe(few | {"annual": given["annual"]})
    gc.collect()
    gc.freeze()
    times = []
    for _ in range(3):
        start = time.process_time()
        ratios = sharpe(given)
        times.append(time.process_time() - start)
    np.savez(sys.argv[2], cpu=min(times), sharpe=ratios)


if __name__ == "__main__":
    main()
