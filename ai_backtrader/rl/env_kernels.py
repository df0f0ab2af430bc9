"""The environment as compiled functions over arrays: many episodes side by side, one lane each.

An :class:`EnvArrays` holds the lanes and what they share; five functions work on it, all callable from compiled loops
(they hold neither Python objects nor its lock):

- ``observe(env, lane, out)`` writes the lane's float32 state,
- ``mask(env, lane, out)`` writes which actions are allowed,
- ``step(env, lane, action)`` trades one bar and returns ``(reward, terminated, truncated)``,
- ``reset(env, lane, start)`` starts an episode at the close of bar ``start``,
- ``draw(env, lane, u)`` maps ``u`` in [0, 1) to a permitted start.

After terminated or truncated the caller resets; until then the last state can be read, and a further step does nothing.

A step is one bar of the broker (see ``LeverageBroker``): the orders of the action, sent at the close of bar t, meet bar
t + 1 in the broker's order (funding, gap, judging of the orders, close, entry, liquidation), then the account is valued
at its close. Fills, charges and liquidation prices are the simulation's own functions. Every position is margined.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.rl.actions import CLOSES, HALVES, HOLDS, TARGETS
from ai_backtrader.rl.rewards import REWARD_DTYPE, SEED, basic_trade_terms, growth_terms, leverage_trade_terms
from ai_backtrader.rl.states import write_account
from ai_backtrader.simulation.compiling import compiled, inlined
from ai_backtrader.simulation.curve import account_value
from ai_backtrader.simulation.fills import fill_margined, maintenance_margin, reduce_margined, refuses_margined
from ai_backtrader.simulation.orders import charge_funding, market_price
from ai_backtrader.simulation.state import BAR_DTYPE, SETTINGS_DTYPE

__all__ = [
    "LANE_DTYPE",
    "MARKET_DTYPE",
    "N_TERMS",
    "SHARED_DTYPE",
    "EnvArrays",
    "draw",
    "mask",
    "observe",
    "reset",
    "step",
]

N_TERMS = 6  # of a reward
_RECENT = 20  # trades that the win rate looks back on
_STRAINED = 0.7  # margin ratio from which a bar counts as strained

LANE_DTYPE = np.dtype(
    [
        # The account, as the simulation's kernels know it.
        ("cash", np.float64),
        ("size", np.float64),
        ("entry_price", np.float64),
        ("margin", np.float64),
        ("liquidation", np.float64),
        ("equity", np.float64),
        ("peak", np.float64),
        ("unbooked_funding", np.float64),
        # The open position.
        ("leverage", np.float64),
        ("posted", np.float64),
        ("entry_equity", np.float64),
        ("entry_maintenance", np.float64),
        ("margin_ratio", np.float64),
        ("entry_volatility", np.float64),
        ("worst_ratio", np.float64),
        ("nearest", np.float64),
        ("trade_pnl", np.float64),
        ("trade_commission", np.float64),
        # Where the episode stands.
        ("bar", np.int64),
        ("last", np.int64),
        ("start", np.int64),
        ("entry_bar", np.int64),
        ("losses", np.int64),
        ("recent_wins", np.int64),
        ("mean", np.float64),
        ("square", np.float64),
        ("outcomes", np.uint32),
        ("halvings", np.int32),
        ("margined", np.bool_),
        ("over", np.bool_),
        # What has happened since its start.
        ("fees", np.float64),
        ("funding", np.float64),
        ("turnover", np.float64),
        ("trades", np.int64),
        ("wins", np.int64),
        ("liquidations", np.int64),
        ("rejected", np.int64),
        ("bars_held", np.int64),
        ("bars_strained", np.int64),
        ("max_drawdown", np.float64),
        ("terms", np.float64, (N_TERMS,)),
    ],
    align=True,
)
"""State of one lane. Money in account currency; ``entry_equity`` and ``entry_maintenance`` right after the last change
of size; ``worst_ratio`` and ``nearest`` (percent from the liquidation price) the worst of the open trade; ``turnover``
the notional traded; ``outcomes`` the last 20 trades, the newest in bit 0; ``bars_strained`` bars above margin ratio
0.7; ``terms`` those of the last step's reward."""

MARKET_DTYPE = np.dtype(
    [(name, np.float64) for name in (*(BAR_DTYPE.names or ()), "mark_close", "volatility", "usual_bar")], align=True
)
"""One bar: the simulation's ``BAR_DTYPE``, then the mark price at the close, and ATR and its median over 100 bars in
percent of the price."""

MOST_ACTIONS = 11

