"""What realised trades teach: the Kelly bet, and which leverage worked where."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ai_backtrader.leverage.settings import LeverageSettings
from ai_backtrader.values import Direction, Regime

__all__ = ["ExperienceRow", "ExperienceTable", "KellyEstimate", "kelly_estimate"]


@dataclass(frozen=True, kw_only=True)
class KellyEstimate:
    """Kelly bet estimated from realised trades.

    Attributes
    ----------
    trades
        Trades it rests on.
    win_rate, shrunk_win_rate
        Share of winners (net of costs), raw and shrunk toward the rate at which this payoff has no edge.
    payoff
        Mean win over mean loss, at most ``max_payoff``.
    full
        Full Kelly bet, ``p - (1 - p) / payoff``, with the shrunk rate: the share of equity to lose in an average loss.
        At most 0 without an edge.
    share
        ``kelly_fraction * full``, never below 0.
    enough
        True from ``min_kelly_trades`` on; before, the figures are shown and not used.
    """

    trades: int
    win_rate: float
    shrunk_win_rate: float
    payoff: float
    full: float
    share: float
    enough: bool


def kelly_estimate(returns: Sequence[float], settings: LeverageSettings) -> KellyEstimate:
    """Fractional Kelly bet from the net returns of closed trades.

    The bet is in units of an average loss, so it is the share of equity to risk at the stop (Kelly 1956; Thorp 2006,
    section 7.1, for unequal payoffs). The win rate is shrunk toward ``1 / (1 + payoff)``, the rate without an edge, by
    ``kelly_prior_trades`` pseudo trades; this multiplies the raw bet by ``n / (n + prior)`` and never changes its sign:
    **the bet is above 0 exactly if the mean return is** (unless the payoff cap makes it smaller).

    Parameters
    ----------
    returns
        Net returns on margin, percent points, oldest first; the last ``kelly_window`` count.
    settings
        See :class:`~ai_backtrader.leverage.LeverageSettings`.

    Returns
    -------
    KellyEstimate
        Zeros without trades. Without losers the payoff is ``max_payoff``; without winners it is 0 and so is the bet.
    """
    window = returns[-settings.kelly_window :]
    n = len(window)
    enough = n >= settings.min_kelly_trades
    wins = [value for value in window if value > 0.0]
    losses = [-value for value in window if value < 0.0]
    if not wins:
        return KellyEstimate(
            trades=n, win_rate=0.0, shrunk_win_rate=0.0, payoff=0.0, full=0.0, share=0.0, enough=enough
        )
    mean_win = math.fsum(wins) / len(wins)
    # Trades that end at exactly 0 return neither win nor lose: they count in n and so dilute the bet.
    payoff = settings.max_payoff
    if losses:
        payoff = min(payoff, mean_win / (math.fsum(losses) / len(losses)))
    win_rate = len(wins) / n
    loss_rate = len(losses) / n
    weight = n / (n + settings.kelly_prior_trades)
    no_edge = 1.0 / (1.0 + payoff)
    full = weight * (win_rate - loss_rate / payoff)
    return KellyEstimate(
        trades=n,
        win_rate=win_rate,
        shrunk_win_rate=weight * win_rate + (1.0 - weight) * no_edge,
        payoff=payoff,
        full=full,
        share=max(settings.kelly_fraction * full, 0.0),
        enough=enough,
    )


@dataclass(frozen=True, kw_only=True)
class ExperienceRow:
    """How one bucket of leverage did in one regime and direction.

    Attributes
    ----------
    regime
        Label at entry; None when it was not known.
    direction
        LONG or SHORT.
    above, up_to
        The bucket: leverages above ``above`` and at most ``up_to`` (infinite in the last).
    trades, wins
        Closed trades, and those with a positive net return.
    win_rate
        ``wins / trades``.
    mean_pnl_pct
        Mean net return on margin, percent points.
    score
        Mean shrunk toward 0: ``sum / (trades + experience_prior_trades)``.
    """

    regime: Regime | None
    direction: Direction
    above: float
    up_to: float
    trades: int
    wins: int
    win_rate: float
    mean_pnl_pct: float
    score: float


_Key = tuple[Regime | None, Direction, int]


class ExperienceTable:
    """Counts and mean returns per regime, direction and leverage bucket.

    A bucket with at least ``min_experience_trades`` trades and a score below 0 lowers leverage to its lower bound;
    the next bucket is then asked. Experience never raises leverage, and never lowers it below the first bound: whether
    to trade at all is Kelly's question. The capped leverage does not fall when the proposed one rises.
    """

    def __init__(self, settings: LeverageSettings) -> None:
        self._settings = settings
        self._cells: dict[_Key, tuple[int, int, float]] = {}

    def _bucket(self, leverage: float) -> int:
        return bisect_left(self._settings.leverage_buckets, leverage)

    def add(self, *, regime: Regime | None, direction: Direction, leverage: float, pnl_pct: float) -> None:
        """Count one closed trade."""
        key = (regime, direction, self._bucket(leverage))
        trades, wins, total = self._cells.get(key, (0, 0, 0.0))
        self._cells[key] = (trades + 1, wins + (pnl_pct > 0.0), total + pnl_pct)

    def cap(self, leverage: float, *, regime: Regime | None, direction: Direction) -> tuple[float, str]:
        """Leverage that experience leaves of ``leverage``, and why."""
        bounds = self._settings.leverage_buckets
        bucket = self._bucket(leverage)
        first = bucket
        while bucket > 0:
            cell = self._cells.get((regime, direction, bucket))
            if cell is None or cell[0] < self._settings.min_experience_trades or cell[2] >= 0.0:
                break
            bucket -= 1
        if bucket == first:
            return leverage, "no bucket of trades speaks against it"
        place = f"{direction.value} in {regime.value if regime else 'an unknown regime'}"
        return bounds[bucket], f"{place} lost money above {bounds[bucket]:g}x"

    def rows(self) -> list[ExperienceRow]:
        """Every cell with trades, ordered by regime, direction and leverage."""
        bounds = (0.0, *self._settings.leverage_buckets, math.inf)
        prior = self._settings.experience_prior_trades
        regimes = [None, *Regime]
        ordered = sorted(self._cells.items(), key=lambda item: (regimes.index(item[0][0]), item[0][1], item[0][2]))
        return [
            ExperienceRow(
                regime=regime,
                direction=direction,
                above=bounds[bucket],
                up_to=bounds[bucket + 1],
                trades=trades,
                wins=wins,
                win_rate=wins / trades,
                mean_pnl_pct=total / trades,
                score=total / (trades + prior),
            )
            for (regime, direction, bucket), (trades, wins, total) in ordered
        ]

    def dump(self) -> list[list[object]]:
        """Cells as plain lists for JSON."""
        return [
            [None if regime is None else regime.value, direction.value, bucket, trades, wins, total]
            for (regime, direction, bucket), (trades, wins, total) in self._cells.items()
        ]

    def load(self, cells: Iterable[Sequence[object]]) -> None:
        """Replace the cells by those that :meth:`dump` wrote."""
        self._cells = {
            (None if regime is None else Regime(str(regime)), Direction(str(direction)), int(str(bucket))): (
                int(str(trades)),
                int(str(wins)),
                float(str(total)),
            )
            for regime, direction, bucket, trades, wins, total in cells
        }
