"""Commission schemes for margined feeds: exact sizes for ``order_target_value`` and ``order_target_percent``."""

from __future__ import annotations

import copy
from typing import Any

from backtrader.comminfo import CommInfoBase

__all__ = ["with_exact_sizes"]


class _ExactSize:
    """Size worth an amount of money: ``cash / (price * mult)``.

    Backtrader's own is ``int(leverage * (cash // price))``: zero for a coin dearer than the cash, and too large by the
    leverage, so that a target is overshot and then oscillates. A class, because it must pickle.
    """

    def __init__(self, mult: float) -> None:
        self.mult = mult

    def __call__(self, price: float, cash: float) -> float:
        return cash / (price * self.mult)


def with_exact_sizes(scheme: Any) -> Any:
    """Copy of a commission scheme that sizes exactly; the scheme itself if its class brings its own ``getsize``."""
    if type(scheme).getsize is not CommInfoBase.getsize:
        return scheme
    exact = copy.copy(scheme)
    exact.getsize = _ExactSize(float(scheme.p.mult))
    return exact
