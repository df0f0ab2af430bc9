"""Where the data are cut, and what happened to an account in a part."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import annual_volatility, bar_returns, max_drawdown, sharpe_ratio, total_return
from ai_backtrader.market import MarketData, compute_features
from ai_backtrader.pipeline.settings import PipelineSettings

__all__ = ["FEWEST_DESIGN_BARS", "Parts", "account_returns", "curve_figures", "parts_of", "plain"]

Floats = NDArray[np.float64]

FEWEST_DESIGN_BARS = 500
FEWEST_WALK_BARS = 100

_ROUNDING = 1e-12


class Parts(NamedTuple):
    """First bars of the parts of the data, in time order.

    Attributes
    ----------
    validation
        Of the design: the agent is judged from here to the rehearsal; before, it is trained.
    rehearsal
        Of the design: no search and no training sees bars from here on.
    walk
        Bars from here on have been seen by nothing.
    bars
        Of all.
    """

    validation: int
    rehearsal: int
    walk: int
    bars: int


def parts_of(data: MarketData, settings: PipelineSettings) -> Parts:
    """Cut the data.

    Raises
    ------
    SettingsError
        If a part is too short.
    """
    if not isinstance(data, MarketData):
        raise SettingsError(
            "run", [f"data must be MarketData, got {type(data).__name__}; load it with MarketData.from_csv"]
        )
    walk = round(len(data) * settings.design_share)
    rehearsal = round(walk * (1.0 - settings.rehearsal_share))
    parts = Parts(round(rehearsal * 0.75), rehearsal, walk, len(data))
    ready = compute_features(data.head(2)).ready_from
    if walk < FEWEST_DESIGN_BARS or len(data) - walk < FEWEST_WALK_BARS or parts.validation <= 2 * ready:
        need = math.ceil(
            max(
                FEWEST_DESIGN_BARS / settings.design_share,
                FEWEST_WALK_BARS / (1.0 - settings.design_share),
                2.0 * ready / (0.75 * (1.0 - settings.rehearsal_share) * settings.design_share),
            )
        )
        raise SettingsError(
            "run",
            [
                f"the data have {len(data)} bars; a run needs about {need} (the features warm up over {ready}): "
                "give more bars"
            ],
        )
    return parts


def account_returns(values: Floats) -> Floats:
    """Returns of an account's values bar by bar, rounding left out.

    Capital that comes and goes moves the value of a share in its last digits: an account that never traded would have a
    Sharpe ratio.
    """
    returns = bar_returns(values)
    return np.where(np.abs(returns) < _ROUNDING, 0.0, returns)


def curve_figures(values: Floats, bars_per_year: float) -> dict[str, float]:
    """Figures of an account's values at each close, the first one before anything was traded.

    Returns
    -------
    dict
        ``total_return``, ``max_drawdown`` (fractions), ``sharpe_ratio``, ``annual_volatility`` (annual).
    """
    returns = account_returns(values)
    return {
        "total_return": total_return(returns),
        "sharpe_ratio": sharpe_ratio(returns, bars_per_year=bars_per_year),
        "max_drawdown": max_drawdown(values),
        "annual_volatility": annual_volatility(returns, bars_per_year=bars_per_year),
    }


def plain(value: Any) -> Any:
    """JSON values: NaN and infinite numbers become None, NumPy's numbers plain ones."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