SHARED_DTYPE = np.dtype(
    [
        ("settings", SETTINGS_DTYPE),
        ("reward", REWARD_DTYPE),
        ("n_actions", np.int64),
        ("actions", np.float64, (MOST_ACTIONS, 3)),
        ("leveraged", np.bool_),
        ("margin_fraction", np.float64),
        ("ruin", np.float64),
        ("most_halvings", np.int64),
        ("first_start", np.int64),
        ("last_start", np.int64),
        ("last_bar", np.int64),
        ("episode_bars", np.int64),
    ],
    align=True,
)
"""What all lanes share: broker, reward, the table of actions (:mod:`ai_backtrader.rl.actions`); ``leveraged`` chooses
the 35 features, ``first_start`` to ``last_start`` are the permitted starts, ``last_bar`` is the last bar that may be
traded."""


class EnvArrays(NamedTuple):
    """All that the environment's kernels read and write.

    Few arrays on purpose: compiled code counts references to each one that a call touches, and that costs more than the
    arithmetic of a step.

    Attributes
    ----------
    lanes
        (lanes,) of ``LANE_DTYPE``.
    market
        (bars,) of ``MARKET_DTYPE``.
    features
        (bars, 26 or 15) float32: the market's part of the state.
    shared
        (1,) of ``SHARED_DTYPE``.
    """

    lanes: NDArray[np.void]
    market: NDArray[np.void]
    features: NDArray[np.float32]
    shared: NDArray[np.void]


@inlined
def _position_pnl(run: Any, close: float) -> float:
    """Net return of the open position on the margin posted, percent."""
    gain = run.trade_pnl + run.size * (close - run.entry_price)
    return float(100.0 * (gain - (run.trade_commission + run.unbooked_funding)) / run.posted)


@compiled
def observe(env: EnvArrays, lane: int, out: NDArray[np.float32]) -> None:
    """Write the state of a lane: 35 entries, or 18 for the basic agent."""
    run = env.lanes[lane]
    bar = run.bar
    market = env.features.shape[1]
    for column in range(market):
        out[column] = env.features[bar, column]
    position = pnl = duration = unrealized = 0.0
    leverage = 1.0
    if run.size != 0.0:
        close = env.market[bar].close
        leverage = run.leverage
        pnl = _position_pnl(run, close)
        duration = float(bar - run.entry_bar)
        if run.equity > 0.0:
            position = run.size * close / (run.equity * leverage)
            unrealized = 100.0 * (run.size * (close - run.entry_price)) / run.equity
        else:
            position = 1.0 if run.size > 0.0 else -1.0
    if env.shared[0].leveraged:
        closed = min(run.trades, _RECENT)
        write_account(
            out, market, position, leverage, pnl, duration, unrealized, run.margin_ratio,
            100.0 * (1.0 - run.equity / run.peak), float(run.losses), (run.recent_wins + 1.0) / (closed + 2.0),
        )  # fmt: skip
    else:
        out[market] = min(max(position, -1.0), 1.0)
        out[market + 1] = min(max(pnl / 50.0, -1.0), 1.0)
        out[market + 2] = min(max(duration / 100.0, -1.0), 1.0)


@compiled
def mask(env: EnvArrays, lane: int, out: NDArray[np.bool_]) -> None:
    """Write which actions a lane may take; one that is not allowed does nothing."""
    run, shared = env.lanes[lane], env.shared[0]
    for action in range(shared.n_actions):
        kind = shared.actions[action, 0]
        allowed = True
        if kind == CLOSES:
            allowed = run.size != 0.0
        elif kind == HALVES:
            allowed = run.size != 0.0 and run.halvings < shared.most_halvings
        out[action] = allowed


@compiled
def draw(env: EnvArrays, lane: int, u: float) -> int:
    """A permitted start for ``u`` in [0, 1), all of them equally likely."""
    shared = env.shared[0]
    count = shared.last_start - shared.first_start + 1
    return int(shared.first_start + min(count - 1, int(u * count)))


@compiled
def reset(env: EnvArrays, lane: int, start: int) -> None:
    """Start an episode, flat, at the close of bar ``start``, which must lie among the permitted starts."""
    run, shared = env.lanes[lane], env.shared[0]
    run.cash = run.equity = run.peak = shared.settings.cash
    run.size = run.entry_price = run.margin = run.unbooked_funding = run.posted = 0.0
    run.leverage = 1.0
    run.liquidation = -np.inf
    run.margin_ratio = run.trade_pnl = run.trade_commission = 0.0
    run.bar = run.start = start
    run.last = min(shared.last_bar, start + shared.episode_bars)
    run.entry_bar = -1
    run.losses = run.recent_wins = 0
    run.outcomes = 0
    run.halvings = 0
    run.margined = run.over = False
    run.mean = 0.0
    usual = env.market[start].usual_bar
    run.square = usual * usual
    run.fees = run.funding = run.turnover = run.max_drawdown = 0.0
    run.trades = run.wins = run.liquidations = run.rejected = run.bars_held = run.bars_strained = 0
    for term in range(N_TERMS):
        run.terms[term] = 0.0


