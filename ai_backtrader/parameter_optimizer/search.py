"""Search: ask for parameters, tell their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.parameter_optimizer.acquisition import most_promising
from ai_backtrader.parameter_optimizer.design import differential_evolution, first_design
from ai_backtrader.parameter_optimizer.settings import SURROGATES
from ai_backtrader.parameter_optimizer.space import Space
from ai_backtrader.parameter_optimizer.surrogate import Surrogate, make_surrogate, quiet
from ai_backtrader.parameter_optimizer.trials import Proposal, Trial

__all__ = ["CHECKPOINT_SCHEMA", "Search"]

CHECKPOINT_SCHEMA = "ai-backtrader/search/1"
"""Name and version of the format of a search in a file."""

_Array = NDArray[np.float64]

# Trials around a failed one that tell an accident from a region that does not work.
_NEIGHBOURS = 5

# Spaces of at most so many points are looked through for how many of them are allowed.
_COUNTABLE = 20_000


class Search:
    """A search that is asked for parameters and told their scores; it never evaluates anything itself.

    The first design covers the space; then batches go where the surrogate promises most. A batch is made when every
    trial before it has been told, from its number and the seed alone, so that the trials are the same for any number
    of workers and any order of telling.

    Parameters
    ----------
    space
        A :class:`Space`, or a dictionary for :meth:`Space.of`.
    n_trials
        Evaluations in all, the first design and failures included. A space with fewer points is searched whole.
    seed
        Source of every random choice.
    surrogate
        ``"gp"``, ``"et"``, ``"rf"``, ``"random"`` or ``"de"``: see
        :class:`~ai_backtrader.parameter_optimizer.OptimizerSettings`.
    batch
        Trials proposed at once; None takes one for every 50 trials of the budget.
    n_initial
        Trials of the first design; None takes twice the dimensions and 3, at most a quarter of the budget (at least 5).
    maximize
        Whether more is better.

    Raises
    ------
    SettingsError
        Naming every fault.

    Notes
    -----
    A trial that failed (told None, NaN or infinity) costs its place in the budget. For the surrogate it scored as
    badly as the worst that succeeded where its five nearest trials failed too, and what the surrogate predicts without
    it where half of them or more succeeded, in proportion between: a region that does not work is left, an accident
    beside the best point (a crowded machine) leaves no crater. Scores beyond the quartile by more than three
    interquartile ranges on the bad side are drawn in, so that one ruinous trial does not flatten all the others.

    Examples
    --------
    >>> search = Search({"x": (-5.0, 5.0)}, n_trials=20, seed=1, maximize=False)
    >>> while not search.done:
    ...     for proposal in search.ask():
    ...         _ = search.tell(proposal.number, (proposal.params["x"] - 2.0) ** 2)
    >>> abs(search.best.params["x"] - 2.0) < 0.01
    True
    """

    def __init__(
        self,
        space: Space | Mapping[str, Any],
        *,
        n_trials: int,
        seed: int,
        surrogate: str = "gp",
        batch: int | None = None,
        n_initial: int | None = None,
        maximize: bool = True,
    ) -> None:
        faults = Faults("Search")
        faults.whole("n_trials", n_trials, low=1)
        faults.whole("seed", seed, low=0)
        faults.one_of("surrogate", surrogate, SURROGATES)
        for name, value in (("batch", batch), ("n_initial", n_initial)):
            if value is not None:
                faults.whole(name, value, low=1)
        faults.raise_if_any()
        self.space = Space.of(space)
        points = _count(self.space)
        self.n_trials = int(n_trials) if points is None else min(int(n_trials), points)
        self.seed, self.surrogate, self.maximize = int(seed), surrogate, maximize
        self.batch = batch or _default_batch(surrogate, self.n_trials, len(self.space))
        self.n_initial = min(n_initial or _default_initial(surrogate, self.n_trials, len(self.space)), self.n_trials)
        self._units = np.empty((0, len(self.space)))
        self._proposals: list[Proposal] = []
        self._outcomes: dict[int, Trial] = {}
        self._waiting: list[int] = []
        self._model: Surrogate | None = None
        self._tuned_at = 0
        self._unclaimed_model_state: list[float] | None = None

    @property
    def done(self) -> bool:
        """Whether every trial of the budget has been told."""
        return len(self._outcomes) >= self.n_trials

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What was told, by number."""
        return tuple(self._outcomes[number] for number in sorted(self._outcomes))

    @property
    def best(self) -> Trial:
        """The trial with the best score, the earliest of equals.

        Raises
        ------
        AIBacktraderError
            If no trial succeeded.
        """
        scored = [trial for trial in self.trials if trial.score is not None]
        if not scored:
            reasons = list(dict.fromkeys(trial.failed for trial in self.trials))[:3]
            said = f" ({'; '.join(map(str, reasons))})" if reasons else ""
            raise AIBacktraderError(f"Search: none of {len(self.trials)} trials has a score{said}")
        return min(scored, key=lambda trial: (self._loss(trial), trial.number))

    def ask(self, n: int | None = None) -> tuple[Proposal, ...]:
        """Parameters to evaluate: what is left of the current batch, at most ``n``.

        Empty when the search is done, or when trials of this batch that were handed out must be told first.

        Raises
        ------
        SettingsError
            If n is not a whole number above 0.
        """
        if n is not None:
            faults = Faults("ask")
            faults.whole("n", n, low=1)
            faults.raise_if_any()
        if not self._waiting and len(self._outcomes) == len(self._proposals) < self.n_trials:
            self._propose()
        count = len(self._waiting) if n is None else min(n, len(self._waiting))
        handed, self._waiting = self._waiting[:count], self._waiting[count:]
        return tuple(self._proposals[number] for number in handed)

    def tell(
        self,
        number: int,
        score: float | None,
        *,
        failed: str | None = None,
        seconds: float = 0.0,
        figures: Mapping[str, float] | None = None,
    ) -> Trial:
        """Say what a proposal scored; None, NaN, infinity or a reason in ``failed`` make it a failed trial.

        Raises
        ------
        SettingsError
            If no such trial was handed out, it was told before, or the score is no number.
        """
        if not isinstance(number, int) or not 0 <= number < len(self._proposals) or number in self._waiting:
            raise SettingsError("tell", [f"trial {number!r} was not asked for; tell the number of a Proposal"])
        if number in self._outcomes:
            raise SettingsError("tell", [f"trial {number} was told before"])
        if score is not None:
            try:
                score = float(score)
            except (TypeError, ValueError):
                raise SettingsError("tell", [f"score must be a number or None, got {score!r}"]) from None
        if failed is None and score is None:
            failed = "no score"
        elif failed is None and score is not None and not math.isfinite(score):
            failed = f"score is {score}"
        trial = Trial(
            number=number, params=self._proposals[number].params, score=score if failed is None else None,
            failed=failed, seconds=float(seconds), figures=figures or {},
        )  # fmt: skip
        self._outcomes[number] = trial
        return trial

    def state(self) -> dict[str, Any]:
        """Everything that a later :meth:`from_state` needs, as JSON values; trials not told are proposed again."""
        return {
            "settings": self._settings(),
            "units": self._units.tolist(),
            "outcomes": [
                [t.number, t.score, t.failed, t.seconds, dict(t.figures)] for t in self.trials
            ],
            "model": self._model.state if self._model is not None else self._unclaimed_model_state,
            "tuned_at": self._tuned_at,
        }  # fmt: skip

    @classmethod
    def from_state(cls, space: Space | Mapping[str, Any], state: Mapping[str, Any]) -> Search:
        """The search that :meth:`state` was of; continues as if it had never stopped.

        Raises
        ------
        SettingsError
            If the state belongs to another space.
        """
        settings = dict(state["settings"])
        known = Space.of(space)
        if settings.pop("space") != known.fingerprint:
            raise SettingsError("Search", ["the state belongs to another space; give the one it was started with"])
        search = cls(known, **settings)
        search._units = np.array(state["units"], float).reshape(-1, len(known))
        search._proposals = [
            Proposal(number=number, params=params) for number, params in enumerate(known.parameters(search._units))
        ]
        search._waiting = list(range(len(search._proposals)))
        for number, score, failed, seconds, figures in state["outcomes"]:
            search._waiting.remove(number)
            search.tell(number, score, failed=failed, seconds=seconds, figures=figures)
        search._unclaimed_model_state = state["model"]
        search._tuned_at = int(state["tuned_at"])
        return search

    def _settings(self) -> dict[str, Any]:
        return {
            "space": self.space.fingerprint, "n_trials": self.n_trials, "seed": self.seed,
            "surrogate": self.surrogate, "batch": self.batch, "n_initial": self.n_initial, "maximize": self.maximize,
        }  # fmt: skip

    def _loss(self, trial: Trial) -> float:
        if trial.score is None:
            return math.inf
        return -trial.score if self.maximize else trial.score

    def _propose(self) -> None:
        told = len(self._proposals)
        # Random numbers from seed and place alone: a resumed search needs no generator's state.
        rng = np.random.default_rng([self.seed, told])
        if told == 0:
            units = first_design(self.space, self.n_initial, rng)
        else:
            n = min(self.batch, self.n_trials - told)
            units = self._next(n, rng)
        for params in self.space.parameters(units):
            self._waiting.append(len(self._proposals))
            self._proposals.append(Proposal(number=len(self._proposals), params=params))
        self._units = np.vstack([self._units, units])

    def _next(self, n: int, rng: np.random.Generator) -> _Array:
        raw = np.array([self._loss(t) for t in self.trials])
        if self.surrogate == "random" or not np.isfinite(raw).any():
            return self.space.draw(rng, n)
        if self.surrogate == "de":
            return differential_evolution(self._units, raw, self.space, n, rng, population=self.n_initial)
        ok = np.isfinite(raw)
        losses = model_losses(raw)
        features = self.space.features(self._units)
        if self._model is None:
            self._model = make_surrogate(self.surrogate, self._unclaimed_model_state)
        told = len(raw)
        tune = self._tuned_at == 0 or told - self._tuned_at >= max(1, told // 20)
        if tune:
            self._tuned_at = told
        with quiet():
            self._model.fit(features[ok], losses[ok], tune=tune, rng=rng)
            if not ok.all():
                losses[~ok] = believed_losses(features, losses, ok, self._model.predict(features[~ok])[0])
                self._model.fit(features, losses, tune=False, rng=rng)
            return most_promising(self._model, self.space, self._units, losses, n, rng)


def model_losses(raw: _Array) -> _Array:
    """Losses as a surrogate learns them: standardised, ruinous ones drawn in, failures (infinite) at the worst."""
    known = raw[np.isfinite(raw)]
    low, high = np.quantile(known, [0.25, 0.75])
    if high > low:
        known = np.minimum(known, high + 3.0 * (high - low))
    losses = np.minimum(raw, known.max())
    spread = known.std()
    standard: _Array = (losses - known.mean()) / (spread if spread > 0.0 else 1.0)
    return standard


def believed_losses(features: _Array, losses: _Array, ok: NDArray[np.bool_], predicted: _Array) -> _Array:
    """What failed trials count as, shape (failed,): the prediction among successes, the penalty among failures.

    Parameters
    ----------
    features, losses
        Of all trials; the losses of failed ones are the penalty.
    ok
        Which trials succeeded.
    predicted
        Means of a model of the successes at the failed trials.
    """
    squares = ((features[~ok][:, None] - features[None]) ** 2).sum(axis=2)
    squares[np.arange(len(squares)), np.flatnonzero(~ok)] = np.inf
    nearest = np.argsort(squares, axis=1, kind="stable")[:, : min(_NEIGHBOURS, len(ok) - 1)]
    accident = np.minimum(1.0, 2.0 * ok[nearest].mean(axis=1))
    believed: _Array = accident * predicted + (1.0 - accident) * losses[~ok]
    return believed


def _default_batch(surrogate: str, n_trials: int, dimensions: int) -> int:
    return _default_initial(surrogate, n_trials, dimensions) if surrogate == "de" else max(1, n_trials // 50)


def _default_initial(surrogate: str, n_trials: int, dimensions: int) -> int:
    if surrogate == "de":
        return int(np.clip(3 * dimensions, 8, max(8, n_trials // 8)))
    return int(np.clip(2 * dimensions + 3, 5, max(5, n_trials // 4)))


def _count(space: Space) -> int | None:
    if space.size > _COUNTABLE:
        return None
    axes = [(np.arange(d.cells) + 0.5) / d.cells for d in space.dimensions]
    points = np.unique(space.snap(np.array(list(product(*axes)))), axis=0)
    allowed = int(space.allowed(points).sum())
    if allowed == 0:
        raise SettingsError("Space", ["the constraints allow no point; widen the dimensions or loosen them"])
    return allowed
