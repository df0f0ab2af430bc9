"""StrategyChromosome: a whole strategy as a value."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from ai_backtrader.checks import Faults
from ai_backtrader.rules import encoding
from ai_backtrader.rules.genes import HoldGene, Series
from ai_backtrader.rules.hashing import RemembersHash
from ai_backtrader.rules.sampling import random_parts
from ai_backtrader.rules.sections import SECTIONS, RiskParameters, Section

__all__ = ["Required", "StrategyChromosome"]


class Required(NamedTuple):
    """How many genes of each section must be true; 0 for a section without genes."""

    entry_long: int
    entry_short: int
    exit: int
    filters: int


_NO_GENES = Section()
_USUAL_RISK = RiskParameters()


@dataclass(frozen=True, kw_only=True, init=False)
class StrategyChromosome(RemembersHash):
    """A strategy: when to go long or short, when to leave, what must hold for any entry, how much to risk.

    Frozen, hashable, picklable; equal when, and only when, the rules are the same.

    Parameters
    ----------
    entry_long, entry_short
        All genes must be true (or ``need`` of them). A section without genes never fires; one of the two needs genes.
    exit
        Any gene (or ``need`` of them) closes the position, of either side. May hold :class:`HoldGene`.
    filters
        All genes (or ``need`` of them) must be true for any entry, reversals included.
    risk
        Size, leverage, stop, target.

    Raises
    ------
    SettingsError
        Naming every fault.

    Notes
    -----
    Rules are evaluated at the close of bar t, orders fill at the open of t+1. Flat: long entry first, then short. In
    a position: the exit section, or the opposite entry where ``risk.reverse``, cancels the bracket's children and
    closes; the opposite entry then opens the other side with the same bar.

    Examples
    --------
    >>> from ai_backtrader.rules import Gene, Section, Series
    >>> rules = StrategyChromosome(
    ...     entry_long=Section((
    ...         Gene(Series("rsi", (14,)), "<", 30.0),
    ...         Gene(Series("ema", (12,)), "crosses_above", Series("ema", (26,))),
    ...     ))
    ... )
    >>> print(rules.describe())
    Long when EMA(12) crosses above EMA(26) and RSI(14) < 30
    Risk: 15% of equity at 1x, stop 2 ATR(14), reverses
    >>> StrategyChromosome.from_json(rules.to_json()) == rules
    True
    """

    entry_long: Section = _NO_GENES
    entry_short: Section = _NO_GENES
    exit: Section = _NO_GENES
    filters: Section = _NO_GENES
    risk: RiskParameters = _USUAL_RISK

    def __init__(
        self,
        *,
        entry_long: Section = _NO_GENES,
        entry_short: Section = _NO_GENES,
        exit: Section = _NO_GENES,
        filters: Section = _NO_GENES,
        risk: RiskParameters = _USUAL_RISK,
    ) -> None:
        # A frozen dataclass's own __init__ takes twice as long, and searches make many chromosomes.
        values = self.__dict__
        values["entry_long"] = entry_long
        values["entry_short"] = entry_short
        values["exit"] = exit
        values["filters"] = filters
        values["risk"] = risk
        if not self._is_plain():
            self._check()
        # One form for one meaning: a count that says what the section does anyway is left out.
        if self.entry_long.need or self.entry_short.need or self.exit.need or self.filters.need:
            for name, section in self.sections.items():
                if section.need is not None and section.need == (1 if name == "exit" else len(section.genes)):
                    object.__setattr__(self, name, Section(section.genes))

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            return self._remember((self.entry_long, self.entry_short, self.exit, self.filters, self.risk))

    def __getstate__(self) -> dict[str, object]:
        # Without what is cached: texts hash differently in every process.
        return {**self.sections, "risk": self.risk}

    def _is_plain(self) -> bool:
        # The usual case, without the cost of collecting faults: searches make many chromosomes.
        entry_long, entry_short, filters = self.entry_long, self.entry_short, self.filters
        if not (
            type(entry_long) is type(entry_short) is type(filters) is type(self.exit) is Section
            and type(self.risk) is RiskParameters
        ):
            return False
        longs, shorts, conditions = entry_long.genes, entry_short.genes, filters.genes
        # Sections keep their hold genes behind the others.
        return not (
            (longs and type(longs[-1]) is HoldGene)
            or (shorts and type(shorts[-1]) is HoldGene)
            or (conditions and type(conditions[-1]) is HoldGene)
            or not (longs or shorts)
        )

    def _check(self) -> None:
        faults = Faults("StrategyChromosome")
        for name in SECTIONS:
            found: object = getattr(self, name)
            if not isinstance(found, Section):
                faults.add(f"{name} must be a Section, got {found!r}")
            elif name != "exit":
                faults.found += [
                    f"{name} holds {gene.describe()!r}, which belongs to the exit section only"
                    for gene in found.genes
                    if isinstance(gene, HoldGene)
                ]
        risk: object = self.risk
        if not isinstance(risk, RiskParameters):
            faults.add(f"risk must be RiskParameters, got {risk!r}")
        if not faults.found and not self.entry_long.genes and not self.entry_short.genes:
            faults.add("entry_long and entry_short are both without genes: the strategy could never trade")
        faults.raise_if_any()

    @property
    def sections(self) -> dict[str, Section]:
        """The four sections by name, in order."""
        return {
            "entry_long": self.entry_long, "entry_short": self.entry_short, "exit": self.exit, "filters": self.filters,
        }  # fmt: skip

    @property
    def required(self) -> Required:
        """How many genes of each section must be true."""
        entry_long, entry_short, leave, filters = self.entry_long, self.entry_short, self.exit, self.filters
        return Required(
            entry_long.need or len(entry_long.genes),
            entry_short.need or len(entry_short.genes),
            leave.need or min(1, len(leave.genes)),
            filters.need or len(filters.genes),
        )

    @functools.cached_property
    def series(self) -> tuple[Series, ...]:
        """Every series that the genes read, each once, in the order of the sections."""
        genes = (gene for section in self.sections.values() for gene in section.genes)
        return tuple(dict.fromkeys(series for gene in genes for series in gene.series))

    def describe(self) -> str:
        """Human text, one line a section; sections without genes are left out."""
        words = {"entry_long": "Long when", "entry_short": "Short when", "exit": "Exit when", "filters": "Only if"}
        lines = [
            f"{words[name]} {section.describe(otherwise='or' if name == 'exit' else 'and')}"
            for name, section in self.sections.items()
            if section.genes
        ]
        return "\n".join([*lines, f"Risk: {self.risk.describe()}"])

    def to_json(self) -> str:
        """Canonical JSON: equal chromosomes give equal text (see :mod:`ai_backtrader.rules.encoding`)."""
        return encoding.dump(self.sections, self.risk)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Chromosome of a JSON text, which may come from anywhere; sections and risk parameters may be left out.

        Raises
        ------
        SettingsError
            Naming every fault with its place.
        """
        sections, risk = encoding.parse(text)
        return cls(**sections, risk=risk)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode("ascii")).hexdigest()

    @classmethod
    def random(cls, rng: np.random.Generator, *, max_leverage: float = 1.0) -> Self:
        """A random valid chromosome; leverage from 1 to ``max_leverage``."""
        entry_long, entry_short, leave, filters, risk = random_parts(rng, max_leverage=max_leverage)
        return cls(entry_long=entry_long, entry_short=entry_short, exit=leave, filters=filters, risk=risk)
