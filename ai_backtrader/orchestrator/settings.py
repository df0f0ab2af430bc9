"""Settings of the orchestrator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ai_backtrader.checks import Faults
from ai_backtrader.orchestrator.values import SOURCES
from ai_backtrader.values import FrozenMapping

__all__ = ["OrchestratorSettings"]

_WEIGHTS: Mapping[str, float] = FrozenMapping(
    {"technical": 0.30, "rl": 0.25, "evolved": 0.20, "online": 0.15, "llm": 0.10}
)


@dataclass(frozen=True, kw_only=True)
class OrchestratorSettings:
    """How votes become a decision; checked once, all faults reported together.

    Attributes
    ----------
    weights
        Weight by source, at least 0 each; a source that is left out or at 0 is not asked. Only their ratios matter.
    hold_threshold
        Confidence below this is HOLD.
    base_confidence
        Confidence of a base signal that comes without one.
    stop_atr, target_atr
        Distance of stop and target in ATR.
    advice_may_raise_risk
        False: the advisor can veto, lower the score and shrink the size, never the opposite.
    veto_confidence
        Confidence from which the advisor's HOLD, or its vote for the other side, is a veto.
    high_risk_size_factor
        Factor on the size where the advisor calls the risk high.
    fallback_margin_fraction
        Without a sizer: margin as a fraction of equity at confidence 1, at leverage 1.
    strict
        True: a source or listener that raises is not counted and left out but stops the run.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: _WEIGHTS)
    hold_threshold: float = 0.40
    base_confidence: float = 0.5
    stop_atr: float = 2.0
    target_atr: float = 3.0
    advice_may_raise_risk: bool = False
    veto_confidence: float = 0.6
    high_risk_size_factor: float = 0.5
    fallback_margin_fraction: float = 0.10
    strict: bool = False

    def __post_init__(self) -> None:
        faults = Faults("OrchestratorSettings")
        given: object = self.weights
        if isinstance(given, Mapping):
            faults.known_keys("weights", self.weights, SOURCES)
            for source, weight in self.weights.items():
                faults.number(f"weights[{source!r}]", weight, low=0.0)
            if not faults.found and not sum(self.weights.values()) > 0.0:
                faults.add("weights must hold at least one weight above 0")
        else:
            faults.add(f"weights must map sources to numbers, got {self.weights!r}")
        for name in ("hold_threshold", "base_confidence", "veto_confidence", "high_risk_size_factor"):
            faults.number(name, getattr(self, name), low=0.0, high=1.0)
        faults.number("fallback_margin_fraction", self.fallback_margin_fraction, above=0.0, high=1.0)
        for name in ("stop_atr", "target_atr"):
            faults.number(name, getattr(self, name), above=0.0)
        for name in ("advice_may_raise_risk", "strict"):
            faults.one_of(name, getattr(self, name), (True, False))
        faults.raise_if_any()
        object.__setattr__(self, "weights", FrozenMapping({name: float(w) for name, w in self.weights.items()}))
