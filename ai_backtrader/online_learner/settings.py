"""Settings of the online learner."""

from __future__ import annotations

from dataclasses import dataclass, field

from ai_backtrader.checks import Faults
from ai_backtrader.online_learner.detectors import (
    Adwin,
    BernoulliGlr,
    Detector,
    GarchCusum,
    MeanGlr,
    PageHinkley,
    WindowedZ,
)

__all__ = [
    "DRIFT_SERIES",
    "HEALTH_RULES",
    "DriftSettings",
    "HealthSettings",
    "OnlineLearnerSettings",
    "PatternSettings",
]

HEALTH_RULES = ("consecutive_losses", "win_rate", "average_pnl", "calibrated")
DRIFT_SERIES = ("momentum", "volatility", "volume")

_BEST: dict[str, tuple[Detector, ...]] = {
    "momentum": (MeanGlr(),),
    "volatility": (GarchCusum(), Adwin(delta=0.0005)),
    "volume": (WindowedZ(threshold=4.7), Adwin()),
}

# Detectors that understand one series alone.
_SPECIAL: dict[str, tuple[type, ...]] = {"volatility_detectors": (GarchCusum,), "win_rate_detectors": (BernoulliGlr,)}

# Market features that mean the same at any price and in any year; prices and raw volumes would not.
_FEATURES = (
    "rsi", "macd_hist", "momentum_5", "atr_ratio", "bb_position", "volatility_ratio", "adx", "trend_strength",
    "ema_alignment", "volume_ratio",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    """When a strategy is taken out, and when it may come back.

    Attributes
    ----------
    rules
        Names of the rules that degrade a strategy, any of ``consecutive_losses``, ``win_rate``, ``average_pnl``,
        ``calibrated``. The first three are the defaults. ``consecutive_losses`` takes a healthy strategy that wins
        55 % out with probability 0.65 within 100 trades; ``calibrated`` instead keeps to ``false_alarm_rate``.
    window
        Trades of the rolling win rate and average.
    max_consecutive_losses
        This many losses in a row degrade.
    min_win_rate
        A rolling win rate below this degrades; fraction.
    min_average_pnl_pct
        A rolling average below this degrades; percent points of the margin posted.
    min_trades
        Win rate and average are not judged on fewer trades.
    false_alarm_rate, false_alarm_trades
        ``calibrated``: probability of an alarm within so many trades at the strategy's own baseline.
    allowance
        ``calibrated``: taken off every rank score; half the shift, in standard deviations, that is found fastest.
    baseline_trades, min_baseline_trades
        ``calibrated``: a trade is ranked among so many healthy ones before it, at most and at least.
    recovery_trades, recovery_pnl_pct
        Degraded: so many of the latest trades (on paper, or positions still open then) without a broken rule and with
        an average above this, percent points, lead to probation.
    shadow_timeout_bars
        Degraded without a single trade on paper for so many bars: probation, because nobody follows it; None waits for
        ever.
    probation_trades, probation_size
        So many trades at this share of the size without a broken rule and with an average above
        ``recovery_pnl_pct`` make it healthy again.
    """

    rules: tuple[str, ...] = ("consecutive_losses", "win_rate", "average_pnl")
    window: int = 50
    max_consecutive_losses: int = 5
    min_win_rate: float = 0.35
    min_average_pnl_pct: float = -1.0
    min_trades: int = 20
    false_alarm_rate: float = 0.05
    false_alarm_trades: int = 100
    allowance: float = 0.25
    baseline_trades: int = 200
    min_baseline_trades: int = 30
    recovery_trades: int = 20
    recovery_pnl_pct: float = 0.0
    shadow_timeout_bars: int | None = 500
    probation_trades: int = 20
    probation_size: float = 0.5

    def __post_init__(self) -> None:
        faults = Faults("HealthSettings")
        _names(faults, "rules", self.rules, HEALTH_RULES)
        for name in ("window", "max_consecutive_losses", "min_trades", "false_alarm_trades", "recovery_trades",
                     "probation_trades"):  # fmt: skip
            faults.whole(name, getattr(self, name), low=1)
        faults.whole("min_baseline_trades", self.min_baseline_trades, low=10)
        faults.whole("baseline_trades", self.baseline_trades, low=10, high=10_000)
        if not faults.found and self.min_baseline_trades > self.baseline_trades:
            faults.add(
                f"min_baseline_trades must be at most baseline_trades ({self.baseline_trades}), "
                f"got {self.min_baseline_trades}"
            )
        if not faults.found and self.min_trades > self.window:
            faults.add(f"min_trades must be at most window ({self.window}), got {self.min_trades}")
        faults.number("min_win_rate", self.min_win_rate, low=0.0, high=1.0)
        faults.number("min_average_pnl_pct", self.min_average_pnl_pct)
        faults.number("recovery_pnl_pct", self.recovery_pnl_pct)
        faults.number("false_alarm_rate", self.false_alarm_rate, low=0.001, high=0.5)
        faults.number("allowance", self.allowance, above=0.0, high=1.5)
        faults.number("probation_size", self.probation_size, above=0.0, high=1.0)
        if self.shadow_timeout_bars is not None:
            faults.whole("shadow_timeout_bars", self.shadow_timeout_bars, low=1)
        faults.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class DriftSettings:
    """What is watched for drift, and by which detectors.

    Attributes
    ----------
    series
        Of the market, fed every bar; any of ``momentum`` (log return), ``volatility`` (its absolute value), ``volume``
        (its logarithm).
    detectors
        For all of these; an alarm of any of them is an alarm. None takes for each series what does best there (see
        :meth:`detectors_of`).
    momentum_detectors, volatility_detectors
        For one series; None takes ``detectors``.
    win_rate_detectors
        For the win rate of each strategy, fed 1 or 0 at each trade.
    warm_up
        Bars to learn scale and correlation from, at the start and after each alarm; at least 30.
    clip
        Limit of a standardised value, in robust standard deviations.
    lags
        Serial correlation is counted up to so many bars back.
    cool_down_bars, cool_down_trades
        After a request, no further one for the same symbol (or strategy) within so many bars (or trades).
    """

    series: tuple[str, ...] = DRIFT_SERIES
    detectors: tuple[Detector, ...] | None = None
    momentum_detectors: tuple[Detector, ...] | None = None
    volatility_detectors: tuple[Detector, ...] | None = None
    win_rate_detectors: tuple[Detector, ...] = (BernoulliGlr(),)
    warm_up: int = 500
    clip: float = 8.0
    lags: int = 30
    cool_down_bars: int = 500
    cool_down_trades: int = 100

    def __post_init__(self) -> None:
        faults = Faults("DriftSettings")
        _names(faults, "series", self.series, DRIFT_SERIES)
        for name in ("detectors", "momentum_detectors", "volatility_detectors", "win_rate_detectors"):
            given: object = getattr(self, name)
            if name != "win_rate_detectors" and given is None:
                continue
            if not isinstance(given, tuple) or not given:
                faults.add(f"{name} must be a tuple of one or more detectors, got {given!r}")
                continue
            kinds = (*_SPECIAL.get(name, ()), MeanGlr, WindowedZ, Adwin, PageHinkley)
            if not all(isinstance(detector, kinds) for detector in given):
                elsewhere = "".join(
                    f"; {kind.__name__} is for {other}"
                    for other, special in _SPECIAL.items()
                    for kind in special
                    if other != name and any(isinstance(detector, kind) for detector in given)
                )
                *most, last = (kind.__name__ for kind in kinds)
                faults.add(f"{name} must hold {', '.join(most)} or {last}, got {given!r}{elsewhere}")
        faults.whole("warm_up", self.warm_up, low=30)
        faults.number("clip", self.clip, above=0.0)
        faults.whole("lags", self.lags, low=0)
        for name in ("cool_down_bars", "cool_down_trades"):
            faults.whole(name, getattr(self, name), low=0)
        faults.raise_if_any()

    def detectors_of(self, series: str) -> tuple[Detector, ...]:
        """Detectors of one of the market's series.

        By default ``MeanGlr`` for momentum; ``GarchCusum``, and ADWIN for changes too small for it, for volatility; for
        volume, which hangs together too much for likelihood ratios, windows (at 4.7 standard errors) and ADWIN.
        """
        own = {"momentum": self.momentum_detectors, "volatility": self.volatility_detectors}.get(series)
        return own or self.detectors or _BEST[series]


@dataclass(frozen=True, kw_only=True)
class PatternSettings:
    """How the outcomes of earlier trades in like conditions are judged.

    Attributes
    ----------
    features
        Indicators that make up the conditions, compared by name; give those that mean the same at any price level.
    capacity
        Trades remembered of one strategy; the oldest makes room.
    min_trades
        No verdict on fewer remembered trades.
    neighbours
        Nearest trades that are looked at, at most; never more than a quarter of those remembered.
    min_features
        No verdict where fewer of ``features`` are given; fraction.
    distance_cap
        Most that one feature adds to a distance, in robust standard deviations; a feature missing in the memory adds
        this.
    prior_strength
        The neighbours' win rate is shrunk towards the strategy's own as if by so many trades of it.
    veto_probability
        Trading is refused where the neighbours lost on average and so few of them won that chance at the strategy's own
        win rate has at most this probability; None never refuses.
    """

    features: tuple[str, ...] = _FEATURES
    capacity: int = 10_000
    min_trades: int = 100
    neighbours: int = 50
    min_features: float = 0.5
    distance_cap: float = 3.0
    prior_strength: float = 20.0
    veto_probability: float | None = 0.001

    def __post_init__(self) -> None:
        faults = Faults("PatternSettings")
        given: object = self.features
        if not isinstance(given, tuple) or not given or not all(isinstance(name, str) for name in given):
            faults.add(f"features must be a tuple of one or more names, got {given!r}")
        elif len(set(given)) < len(given):
            faults.add(f"features must be different names, got {given!r}")
        faults.whole("capacity", self.capacity, low=1)
        faults.whole("min_trades", self.min_trades, low=8)
        faults.whole("neighbours", self.neighbours, low=2)
        if not faults.found and self.min_trades > self.capacity:
            faults.add(f"min_trades must be at most capacity ({self.capacity}), got {self.min_trades}")
        faults.number("min_features", self.min_features, above=0.0, high=1.0)
        faults.number("distance_cap", self.distance_cap, above=0.0)
        faults.number("prior_strength", self.prior_strength, low=0.0)
        if self.veto_probability is not None:
            faults.number("veto_probability", self.veto_probability, low=0.0, high=1.0)
        faults.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class OnlineLearnerSettings:
    """Settings of the online learner and of its parts.

    Attributes
    ----------
    health, drift, patterns
        Of the parts.
    min_regime_trades
        No verdict on a strategy in a regime with fewer trades there.
    regime_prior_strength
        A regime's win rate is shrunk towards the strategy's own as if by so many trades of it.
    min_adjustment, max_adjustment
        Limits of the adjustment where trading is allowed; probation's size is multiplied in afterwards.
    """

    health: HealthSettings = field(default_factory=HealthSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)
    patterns: PatternSettings = field(default_factory=PatternSettings)
    min_regime_trades: int = 20
    regime_prior_strength: float = 20.0
    min_adjustment: float = 0.5
    max_adjustment: float = 1.2

    def __post_init__(self) -> None:
        faults = Faults("OnlineLearnerSettings")
        for name, kind in (("health", HealthSettings), ("drift", DriftSettings), ("patterns", PatternSettings)):
            if not isinstance(getattr(self, name), kind):
                faults.add(f"{name} must be {kind.__name__}, got {getattr(self, name)!r}")
        faults.whole("min_regime_trades", self.min_regime_trades, low=1)
        faults.number("regime_prior_strength", self.regime_prior_strength, low=0.0)
        faults.number("min_adjustment", self.min_adjustment, low=0.0, high=1.0)
        faults.number("max_adjustment", self.max_adjustment, low=1.0)
        faults.raise_if_any()


def _names(faults: Faults, name: str, given: object, known: tuple[str, ...]) -> None:
    if not isinstance(given, tuple):
        faults.add(f"{name} must be a tuple of names, got {given!r}")
        return
    for item in given:
        faults.one_of(name, item, known)
    if not faults.found and len(set(given)) < len(given):
        faults.add(f"{name} must be different names, got {given!r}")
