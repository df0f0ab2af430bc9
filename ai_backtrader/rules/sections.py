"""Sections of genes and the risk parameters: the two halves of a chromosome."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, fields

from ai_backtrader.checks import Faults
from ai_backtrader.rules.genes import Gene, HoldGene
from ai_backtrader.rules.hashing import RemembersHash
from ai_backtrader.rules.text import number_text

__all__ = [
    "MAX_GENES",
    "RISK_LIMITS",
    "RISK_NAMES",
    "SECTIONS",
    "RiskLimits",
    "RiskParameters",
    "Section",
    "section_of",
]

SECTIONS = ("entry_long", "entry_short", "exit", "filters")
"""Names of a chromosome's sections, in order."""

MAX_GENES = 16
"""Most genes in one section."""


_PLACE = operator.attrgetter("sort_key")


@dataclass(frozen=True, slots=True)
class Section(RemembersHash):
    """Genes and how many of them must be true.

    Parameters
    ----------
    genes
        In any order; they are kept in one order, so that the same rules written differently are equal. None may
        appear twice.
    need
        At least so many must be true. None is the section's own rule: all in entries and filters, any in the exit.

    Raises
    ------
    SettingsError
        Naming every fault.
    """

    genes: tuple[Gene | HoldGene, ...] = ()
    need: int | None = None

    def __post_init__(self) -> None:
        if not self._is_plain():
            self._check()
        if len(self.genes) > 1:
            object.__setattr__(self, "genes", tuple(sorted(self.genes, key=_PLACE)))

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            return self._remember((self.genes, self.need))

    def _is_plain(self) -> bool:
        # The usual case, without the cost of collecting faults: searches make many sections.
        genes, need = self.genes, self.need
        if type(genes) is not tuple or len(genes) > MAX_GENES:
            return False
        for gene in genes:
            if type(gene) is not Gene and type(gene) is not HoldGene:
                return False
        if len(genes) > 1 and len(set(genes)) < len(genes):
            return False
        return need is None or (type(need) is int and 1 <= need <= len(genes))

    def _check(self) -> None:
        faults = Faults("Section")
        genes: object = self.genes
        if not isinstance(genes, tuple | list) or not all(isinstance(gene, Gene | HoldGene) for gene in genes):
            faults.add(f"genes must be a tuple of Gene and HoldGene, got {genes!r}")
            faults.raise_if_any()
        if len(self.genes) > MAX_GENES:
            faults.add(f"genes may be at most {MAX_GENES}, got {len(self.genes)}")
        if len(set(self.genes)) < len(self.genes):
            twice = [gene.describe() for gene in dict.fromkeys(self.genes) if self.genes.count(gene) > 1]
            faults.add(f"genes appear twice: {', '.join(twice)}")
        if self.need is not None:
            if self.genes:
                faults.whole("need", self.need, low=1, high=len(self.genes))
            else:
                faults.add(f"need must be None in a section without genes, got {self.need!r}")
        faults.raise_if_any()
        object.__setattr__(self, "genes", tuple(self.genes))
        if self.need is not None:
            object.__setattr__(self, "need", int(self.need))

    def __len__(self) -> int:
        return len(self.genes)

    def describe(self, *, otherwise: str) -> str:
        """Human text; ``otherwise`` is the word between genes where ``need`` is None: ``"and"`` or ``"or"``."""
        texts = [gene.describe() for gene in self.genes]
        if self.need is None or len(texts) == 1:
            return f" {otherwise} ".join(texts)
        if self.need == len(texts):
            return " and ".join(texts)
        if self.need == 1:
            return " or ".join(texts)
        return f"at least {self.need} of ({', '.join(texts)})"


def section_of(genes: Iterable[Gene | HoldGene], need: int | None = None) -> Section:
    """Section of any genes: repeated ones and those beyond :data:`MAX_GENES` are dropped, ``need`` is held in range.

    For operators that join the genes of two parents.
    """
    kept = tuple(dict.fromkeys(genes))[:MAX_GENES]
    held = min(max(need, 1), len(kept)) if need is not None and kept else None
    for gene in kept:
        if type(gene) is not Gene and type(gene) is not HoldGene:
            return Section(kept, held)  # which says what is wrong
    # Nothing is left to check: the section is made without.
    made = object.__new__(Section)
    object.__setattr__(made, "genes", tuple(sorted(kept, key=_PLACE)) if len(kept) > 1 else kept)
    object.__setattr__(made, "need", held)
    return made


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskLimits:
    """Range of one risk parameter, both ends included; ``off`` says whether 0 (none) is allowed beside it."""

    low: float
    high: float
    off: bool = False


