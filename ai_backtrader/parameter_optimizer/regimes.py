"""What a strategy did in one regime: the trades it opened there, and what they earned bar by bar.

The strategy runs through all bars, so its indicators are warm and it holds what it would have held; of that run the
trades count whose **decision** fell on a bar of the regime. A regime is known at the close of the bar it labels, as the
decision is.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import MarketData, compute_features, label_regimes
from ai_backtrader.market.regimes import REGIME_CODES
from ai_backtrader.simulation import SimulationResult
from ai_backtrader.values import Regime

__all__ = ["RegimeRun", "bars_in_regime", "regime_run"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class RegimeRun(NamedTuple):
    """The part of a run that one regime's trades are.

    Attributes
    ----------
    returns
        Shape (bars,): what the chosen trades added to the account in each bar, over its value at the bar before; 0
        where none was open. The returns of an account that took these trades alone, at these sizes.
    trades
        The chosen closed trades, dtype ``TRADE_DTYPE``.
    held
        Shape (bars,): bars that such a trade was open in.
    """

    returns: Floats
    trades: NDArray[np.void]
    held: Bools


def bars_in_regime(data: MarketData, regime: Regime) -> Bools:
    """Bars whose label is the regime, shape (bars,).

    BULL and BEAR include their strong forms; STRONG_BULL and STRONG_BEAR are those alone. Before the features are ready
    a bar is sideways for the labels, and in no regime here: nothing known is no evidence.
    """
    features = compute_features(data)
    labels = label_regimes(features).labels
    code = REGIME_CODES[regime]
    chosen = np.sign(labels) == code if abs(code) < 2 else labels == code
    chosen[: features.ready_from] = False
    return np.asarray(chosen)


def regime_run(result: SimulationResult, close: Floats, chosen: Bools) -> RegimeRun:
    """The part of a run that the trades decided on the chosen bars are.

    Parameters
    ----------
    result
        Of any run on these bars, compiled or in Cerebro.
    close
        Closes, shape (bars,).
    chosen
        Bars on which a decision counts, shape (bars,).

    Notes
    -----
    Every bar's change of the account belongs to the trade that was open. In a bar that one trade left and the next one
    entered, the next one's part is what it earned from its fill to the close, less its commission; the rest is the
    first one's. Over parts that share out all bars, the returns add up to those of the account.
    """
    bars = len(result.equity)
    equity = np.concatenate(([result.start_cash], result.equity))
    change = np.diff(equity)
    part = np.zeros(bars)
    held = np.zeros(bars, np.bool_)
    spans = _spans(result, close)
    mine = [bool(chosen[span.first - 1]) if span.first else False for span in spans]
    for span, counts in zip(spans, mine, strict=True):
        if counts:
            part[span.first : span.last + 1] += change[span.first : span.last + 1]
            held[span.first : span.last + 1] = True
    first = 0  # the earliest trade that was open in the bar at hand
    for place, (before, span) in enumerate(itertools.pairwise(spans), start=1):
        if before.last != span.first:
            continue
        if before.first < before.last:
            first = place - 1
        part[span.first] += mine[place] * (span.opened - change[span.first]) - mine[first] * span.opened
    returns = np.zeros(bars)
    np.divide(part, equity[:-1], out=returns, where=equity[:-1] > 0.0)
    trades = result.trades
    entries = trades["entry_bar"]
    return RegimeRun(returns, trades[(entries > 0) & chosen[entries - 1]], held)


class _Span(NamedTuple):
    first: int  # bar of the entry's fill
    last: int  # bar of the last fill; the last bar of the run where the trade is open
    opened: float  # what it earned in its first bar


def _spans(result: SimulationResult, close: Floats) -> list[_Span]:
    """Every trade of a run, the open one included, in the order they were opened."""
    spans: list[_Span] = []
    held = flow = 0.0
    first = -1
    for bar, price, amount, commission, _, _, _ in result.fills.tolist():
        before, held = held, held + amount
        if before == 0.0:
            first, flow = bar, -amount * price - commission
        elif held != 0.0 and (held > 0.0) == (before > 0.0):
            if bar == first:
                flow -= amount * price + commission
        else:  # it is closed, and perhaps turned
            closing = abs(before) / abs(amount)
            if bar == first:
                flow += before * price - commission * closing
            elif first >= 0:
                flow += _worth(result, close, first)
            spans.append(_Span(first, bar, flow))
            first, flow = bar, -held * price - commission * (1.0 - closing)
    if held != 0.0:
        spans.append(_Span(first, len(result.equity) - 1, flow + _worth(result, close, first)))
    return spans


def _worth(result: SimulationResult, close: Floats, bar: int) -> float:
    return float(result.position[bar] * close[bar])