@inlined
def _measure_buffer(run: Any, mark: float, settings: Any) -> tuple[float, float]:
    """Equity and maintenance margin of the position at a mark."""
    return run.margin + run.size * (mark - run.entry_price), maintenance_margin(abs(run.size) * mark, settings)


@inlined
def _open(run: Any, size: float, price: float, leverage: float, bar: int, volatility: float, settings: Any) -> None:
    """Execute an entry from flat, if it is admitted."""
    filled, price, _, fee, admitted = fill_margined(run, size, price, leverage, settings, False)
    if not admitted:
        run.rejected += 1
        return
    run.leverage = leverage
    run.posted = run.margin
    run.entry_equity, run.entry_maintenance = _measure_buffer(run, price, settings)
    run.entry_volatility = volatility
    run.worst_ratio = 0.0
    run.nearest = 100.0
    run.trade_pnl = 0.0
    run.trade_commission = fee
    run.halvings = 0
    run.entry_bar = bar
    run.fees += fee
    run.turnover += abs(filled) * price


@inlined
def _book_close(run: Any, size: float, price: float, pnl: float, fee: float) -> None:
    """Keep the account of a trade of which a part or the whole was closed."""
    run.trade_pnl += pnl
    run.trade_commission += fee + run.unbooked_funding
    run.unbooked_funding = 0.0
    run.fees += fee
    run.turnover += abs(size) * price


@inlined
def _end_trade(run: Any, shared: Any, short: bool, liquidated: bool) -> None:
    """Count a closed trade, and pay what the seed reward pays for it."""
    net = run.trade_pnl - run.trade_commission
    if run.trades >= _RECENT and (run.outcomes >> np.uint32(_RECENT - 1)) & np.uint32(1):
        run.recent_wins -= 1
    run.outcomes = run.outcomes << np.uint32(1)
    run.trades += 1
    if net > 0.0:
        run.wins += 1
        run.recent_wins += 1
        run.outcomes = run.outcomes | np.uint32(1)
        run.losses = 0
    elif net < 0.0:
        run.losses += 1
    if liquidated:
        run.liquidations += 1
    if shared.reward.mode == SEED:
        pnl_pct = 100.0 * net / run.posted
        if shared.leveraged:
            worst = 1.0 if liquidated else run.worst_ratio
            nearest = 0.0 if liquidated else run.nearest
            leverage_trade_terms(
                pnl_pct, run.leverage, run.entry_volatility, short, worst, nearest, shared.reward, run.terms
            )
        else:
            basic_trade_terms(pnl_pct, run.entry_volatility, run.terms)


@compiled
def _close(run: Any, shared: Any, price: float, liquidating: bool) -> None:
    """Close the whole position."""
    short = run.size < 0.0
    size, price, pnl, fee, _ = fill_margined(run, -run.size, price, 1.0, shared.settings, liquidating)
    _book_close(run, size, price, pnl, fee)
    _end_trade(run, shared, short, liquidating)
    run.leverage = 1.0


@inlined
def _wanted(run: Any, shared: Any, action: int, close: float) -> tuple[float, float, float]:
    """Signed sizes of the orders that an action sends: of a close, and of an entry with its leverage."""
    kind, side, leverage = shared.actions[action, 0], shared.actions[action, 1], shared.actions[action, 2]
    size = run.size
    close_size = 0.0
    enters = False
    if kind == CLOSES:
        close_size = -size
    elif kind == HALVES:
        if run.halvings < shared.most_halvings:
            close_size = -size * 0.5
    elif kind != HOLDS:
        if size == 0.0:
            enters = True
        elif size * side < 0.0:
            close_size = -size
            enters = kind == TARGETS
        elif kind == TARGETS and leverage != run.leverage:
            close_size = -size
            enters = True
    entry_size = 0.0
    if enters:
        units = run.equity * shared.margin_fraction * leverage / close
        if units > 0.0:
            entry_size = side * units
    return close_size, entry_size, leverage


@inlined
def _is_beyond(run: Any, mark: float) -> bool:
    return bool(mark <= run.liquidation if run.size > 0.0 else mark >= run.liquidation)


