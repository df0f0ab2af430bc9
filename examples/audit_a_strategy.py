"""What Backtrader's own broker hides from a strategy that averages into a loss with leverage.

Run it: ``python examples/audit_a_strategy.py``
"""

from __future__ import annotations

import backtrader as bt

from ai_backtrader.audit import audit_strategy, check_lookahead
from ai_backtrader.datafeeds import load_sample


class Averaging(bt.Strategy):
    """Sells another lot every hundred bars, and never doubts."""

    def next(self) -> None:
        """Sell, whatever the price."""
        if len(self) % 100 == 0:
            self.sell(size=60_000)


def main() -> None:
    """Audit it, then look whether it peeks."""
    data = load_sample().head(3_000)
    report = audit_strategy(Averaging, data, leverage=30, commission=0.00005)
    print(report)
    print()
    for finding in report.findings:
        print(f"first {finding.kind}: {finding.events[0].text}")
    print()
    print(check_lookahead(Averaging, data.head(500)))


if __name__ == "__main__":
    main()
