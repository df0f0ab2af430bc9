"""Drift detectors by name, and the channel that feeds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner import detector_kernels as kernels
from ai_backtrader.online_learner.encoding import pack, unpack
from ai_backtrader.online_learner.garch_kernels import garch_cusum_size
from ai_backtrader.online_learner.glr_kernels import glr_size

__all__ = ["Adwin", "BernoulliGlr", "Channel", "Detector", "GarchCusum", "MeanGlr", "PageHinkley", "WindowedZ"]

_N_PARAMS = 7


class Detector(Protocol):
    """Settings of one detector; the kernel is chosen by ``kind``."""

    name: str
    kind: int

    @property
    def params(self) -> tuple[float, ...]:
        """What the kernel takes."""

    @property
    def size(self) -> int:
        """Length of its state."""


@dataclass(frozen=True, kw_only=True)
class WindowedZ:
    """z test between two disjoint windows: the last ``test`` values against the ``reference`` before them.

    A single value beyond three standard deviations is no drift but a tail: it comes 2.5 to 6.7 times in 1000 bars. The
    mean of 30 values beyond five standard errors is one.

    Attributes
    ----------
    reference, test
        Lengths of the windows.
    threshold
        Alarm above this many standard errors of the difference, taken from the reference's variance.
    """

    reference: int = 200
    test: int = 30
    threshold: float = 5.0
    name = "windowed_z"
    kind = kernels.WINDOWED_Z

    def __post_init__(self) -> None:
        faults = Faults("WindowedZ")
        faults.whole("reference", self.reference, low=10)
        faults.whole("test", self.test, low=2)
        faults.number("threshold", self.threshold, above=0.0)
        faults.raise_if_any()

    @property
    def params(self) -> tuple[float, ...]:
        """What the kernel takes."""
        return (float(self.reference), float(self.test), self.threshold)

    @property
    def size(self) -> int:
        """Length of its state."""
        return 2 + self.reference + self.test


@dataclass(frozen=True, kw_only=True)
class Adwin:
    """ADWIN2 (Bifet and Gavaldà 2007) with the bound and the defaults of river, whose decisions it repeats.

    A window of growing length, kept in buckets of 1, 2, 4, ... values; an alarm where two parts of it differ in mean by
    more than chance allows. The bound takes values to be of unit scale: feed standardised ones. After an alarm it
    starts afresh, as river does.

    Attributes
    ----------
    delta
        Chance of a false cut that the bound aims at.
    clock
        Values between two tests.
    max_buckets
        Buckets of one size before two of them are joined.
    min_window_length
        Shortest part that is compared.
    grace_period
        No test up to this many values.
    """

    delta: float = 0.002
    clock: int = 32
    max_buckets: int = 5
    min_window_length: int = 5
    grace_period: int = 10
    name = "adwin"
    kind = kernels.ADWIN

    def __post_init__(self) -> None:
        faults = Faults("Adwin")
        faults.number("delta", self.delta, above=0.0, high=1.0)
        for name in ("clock", "min_window_length"):
            faults.whole(name, getattr(self, name), low=1)
        faults.whole("max_buckets", self.max_buckets, low=2)
        faults.whole("grace_period", self.grace_period, low=2)
        faults.raise_if_any()

    @property
    def params(self) -> tuple[float, ...]:
        """What the kernel takes."""
        whole = (self.clock, self.max_buckets, self.min_window_length, self.grace_period)
        return (self.delta, *(float(number) for number in whole))

    @property
    def size(self) -> int:
        """Length of its state."""
        return kernels.adwin_size(self.max_buckets)


@dataclass(frozen=True, kw_only=True)
class PageHinkley:
    """Page-Hinkley test (Page 1954), both sides, in river's form.

    Attributes
    ----------
    min_instances
        No alarm before this many values.
    delta
        Change of the mean that is let pass.
    threshold
        Alarm where a sum leaves its extreme by more.
    alpha
        Forgetting of the sums, 1 for none.
    """

    min_instances: int = 30
    delta: float = 0.005
    threshold: float = 50.0
    alpha: float = 0.9999
    name = "page_hinkley"
    kind = kernels.PAGE_HINKLEY

    def __post_init__(self) -> None:
        faults = Faults("PageHinkley")
        faults.whole("min_instances", self.min_instances, low=1)
        faults.number("delta", self.delta, low=0.0)
        faults.number("threshold", self.threshold, above=0.0)
        faults.number("alpha", self.alpha, above=0.0, high=1.0)
        faults.raise_if_any()

    @property
    def params(self) -> tuple[float, ...]:
        """What the kernel takes."""
        return (float(self.min_instances), self.delta, self.threshold, self.alpha)

    @property
    def size(self) -> int:
        """Length of its state."""
        return 6


@dataclass(frozen=True, kw_only=True)
class GarchCusum:
    """CUSUM of likelihood ratios for a volatility that doubles, trebles or halves.

    For returns, or their absolute values: zero is their centre. The values so far give a GARCH(1,1) with Student t
    shocks (Bollerslev 1987; the update is Harvey and Chakravarty's, 2008), where clustering is in evidence, and
    independent Student t values otherwise; normal ones are the limit. Each chart adds up the log likelihood ratio of
    "times so much since then" to "as before", from where it was last at zero (Page 1954; Lai 1998 for dependent
    values): a cluster of volatility that the model foresees is no change, nor is a tail. The scale is its own: it is
    fed values as they are, in a channel with or without a warm-up. Zeros are passed over, as bars without a trade.

    An alarm is on trial: where the values after it fit the old model twenty times better than the change that was
    claimed, the old model goes on being watched by, so that a false alarm does not hide a change soon after it.

    Attributes
    ----------
    learn
        Values before the model is learnt and watching begins; those are then tested too.
    memory
        The model is learnt again whenever the values have doubled, up to so many, with what the charts have gathered
        kept.
    relearn
        After an alarm that stands: values to learn the level from, with clustering and tails as known; no alarm
        meanwhile.
    threshold, clustered_threshold
        Alarm above this log likelihood ratio, where values are independent and where they cluster. Up to 0.7 is added
        for changes that show soon anyway or hardly ever, 1.5 to 2 for a halving.
    caution, clustered_caution
        Added to the threshold times ``learn`` over the number of values that the model was learnt from: a model learnt
        from few is often wrong, and more so where there is more to learn.
    """

    learn: int = 500
    memory: int = 1000
    relearn: int = 200
    threshold: float = 7.8
    caution: float = 0.4
    clustered_threshold: float = 7.7
    clustered_caution: float = 2.5
    name = "garch_cusum"
    kind = kernels.GARCH_CUSUM

    def __post_init__(self) -> None:
        faults = Faults("GarchCusum")
        faults.whole("learn", self.learn, low=100)
        faults.whole("memory", self.memory, low=100, high=100_000)
        faults.whole("relearn", self.relearn, low=30)
        for name in ("threshold", "clustered_threshold"):
            faults.number(name, getattr(self, name), above=0.0)
        for name in ("caution", "clustered_caution"):
            faults.number(name, getattr(self, name), low=0.0)
        if not faults.found and not self.relearn <= self.learn <= self.memory:
            faults.add(
                f"relearn, learn and memory must be in rising order, got {self.relearn}, {self.learn}, {self.memory}"
            )
        faults.raise_if_any()

    @property
    def params(self) -> tuple[float, ...]:
        """What the kernel takes."""
        whole = (self.learn, self.memory, self.relearn)
        independent, clustered = (self.threshold, self.caution), (self.clustered_threshold, self.clustered_caution)
        return (*(float(number) for number in whole), *independent, *clustered)

    @property
    def size(self) -> int:
        """Length of its state."""
        return garch_cusum_size(self.memory)


@dataclass(frozen=True, kw_only=True)
class BernoulliGlr:
    """Generalised likelihood ratio for a win rate that changes, up or down, by any amount and at any trade so far.

    A value above 0 is a win, any other a loss. The likelihood of "one rate until trade k, another since" over that of
    "one rate" is taken at its greatest over all k and both rates (Siegmund and Venkatraman 1995), exactly, at the cost
    of some ten to thirty values of k a trade: there is no window, no rate to be given, and nothing to warm up. After an
    alarm it starts afresh.

    Attributes
    ----------
    threshold
        Alarm above this log likelihood ratio. 11 gives 0.02 false alarms in 1000 trades, at rates of 0.3 to 0.7; 1 more
        makes them 2.5 times rarer. Fewer at rates near 0 and 1.
    """

    threshold: float = 11.0
    name = "bernoulli_glr"
    kind = kernels.BERNOULLI_GLR

    def __post_init__(self) -> None:
        faults = Faults("BernoulliGlr")
        faults.number("threshold", self.threshold, above=0.0)
        faults.raise_if_any()

    @property
    def params(self) -> tuple[float, ...]:
        """What the kernel takes."""
        return (self.threshold,)

    @property
    def size(self) -> int:
        """Length of its state."""
        return glr_size()


@dataclass(frozen=True, kw_only=True)
class MeanGlr:
    """Generalised likelihood ratio for a mean that changes, up or down, by any amount and at any value so far.

    The likelihood of "one mean until value k, another since" over that of "one mean" is taken at its greatest over all
    k, both means and the variance (Siegmund and Venkatraman 1995), of values limited as Huber's (1964): so limited,
    neither a tail nor a cluster of volatility passes for a mean. Exact at the cost of some ten to thirty values of k;
    there is no window. It takes values to be centred and of unit scale, as a channel's warm-up makes them. After an
    alarm it starts afresh.

    Attributes
    ----------
    threshold
        Alarm above this log likelihood ratio.
    limit
        A value counts for at most so many (robust) standard deviations. At 8.0 GARCH(0.10, 0.85) gives 0.6 false alarms
        in 1000 bars instead of 0.01.
    """

    threshold: float = 11.0
    limit: float = 1.0
    name = "mean_glr"
    kind = kernels.MEAN_GLR

    def __post_init__(self) -> None:
        faults = Faults("MeanGlr")
        for name in ("threshold", "limit"):
            faults.number(name, getattr(self, name), above=0.0)
        faults.raise_if_any()

    @property
    def params(self) -> tuple[float, ...]:
        """What the kernel takes."""
        return (self.threshold, self.limit)

    @property
    def size(self) -> int:
        """Length of its state."""
        return glr_size()


class Channel:
    """One series watched for drift by one or several detectors.

    With a warm-up, the first values give location (median), scale (MAD) and the inflation of a mean's variance by
    serial correlation (Newey and West 1987). Every value is then standardised and limited to ``clip`` before a detector
    sees it, and the detectors' bounds take their variances times the inflation: a threshold means the same on every
    market, also where volatility clusters. The warm-up's own values are fed too, once they are complete. After an alarm
    all is learnt anew, on the old scale meanwhile. Values that are not finite are passed over. :meth:`update` and
    :meth:`scan` run the same compiled code: their alarms and states are equal to the last bit.

    Parameters
    ----------
    detectors
        One or several; an alarm of any is an alarm, and starts all of them afresh.
    warm_up
        Values to learn the scale from; 0 feeds the values as they are.
    clip
        Limit of standardised values, in (robust) standard deviations.
    lags
        Serial correlation is counted up to this many values back.

    Examples
    --------
    >>> channel = Channel([Adwin()])
    >>> channel.scan([0.0] * 500 + [1.0] * 100)
    array([511])
    """

    def __init__(self, detectors: Sequence[Detector], *, warm_up: int = 0, clip: float = 8.0, lags: int = 30) -> None:
        faults = Faults("Channel")
        if not detectors:
            faults.add("detectors must hold at least one, got none")
        faults.whole("warm_up", warm_up, low=0)
        if not faults.found and 0 < warm_up < 30:
            faults.add(f"warm_up must be 0 or at least 30, got {warm_up!r}")
        faults.number("clip", clip, above=0.0)
        faults.whole("lags", lags, low=0)
        faults.raise_if_any()
        self.detectors = tuple(detectors)
        first = kernels.channel_size(warm_up, [])
        self._setup = (
            int(warm_up),
            float(clip),
            int(lags),
            np.array([detector.kind for detector in detectors]),
            np.array([(*detector.params, *[0.0] * (_N_PARAMS - len(detector.params))) for detector in detectors]),
            first + np.concatenate([[0], np.cumsum([detector.size for detector in detectors])]).astype(np.int64),
        )
        self._state = np.zeros(kernels.channel_size(warm_up, [detector.size for detector in detectors]))

    def update(self, x: float) -> tuple[str, ...]:
        """Feed one value; names of the detectors that raise an alarm at it."""
        return self.names_of(kernels.channel_step(*self._setup, self._state, float(x)))

    def scan(self, values: ArrayLike) -> NDArray[np.int64]:
        """Feed ``values`` in order; indices of those at which an alarm was raised."""
        return np.flatnonzero(self.alarms(values))

    def alarms(self, values: ArrayLike) -> NDArray[np.int64]:
        """Feed ``values`` in order; for each, a bit for each detector that raised an alarm (see :meth:`names_of`).

        Parameters
        ----------
        values
            (n,) numbers.

        Returns
        -------
        (n,) int64

        Raises
        ------
        SettingsError
            If it is no one-dimensional array of numbers.
        """
        try:
            array = np.ascontiguousarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            raise SettingsError("Channel", [f"values must be numbers, got {values!r:.80}"]) from None
        if array.ndim != 1:
            raise SettingsError("Channel", [f"values must have one dimension, got shape {array.shape}"])
        found = np.zeros(array.shape[0], dtype=np.int64)
        kernels.channel_scan(*self._setup, self._state, array, found)
        return found

    def names_of(self, alarms: int) -> tuple[str, ...]:
        """Names of the detectors whose bits are set."""
        if not alarms:
            return ()
        return tuple(detector.name for i, detector in enumerate(self.detectors) if alarms >> i & 1)

    def state_dict(self) -> dict[str, Any]:
        """State as plain values that JSON holds."""
        return pack(self._state)

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of a channel with the same settings."""
        self._state = unpack(state, shape=self._state.shape, subject="Channel")
