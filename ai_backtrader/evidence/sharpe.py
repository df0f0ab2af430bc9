"""What a Sharpe ratio is worth: its uncertainty, and what the search that found it costs.

Conventions, the same in every function:

- A **Sharpe ratio** is per period, that of the returns themselves: the annual one over ``sqrt(bars_per_year)``.
- **kurtosis** is plain: 3 for the normal distribution.
- NaN in, NaN out: what is unknown stays unknown. Fewer than two observations, or a variance that is not positive, is
  unknown too.

The variance of an estimated Sharpe ratio ``s`` of returns with skewness ``g3`` and kurtosis ``g4`` is
``(1 - g3 s + (g4 - 1) / 4 s**2) / n`` (Mertens, 2002). Two conventions of using it are published, and both are here by
name:

- ``"2012"`` (default): at the observed Sharpe ratio, with ``n - 1`` [1]_ [2]_;
- ``"2025"``: at the benchmark, the Sharpe ratio of the null hypothesis, with ``n`` [4]_.

References
----------
.. [1] Bailey and Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 3-44.
.. [2] Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 94-107.
.. [3] Bailey, Borwein, Lopez de Prado and Zhu (2014), "Pseudo-Mathematics and Financial Charlatanism", Notices of the
   AMS 61(5), 458-471.
.. [4] Lopez de Prado, Lipton and Zoonekynd (2025), "How to Use the Sharpe Ratio", SSRN 5520741, with the code of
   github.com/zoonek/2025-sharpe-ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ai_backtrader.checks import Faults
from ai_backtrader.evidence.metrics import kurtosis as kurtosis_of
from ai_backtrader.evidence.metrics import sharpe_ratio, skewness

__all__ = [
    "Convention",
    "SharpeEvidence",
    "deflated_sharpe_ratio",
    "expected_maximum_sharpe",
    "minimum_backtest_length",
    "minimum_track_record_length",
    "probabilistic_sharpe_ratio",
    "sharpe_evidence",
]

Convention = Literal["2012", "2025"]

_CONVENTIONS = ("2012", "2025")
_EULER_GAMMA = 0.5772156649015329
_NORMAL = NormalDist()
_LEAST_KURTOSIS = 1.0 - 1e-9  # kurtosis >= 1 + skew**2; a sample of two values lies on the bound, give or take a bit


@dataclass(frozen=True, kw_only=True)
class SharpeEvidence:
    """What :func:`sharpe_evidence` found; every Sharpe ratio is per period, every length in periods.

    Attributes
    ----------
    n_obs, sharpe, skew, kurtosis
        Of the returns that are not NaN.
    standard_error
        Of the Sharpe ratio, at the observed one.
    n_trials, trials_sharpe_std
        What was searched: number of trials, and the deviation of their Sharpe ratios.
    expected_maximum
        Sharpe ratio that the best of so many trials without any edge is expected to show.
    probabilistic, deflated
        Probability that the true Sharpe ratio exceeds the benchmark, and the expected maximum.
    minimum_track_record, minimum_track_record_deflated
        Observations needed to be confident of exceeding the benchmark, and the expected maximum.
    minimum_backtest
        Observations below which a search of so many trials without edge is expected to show this Sharpe ratio.
    confidence, convention
        As asked.
    """

    n_obs: int
    sharpe: float
    skew: float
    kurtosis: float
    standard_error: float
    n_trials: float
    trials_sharpe_std: float
    expected_maximum: float
    probabilistic: float
    deflated: float
    minimum_track_record: float
    minimum_track_record_deflated: float
    minimum_backtest: float
    confidence: float
    convention: Convention


def _check(faults: Faults, *, convention: str = "2012", **numbers: tuple[float, float]) -> None:
    """Name what is no number or below its bound; NaN passes, because it is an answer."""
    for name, (value, low) in numbers.items():
        if not (isinstance(value, (float, np.floating)) and math.isnan(value)):
            faults.number(name, value, low=low)
    faults.one_of("convention", convention, _CONVENTIONS)


def _check_confidence(faults: Faults, confidence: float) -> None:
    faults.number("confidence", confidence)
    if not faults.found and not 0.5 < confidence < 1.0:
        faults.add(f"confidence must lie between 0.5 and 1, both excluded, got {confidence!r}")


def _unit_variance(at: float, skew: float, kurtosis: float) -> float:
    # Variance of the estimated Sharpe ratio times the observations; NaN where the moments are impossible.
    variance = 1.0 - skew * at + (kurtosis - 1.0) / 4.0 * at * at
    return variance if variance > 0.0 else math.nan


def probabilistic_sharpe_ratio(
    *,
    sharpe: float,
    benchmark: float = 0.0,
    n_obs: int,
    skew: float,
    kurtosis: float,
    convention: Convention = "2012",
) -> float:
    """Probability that the true Sharpe ratio exceeds a benchmark, given the observed one (PSR).

    Parameters
    ----------
    sharpe, benchmark
        Per period, neither annualised.
    n_obs
        Number of returns behind ``sharpe``.
    skew, kurtosis
        Of the returns; kurtosis plain (3 for the normal).
    convention
        ``"2012"``: equation 9 of [1]_. ``"2025"``: that of [4]_. See the head of the module.

    Returns
    -------
    float
        Between 0 and 1. NaN with NaN among the arguments, fewer than two observations, or moments that give no
        positive variance.

    Raises
    ------
    SettingsError
        An argument is infinite or impossible.

    References
    ----------
    .. [1] Bailey and Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2).
    .. [4] Lopez de Prado, Lipton and Zoonekynd (2025), "How to Use the Sharpe Ratio", SSRN 5520741.

    Examples
    --------
    The hedge fund of the paper: two years of months, 0.458 a month; normal returns would give 0.982.

    >>> round(probabilistic_sharpe_ratio(sharpe=0.458, n_obs=24, skew=-2.448, kurtosis=10.164), 3)
    0.913
    """
    faults = Faults("probabilistic_sharpe_ratio")
    _check(
        faults,
        convention=convention,
        sharpe=(sharpe, -math.inf),
        benchmark=(benchmark, -math.inf),
        skew=(skew, -math.inf),
        kurtosis=(kurtosis, _LEAST_KURTOSIS),
    )
    faults.whole("n_obs", n_obs, low=0)
    faults.raise_if_any()
    if n_obs < 2:
        return math.nan
    at, count = (sharpe, n_obs - 1) if convention == "2012" else (benchmark, n_obs)
    z = (sharpe - benchmark) * math.sqrt(count / _unit_variance(at, skew, kurtosis))
    return 0.5 * math.erfc(-z / math.sqrt(2.0))  # unlike 1 + erf, it keeps its digits far below the benchmark


def expected_maximum_sharpe(n_trials: float, trials_sharpe_std: float) -> float:
    """Sharpe ratio expected of the best of ``n_trials`` trials none of which has an edge.

    ``std * ((1 - g) * Z(1 - 1/N) + g * Z(1 - 1/(N e)))`` with Euler's constant ``g`` and the normal quantile ``Z``:
    equation 1 of Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio".

    Parameters
    ----------
    n_trials
        Independent trials, at least 1; an effective number need not be whole.
    trials_sharpe_std
        Deviation of the trials' Sharpe ratios; the result is in its unit (per period or annual).

    Returns
    -------
    float
        0 for one trial (nothing was chosen), whatever the deviation; NaN where an argument is NaN.

    Examples
    --------
    >>> round(expected_maximum_sharpe(10, 1.0), 2)
    1.57
    """
    faults = Faults("expected_maximum_sharpe")
    _check(faults, n_trials=(n_trials, 1.0), trials_sharpe_std=(trials_sharpe_std, 0.0))
    faults.raise_if_any()
    if n_trials == 1:
        return 0.0
    if math.isnan(n_trials) or math.isnan(trials_sharpe_std):
        return math.nan
    # 1 - 1/N loses the digits of 1/N; the normal's symmetry keeps them for any number of trials.
    first, second = -_NORMAL.inv_cdf(1.0 / n_trials), -_NORMAL.inv_cdf(1.0 / (n_trials * math.e))
    return max(0.0, trials_sharpe_std * ((1.0 - _EULER_GAMMA) * first + _EULER_GAMMA * second))


def deflated_sharpe_ratio(
    *,
    sharpe: float,
    n_obs: int,
    skew: float,
    kurtosis: float,
    n_trials: float,
    trials_sharpe_std: float,
    convention: Convention = "2012",
) -> float:
    """Probability that the true Sharpe ratio exceeds what the best of so many trials shows without any edge (DSR).

    The probabilistic Sharpe ratio against :func:`expected_maximum_sharpe`: equation 2 of Bailey and Lopez de Prado
    (2014), "The Deflated Sharpe Ratio"; with ``convention="2025"`` its variance is that of Lopez de Prado, Lipton and
    Zoonekynd (2025).

    Parameters
    ----------
    sharpe
        Of the trial that was chosen, per period.
    n_obs
        Number of its returns.
    skew, kurtosis
        Of its returns; kurtosis plain.
    n_trials
        **Every** trial ever made on these data for this purpose, not those of the last run.
    trials_sharpe_std
        Deviation of the trials' Sharpe ratios, **per period**: an annual one fails everything. Zero says that the
        trials were one and the same, and deflates nothing.

    Returns
    -------
    float
        Between 0 and 1; for one trial the probabilistic Sharpe ratio against 0. NaN as there.

    Examples
    --------
    The example of the paper: the best of 100 trials, an annual 2.5 on five years of 250 days.

    >>> day = 250**0.5
    >>> found = dict(sharpe=2.5 / day, n_obs=1250, skew=-3.0, kurtosis=10.0)
    >>> round(deflated_sharpe_ratio(**found, n_trials=100, trials_sharpe_std=0.5**0.5 / day), 4)
    0.9004
    """
    return probabilistic_sharpe_ratio(
        sharpe=sharpe,
        benchmark=expected_maximum_sharpe(n_trials, trials_sharpe_std),
        n_obs=n_obs,
        skew=skew,
        kurtosis=kurtosis,
        convention=convention,
    )


def minimum_track_record_length(
    *,
    sharpe: float,
    benchmark: float = 0.0,
    skew: float,
    kurtosis: float,
    confidence: float = 0.95,
    convention: Convention = "2012",
) -> float:
    """Observations needed before the Sharpe ratio exceeds a benchmark with a given confidence (MinTRL).

    The probabilistic Sharpe ratio solved for the observations: equation 11 of Bailey and Lopez de Prado (2012), "The
    Sharpe Ratio Efficient Frontier"; ``convention="2025"`` is that of Lopez de Prado, Lipton and Zoonekynd (2025).

    Returns
    -------
    float
        Observations, not rounded; infinite where ``sharpe`` is not above ``benchmark``: no record is long enough. NaN
        with NaN among the arguments.

    Examples
    --------
    An annual Sharpe ratio of 2 in months, against 1, of hedge fund returns: 4.99 years.

    >>> month = 12**0.5
    >>> n = minimum_track_record_length(sharpe=2 / month, benchmark=1 / month, skew=-0.72, kurtosis=5.78)
    >>> round(n, 3), round(n / 12, 2)
    (59.895, 4.99)
    """
    faults = Faults("minimum_track_record_length")
    _check(
        faults,
        convention=convention,
        sharpe=(sharpe, -math.inf),
        benchmark=(benchmark, -math.inf),
        skew=(skew, -math.inf),
        kurtosis=(kurtosis, _LEAST_KURTOSIS),
    )
    _check_confidence(faults, confidence)
    faults.raise_if_any()
    if any(map(math.isnan, (sharpe, benchmark, skew, kurtosis))):
        return math.nan
    if sharpe <= benchmark:
        return math.inf
    at, extra = (sharpe, 1.0) if convention == "2012" else (benchmark, 0.0)
    return extra + _unit_variance(at, skew, kurtosis) * (_NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


def minimum_backtest_length(*, n_trials: float, max_sharpe: float = 1.0) -> float:
    """Length below which the best of ``n_trials`` trials without edge is expected to show ``max_sharpe`` (MinBTL).

    ``(E[max_N] / max_sharpe) ** 2``: equation 6 of Bailey, Borwein, Lopez de Prado and Zhu (2014), "Pseudo-Mathematics
    and Financial Charlatanism".

    Parameters
    ----------
    n_trials
        Independent trials, at least 1.
    max_sharpe
        Sharpe ratio not to be reached by luck. Annual: the result is in years. Per period: in periods.

    Returns
    -------
    float
        0 for one trial; infinite where ``max_sharpe`` is not positive and there was a choice; NaN where an argument is
        NaN.

    Examples
    --------
    With five years of data no more than 45 configurations should be tried.

    >>> round(minimum_backtest_length(n_trials=45), 2)
    5.0
    """
    faults = Faults("minimum_backtest_length")
    _check(faults, n_trials=(n_trials, 1.0), max_sharpe=(max_sharpe, -math.inf))
    faults.raise_if_any()
    if math.isnan(n_trials) or math.isnan(max_sharpe):
        return math.nan
    best = expected_maximum_sharpe(n_trials, 1.0)
    if best == 0.0:
        return 0.0
    return (best / max_sharpe) ** 2 if max_sharpe > 0.0 else math.inf


def sharpe_evidence(
    returns: ArrayLike,
    *,
    n_trials: float = 1,
    trials_sharpe_std: float | None = None,
    benchmark: float = 0.0,
    confidence: float = 0.95,
    convention: Convention = "2012",
) -> SharpeEvidence:
    """Every figure of this module from a series of returns.

    Parameters
    ----------
    returns
        Shape (n,), simple returns a period of the trial that was chosen; NaN (no return) is dropped.
    n_trials
        Every trial ever made on these data for this purpose.
    trials_sharpe_std
        Deviation of their Sharpe ratios, per period. None: ``1 / sqrt(n - 1)``, what trials without any edge show by
        chance on so many returns; more where their true Sharpe ratios differ, so give it where it is known.
    benchmark
        Per period; for :attr:`SharpeEvidence.probabilistic` and the minimum track record.

    Returns
    -------
    SharpeEvidence
        Empty, single, constant or all-NaN ``returns`` give NaN in every figure that depends on them; ``n_obs`` counts
        what was there.

    Raises
    ------
    SettingsError
        ``returns`` is not one-dimensional or holds an infinity, or an argument is impossible.
    """
    # The metrics check shape and infinities.
    sharpe = sharpe_ratio(returns, bars_per_year=1.0)
    skew, kurt = skewness(returns), kurtosis_of(returns)
    n_obs = int(np.count_nonzero(~np.isnan(np.asarray(returns, dtype=np.float64))))
    if trials_sharpe_std is None:
        trials_sharpe_std = 1.0 / math.sqrt(n_obs - 1) if n_obs > 1 else math.nan
    best = expected_maximum_sharpe(n_trials, trials_sharpe_std)

    def probability(against: float) -> float:
        return probabilistic_sharpe_ratio(
            sharpe=sharpe, benchmark=against, n_obs=n_obs, skew=skew, kurtosis=kurt, convention=convention
        )

    def length(against: float) -> float:
        return minimum_track_record_length(
            sharpe=sharpe, benchmark=against, skew=skew, kurtosis=kurt, confidence=confidence, convention=convention
        )

    count = n_obs - 1 if convention == "2012" else n_obs
    return SharpeEvidence(
        n_obs=n_obs,
        sharpe=sharpe,
        skew=skew,
        kurtosis=kurt,
        standard_error=math.sqrt(_unit_variance(sharpe, skew, kurt) / count) if count > 0 else math.nan,
        n_trials=n_trials,
        trials_sharpe_std=trials_sharpe_std,
        expected_maximum=best,
        probabilistic=probability(benchmark),
        deflated=probability(best),
        minimum_track_record=length(benchmark),
        minimum_track_record_deflated=length(best),
        minimum_backtest=minimum_backtest_length(n_trials=n_trials, max_sharpe=sharpe),
        confidence=confidence,
        convention=convention,
    )
