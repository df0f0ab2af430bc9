"""Random genes, sections and risk parameters: always valid, from a numpy Generator."""

from __future__ import annotations

import math

import numpy as np

from ai_backtrader.checks import Faults
from ai_backtrader.rules.catalogue import CATALOGUE, SeriesKind, Unit
from ai_backtrader.rules.drawing import below
from ai_backtrader.rules.genes import Gene, HoldGene, Operator, Series, drawn_series, nearest_series
from ai_backtrader.rules.sections import RISK_LIMITS, RiskParameters, Section, section_of

__all__ = ["random_gene", "random_hold", "random_parts", "random_risk", "random_section", "random_series"]

# What leads a condition in price units; anything of that unit may stand on its right.
_LEADING = ("close", "close", "close", "ema", "ema", "sma", "smma", "high", "low")
_FOLLOWING = ("sma", "ema", "ema", "smma", "bollinger_upper", "bollinger_lower", "highest", "lowest")
_SCALE_FREE = tuple(kind.name for kind in CATALOGUE.values() if kind.constants is not None)
_SUBJECTS = ("price", "price", "price", "macd_line", *_SCALE_FREE)
_COMPARISONS = (Operator.BELOW, Operator.ABOVE, Operator.CROSSES_ABOVE, Operator.CROSSES_BELOW)

_SHARE_OF_SERIES = 0.15  # of the conditions that could have a constant, so many compare two series
_SHARE_OF_BETWEEN = 0.1
_SHARE_OF_COUNTS = 0.25  # of the sections with three genes or more, so many are k-of-n


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[below(rng, len(choices))]


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """What ``rng.uniform`` gives, without its checks: searches draw many."""
    return low + (high - low) * rng.random()


def random_series(rng: np.random.Generator, name: str) -> Series:
    """A series of this kind with random parameters."""
    parameters = CATALOGUE[name].parameters
    if len(parameters) == 1 and not parameters[0].decimals:  # most are a period alone
        low, high = parameters[0].logarithms
        return drawn_series(name, (parameters[0].nearest(math.exp(low + (high - low) * rng.random())),))
    values: list[float] = []
    for parameter in parameters:
        if parameter.decimals:
            values.append(parameter.low + (parameter.high - parameter.low) * rng.random())
        else:
            # Whole numbers are periods: as many short ones as long ones, by ratio.
            low, high = parameter.logarithms
            values.append(math.exp(low + (high - low) * rng.random()))
    return nearest_series(name, values) if values else Series(name)


def _other_series(rng: np.random.Generator, left: Series) -> Series | None:
    """A series to compare with: another kind in price units, else the same kind with other parameters."""
    unit = left.kind.unit
    if unit is Unit.PRICE_DIFFERENCE:
        return Series("macd_signal" if left.name == "macd_line" else "macd_line", left.params)
    for _ in range(8):  # a second draw differs in all but a few cases
        right = random_series(rng, _pick(rng, _FOLLOWING) if unit is Unit.PRICE else left.name)
        if right != left:
            return right
    return None


def _constant(rng: np.random.Generator, kind: SeriesKind) -> float:
    held = kind.constants
    if held is None:
        raise AssertionError(f"{kind.name} takes no constants")
    return held.nearest(rng.normal(held.centre, held.spread))


def random_gene(rng: np.random.Generator) -> Gene:
    """A random condition on series."""
    subject = _pick(rng, _SUBJECTS)
    left = random_series(rng, _pick(rng, _LEADING) if subject == "price" else subject)
    kind = left.kind
    if kind.constants is None or rng.random() < _SHARE_OF_SERIES:
        right = _other_series(rng, left)
        if right is not None:
            return Gene(left, _COMPARISONS[below(rng, 4)], right)
    if kind.constants is not None and rng.random() < _SHARE_OF_BETWEEN:
        low, high = sorted((_constant(rng, kind), _constant(rng, kind)))
        if low < high:
            return Gene(left, Operator.BETWEEN, low, high)
    if kind.constants is None:
        return random_gene(rng)
    return Gene(left, _COMPARISONS[below(rng, 4)], _constant(rng, kind))


def random_hold(rng: np.random.Generator) -> HoldGene:
    """A random ``hold > n``, 3 to 300 bars."""
    return HoldGene(round(math.exp(_uniform(rng, math.log(3), math.log(300)))))


def random_section(rng: np.random.Generator, fewest: int, most: int, *, hold: bool = False) -> Section:
    """Between ``fewest`` and ``most`` random genes; with ``hold``, one may be a ``hold > n``."""
    count = fewest + below(rng, most + 1 - fewest)
    genes: dict[Gene | HoldGene, None] = {}
    while len(genes) < count:
        first_may_hold = hold and not genes and rng.random() < 0.5
        genes[random_hold(rng) if first_may_hold else random_gene(rng)] = None
    need = 2 + below(rng, count - 2) if count >= 3 and rng.random() < _SHARE_OF_COUNTS else None
    return section_of(genes, need)


def random_risk(rng: np.random.Generator, *, max_leverage: float = 1.0) -> RiskParameters:
    """Random risk parameters; leverage from 1 to ``max_leverage`` in halves."""
    if type(max_leverage) is not float or not 1.0 <= max_leverage <= RISK_LIMITS["leverage"].high:
        faults = Faults("random_risk")
        faults.number("max_leverage", max_leverage, low=1.0, high=RISK_LIMITS["leverage"].high)
        faults.raise_if_any()
    stop = round(_uniform(rng, 0.5, 5.0), 1) if rng.random() < 0.75 else 0.0
    trails = stop > 0.0 and rng.random() < 0.3
    return RiskParameters(
        position_size=round(_uniform(rng, 0.05, 0.95), 2),
        leverage=max(1.0, math.floor(2.0 * _uniform(rng, 1.0, max_leverage)) / 2.0),
        stop_atr=0.0 if trails else stop,
        trailing_atr=stop if trails else 0.0,
        take_profit_atr=round(_uniform(rng, 0.5, 8.0), 1) if rng.random() < 0.5 else 0.0,
        atr_period=5 + below(rng, 26),
        reverse=bool(rng.random() < 0.5),
    )


def random_parts(
    rng: np.random.Generator, *, max_leverage: float = 1.0
) -> tuple[Section, Section, Section, Section, RiskParameters]:
    """Entry long, entry short, exit, filters and risk parameters; one of the entries may be without genes."""
    sides = rng.random()
    return (
        random_section(rng, 1, 3) if sides < 0.85 else Section(),
        random_section(rng, 1, 3) if sides >= 0.25 else Section(),
        random_section(rng, 0, 3, hold=True),
        random_section(rng, 1, 2) if rng.random() < 0.4 else Section(),
        random_risk(rng, max_leverage=max_leverage),
    )
