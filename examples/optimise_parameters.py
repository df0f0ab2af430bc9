"""Search the parameters of a strategy of your own, and hear what the best of them are worth.

Run it: ``python examples/optimise_parameters.py``
"""

from __future__ import annotations

import backtrader as bt

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.strategies import optimize


class Cross(bt.Strategy):
    """Long or short by the side of the slow average on which the fast one lies."""

    params = (("fast", 10), ("slow", 30))

    def __init__(self) -> None:
        fast, slow = bt.ind.SMA(period=self.p.fast), bt.ind.SMA(period=self.p.slow)
        self.cross = bt.ind.CrossOver(fast, slow)

    def next(self) -> None:
        """Turn round on each crossing."""
        if self.cross[0]:
            self.order_target_percent(target=0.9 * self.cross[0])


def main() -> None:
    """Twelve trials on the first three quarters, one look at the last."""
    space = {"fast": (3, 20), "slow": (21, 60)}
    result = optimize(Cross, load_sample().head(1_500), space, n_trials=12, surrogate="random", commission=0.00005)
    print("best:", dict(result.parameters))
    print(result.verdict)
    print(f"deflated Sharpe ratio {result.deflated_sharpe:.2f} after {result.evidence.n_trials:.0f} trials")
    print(result.to_frame().head().to_string(index=False))


if __name__ == "__main__":
    main()
