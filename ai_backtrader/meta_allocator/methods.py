"""Other ways to weights than scores, from skfolio."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError

__all__ = ["risk_weights"]


def risk_weights(method: str, returns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights by risk alone.

    Parameters
    ----------
    method
        ``"hrp"``: hierarchical risk parity (Lopez de Prado 2016); ``"risk_parity"``: equal contributions to the
        variance (Maillard, Roncalli and Teiletche 2010).
    returns
        (days, n).

    Returns
    -------
    (n,) float64
        Sum 1.

    Raises
    ------
    SettingsError
        If skfolio is not installed.
    """
    try:
        from skfolio.optimization import HierarchicalRiskParity, RiskBudgeting
    except ImportError as error:
        mend = "install ai-backtrader[allocation]"
        raise SettingsError("AllocatorSettings", [f"method {method!r} needs skfolio: {mend}"]) from error
    if returns.shape[1] == 1:
        return np.ones(1)
    model: Any = HierarchicalRiskParity() if method == "hrp" else RiskBudgeting()
    weights: NDArray[np.float64] = np.asarray(model.fit(returns).weights_, dtype=np.float64)
    return weights