@inlined
def _trade(run: Any, shared: Any, before: Any, now: Any, close_size: float, entry_size: float, leverage: float) -> None:
    """One bar of the broker, with the orders sent at the close before."""
    settings = shared.settings
    if run.size != 0.0:
        if now.funding != 0.0:
            charge_funding(run, now.funding, now.mark_open, settings)
        if _is_beyond(run, now.mark_open):
            _close(run, shared, now.mark_open, True)
            close_size = entry_size = 0.0
    if entry_size != 0.0:
        reference = before.close
        cash = run.cash
        if close_size != 0.0:
            pnl = -close_size * (reference - run.entry_price)
            cash += run.margin + pnl - abs(close_size) * settings.commission * reference
        if refuses_margined(cash, entry_size, reference, leverage, settings):
            run.rejected += 1
            entry_size = 0.0
    first_bar = run.bar
    if close_size != 0.0:
        price = market_price(now.open, now.high, now.low, close_size, settings.slippage)
        if close_size == -run.size:
            if entry_size * run.size > 0.0:
                first_bar = run.entry_bar  # resized: the same position goes on
            _close(run, shared, price, False)
        else:
            price, pnl, fee = reduce_margined(run, close_size, price, settings)
            _book_close(run, close_size, price, pnl, fee)
            run.entry_equity, run.entry_maintenance = _measure_buffer(run, price, settings)
            run.halvings += 1
    if entry_size != 0.0:
        price = market_price(now.open, now.high, now.low, entry_size, settings.slippage)
        _open(run, entry_size, price, leverage, first_bar, before.volatility, settings)
    if run.size != 0.0:
        if _is_beyond(run, now.mark_open):
            _close(run, shared, now.mark_open, True)
        elif _is_beyond(run, now.mark_low if run.size > 0.0 else now.mark_high):
            _close(run, shared, run.liquidation, True)


@inlined
def _watch_margin(run: Any, shared: Any, mark: float) -> None:
    """Margin ratio at the close, and the worst of the trade so far."""
    run.margin_ratio = 0.0
    if run.size == 0.0:
        return
    run.bars_held += 1
    equity, maintenance = _measure_buffer(run, mark, shared.settings)
    buffer = run.entry_equity - run.entry_maintenance
    ratio = 1.0
    if buffer > 0.0:
        ratio = 1.0 - min(1.0, max(0.0, (equity - maintenance) / buffer))
    run.margin_ratio = ratio
    if ratio > _STRAINED:
        run.bars_strained += 1
    if shared.reward.mode == SEED:
        run.worst_ratio = max(run.worst_ratio, ratio)
        if run.liquidation > 0.0:
            run.nearest = min(run.nearest, 100.0 * abs(mark - run.liquidation) / mark)


@compiled
def step(env: EnvArrays, lane: int, action: int) -> tuple[float, bool, bool]:
    """Send the orders of an action, trade one bar, and value the account at its close.

    Returns
    -------
    reward : float
        Of the environment's mode; its terms are in ``env.lanes[lane].terms``.
    terminated : bool
        The account is ruined: its equity is at most ``ruin`` of what the episode began with.
    truncated : bool
        The episode's length or the data are at their end.
    """
    run = env.lanes[lane]
    if run.over or run.bar >= run.last:
        return 0.0, bool(run.over), not run.over
    shared, terms = env.shared[0], run.terms
    for term in range(N_TERMS):
        terms[term] = 0.0
    equity, peak, turnover = run.equity, run.peak, run.turnover
    before, now = env.market[run.bar], env.market[run.bar + 1]
    close_size, entry_size, leverage = _wanted(run, shared, action, before.close)
    run.bar += 1
    _trade(run, shared, before, now, close_size, entry_size, leverage)
    run.equity = account_value(run, now.close, True)
    if run.equity > run.peak:
        run.peak = run.equity
    else:
        run.max_drawdown = max(run.max_drawdown, 1.0 - run.equity / run.peak)
    _watch_margin(run, shared, now.mark_close)
    if shared.reward.mode != SEED:
        growth_terms(run, equity, peak, before.usual_bar, shared.reward, terms)
        total = terms[0] + terms[1]
    else:
        if not shared.leveraged:
            if run.turnover != turnover:
                terms[5] = -0.1
            if run.size != 0.0:
                pnl = _position_pnl(run, now.close)
                if pnl > 0.0:
                    terms[2] = 0.5
                elif pnl < 0.0:
                    terms[3] = -0.5
        total = terms[0] + terms[1] + terms[2] + terms[3] + terms[4] + terms[5]
    run.over = run.equity <= shared.ruin * shared.settings.cash
    return total, bool(run.over), bool(run.bar >= run.last and not run.over)