RISK_LIMITS = {
    "position_size": RiskLimits(low=0.001, high=1.0),
    "leverage": RiskLimits(low=1.0, high=125.0),
    "stop_atr": RiskLimits(low=0.1, high=50.0, off=True),
    "take_profit_atr": RiskLimits(low=0.1, high=100.0, off=True),
    "trailing_atr": RiskLimits(low=0.1, high=50.0, off=True),
    "atr_period": RiskLimits(low=2, high=100),
}
"""Range of every risk parameter that is a number."""

_risk_values = operator.attrgetter(*RISK_LIMITS)
_RISK_RANGES = tuple(
    (int if name == "atr_period" else float, limits.low, limits.high, limits.off)
    for name, limits in RISK_LIMITS.items()
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskParameters(RemembersHash):
    """How much is traded and how the position is protected.

    Parameters
    ----------
    position_size
        Margin as a share of equity, a fraction: 0.15 at leverage 3 is a notional of 45 % of equity.
    leverage
        Multiple of the margin posted; 1 is plain Backtrader.
    stop_atr
        Distance of the stop from the close of the decision, in ATR; 0 for none.
    take_profit_atr
        Distance of the target, in ATR; 0 for none.
    trailing_atr
        Distance of a trailing stop, in ATR, in place of ``stop_atr``; 0 for none.
    atr_period
        Period of that ATR, in bars.
    reverse
        Whether the opposite entry closes the position and opens the other side.

    Raises
    ------
    SettingsError
        Naming every fault.
    """

    position_size: float = 0.15
    leverage: float = 1.0
    stop_atr: float = 2.0
    take_profit_atr: float = 0.0
    trailing_atr: float = 0.0
    atr_period: int = 14
    reverse: bool = True

    def __post_init__(self) -> None:
        if not self._is_plain():
            self._check()

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            return self._remember((*_risk_values(self), self.reverse))

    def _is_plain(self) -> bool:
        # The usual case, without the cost of collecting faults.
        for value, (plain, low, high, off) in zip(_risk_values(self), _RISK_RANGES, strict=True):
            if type(value) is not plain:
                return False
            if not low <= value <= high and not (off and value == 0.0 and math.copysign(1.0, value) > 0.0):
                return False
        return type(self.reverse) is bool and not (self.stop_atr and self.trailing_atr)

    def _check(self) -> None:
        faults = Faults("RiskParameters")
        for name, limits in RISK_LIMITS.items():
            value = getattr(self, name)
            if limits.off and not isinstance(value, bool) and value == 0:
                continue
            if name == "atr_period":
                faults.whole(name, value, low=int(limits.low), high=int(limits.high))
            else:
                before = len(faults.found)
                faults.number(name, value, low=limits.low, high=limits.high)
                if limits.off and len(faults.found) > before:
                    faults.found[-1] += "; 0 is none"
        reverse: object = self.reverse
        if not isinstance(reverse, bool):
            faults.add(f"reverse must be True or False, got {reverse!r}")
        if not faults.found and self.stop_atr and self.trailing_atr:
            faults.add(
                f"stop_atr ({self.stop_atr:g}) and trailing_atr ({self.trailing_atr:g}) exclude each other; "
                "set one of them to 0"
            )
        faults.raise_if_any()
        for name in RISK_LIMITS:
            value = getattr(self, name)
            object.__setattr__(self, name, int(value) if name == "atr_period" else float(value) + 0.0)

    @property
    def needs_atr(self) -> bool:
        """Whether a stop, target or trailing stop uses the ATR."""
        return bool(self.stop_atr or self.take_profit_atr or self.trailing_atr)

    def describe(self) -> str:
        """Human text: ``15% of equity at 3x, stop 2 ATR(14), reverses``."""
        parts = [f"{number_text(round(self.position_size * 100, 6))}% of equity at {number_text(self.leverage)}x"]
        for name, value in (
            ("stop", self.stop_atr), ("trailing stop", self.trailing_atr), ("target", self.take_profit_atr),
        ):  # fmt: skip
            if value:
                parts.append(f"{name} {number_text(value)} ATR({self.atr_period})")
        parts.append("reverses" if self.reverse else "does not reverse")
        return ", ".join(parts)


RISK_NAMES = tuple(item.name for item in fields(RiskParameters))
"""Names of the risk parameters, in order."""
