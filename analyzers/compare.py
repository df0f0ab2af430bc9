"""Strategies side by side: metrics, evidence, proofs, and buy and hold, with the price of having looked at many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.analyzers.evidence import Evidence, evidence_figures
from ai_backtrader.analyzers.performance import Performance
from ai_backtrader.analyzers.proofs import RunProof, prove_run
from ai_backtrader.checks import Faults
from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import SimulationResult
from ai_backtrader.values import FrozenMapping

__all__ = ["Comparison", "compare"]

HOLDING = "buy and hold"

_COLUMNS = (
    "total_return", "over_holding", "cagr", "sharpe_ratio", "sortino_ratio", "max_drawdown", "trades",
    "sharpe_low", "sharpe_high", "probabilistic_sharpe", "beats_holding", "deflated_sharpe", "p_value", "p_holm",
    "noise", "proof",
)  # fmt: skip


_PROOFS = {"proven": "proven", "differs": "DIFFERS", "not applicable": "n/a", "": ""}


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Outcome of :func:`compare`.

    Attributes
    ----------
    frame
        One row a strategy, best Sharpe ratio first, buy and hold last. ``over_holding`` is the total return less
        that of holding, on these bars: what happened, by skill or luck. ``p_value`` is the probability of so high a
        mean return by luck, beyond what the market held at its average exposure earned; ``p_holm`` is adjusted for the
        family (Holm, 1979); ``noise`` is False where ``p_holm`` is at most ``alpha``. ``beats_holding`` is the
        probability that the true Sharpe ratio is above that of holding. ``proof`` is the status of the entrant's proof.
    family
        Tests made in all.
    alpha
        Probability of at least one false finding that is accepted.
    proofs
        By name: each evolved strategy's run in Cerebro beside the simulation of its rules; of the others why there is
        nothing to prove (:func:`~ai_backtrader.analyzers.prove_run`).
    """

    frame: pd.DataFrame
    family: int
    alpha: float
    proofs: Mapping[str, RunProof] = field(default_factory=FrozenMapping)

    @property
    def verdict(self) -> str:
        """In plain words: what the evidence says, and what happened on these bars."""
        found = self.frame.index[self.frame["noise"].eq(False)].tolist()
        looked = f"{self.family} {'strategy' if self.family == 1 else 'strategies'} looked at"
        above, words = self._beside_holding()
        if found:
            return (
                f"More than luck beyond its share of the market: {', '.join(map(str, found))} "
                f"({looked}, level {self.alpha:g}, Holm). {words}."
            )
        return (
            f"Nothing here beats holding{' beyond doubt' if above else ''}: {looked}, and none earned more beyond its "
            f"share of the market than luck would (level {self.alpha:g}, Holm). {words}"
            f"{': that is what happened, not proof' if above else ''}."
        )

    def _beside_holding(self) -> tuple[int, str]:
        """How many ended above holding on these bars, and by how much the best did or did not."""
        returns: dict[str, float] = {str(name): float(value) for name, value in self.frame["total_return"].items()}
        held = returns.pop(HOLDING)
        over = {name: round(100.0 * (own - held), 1) for name, own in returns.items() if not math.isnan(own)}
        if not over:
            return 0, f"On these bars holding returned {_share(held)}"
        best = max(over, key=lambda name: over[name])
        above, against = sum(gap > 0.0 for gap in over.values()), f"({_share(returns[best])} against {_share(held)})"
        if not over[best]:
            return 0, f"On these bars the best, {best}, ended level with holding {against}"
        side = "above" if above else "below"
        others = f", and {above - 1} more ended above it" if above > 1 else ""
        return above, f"On these bars {best} ended {abs(over[best]):,.1f} points {side} holding {against}{others}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; what is undefined becomes None."""
        rows = {
            str(name): {key: _plain(row[key]) for key in _COLUMNS if key != "proof"}
            for name, row in self.frame.iterrows()
        }
        for name, proof in self.proofs.items():
            rows[name]["proof"] = {
                "status": proof.status, "fills": proof.fills, "bars": proof.bars, "difference": proof.difference,
                "not_applicable": proof.not_applicable or None,
            }  # fmt: skip
        return {"verdict": self.verdict, "family": self.family, "alpha": self.alpha, "strategies": rows}

    def proof_lines(self) -> list[tuple[str, str]]:
        """Name and proof in a sentence of each entrant that has one; one line for all that have none."""
        told = [(name, str(proof)) for name, proof in self.proofs.items() if not proof.not_applicable]
        why: dict[str, list[str]] = {}
        for name, proof in self.proofs.items():
            if proof.not_applicable:
                why.setdefault(str(proof), []).append(name)
        return told + [(", ".join(names), words) for words, names in why.items()]

    def to_text(self) -> str:
        """The table, the proofs and the verdict."""
        heads = (
            "", "return", "over holding", "Sharpe", "interval", "drawdown", "trades", "PSR", "DSR", "p (Holm)", "proof",
        )  # fmt: skip
        rows = [heads]
        for name, row in self.frame.iterrows():
            spread = "–" if math.isnan(row["sharpe_low"]) else f"{row['sharpe_low']:.2f} … {row['sharpe_high']:.2f}"
            rows.append(
                (
                    str(name), _text(100.0 * row["total_return"], "+.1f", " %"),
                    _text(100.0 * row["over_holding"], "+.1f"), _text(row["sharpe_ratio"], ".2f"),
                    spread, _text(100.0 * row["max_drawdown"], ".1f", " %"), _text(row["trades"], ",.0f"),
                    _text(row["probabilistic_sharpe"], ".2f"), _text(row["deflated_sharpe"], ".2f"),
                    _text(row["p_holm"], ".3f"), _PROOFS[row["proof"]],
                )
            )  # fmt: skip
        widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
        lines = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        proofs = [f"{name}: {words}" for name, words in self.proof_lines()]
        below = ["", *proofs, "", self.verdict] if proofs else ["", self.verdict]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *below]) + "\n"

    def __str__(self) -> str:
        return self.to_text()


def compare(
    results: Mapping[str, Any],
    *,
    data: MarketData | None = None,
    rules: Mapping[str, Any] | None = None,
    n_trials: int | None = None,
    alpha: float = 0.05,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Strategies side by side with the evidence for each, and buy and hold; evolved ones with a proof.

    An evolved strategy that Cerebro has run with the analyzer ``Performance`` is simulated under the very broker of
    that run, and compared fill by fill (:func:`~ai_backtrader.analyzers.prove_run`).

    Parameters
    ----------
    results
        By name: strategies that Cerebro has run with the analyzer :class:`~ai_backtrader.analyzers.Performance` or
        :class:`~ai_backtrader.analyzers.Evidence`, those analyzers, or
        :class:`~ai_backtrader.simulation.SimulationResult`. All on the same bars.
    data
        The feed of simulation results, whose market is what must be beaten; not needed with a strategy among them.
    rules
        By name: the chromosome (or champion) that an entrant trades, where it does not say so itself. Strategies of
        ``compile_strategy`` and exported files do.
    n_trials
        Everything that was tried before these were chosen, themselves included; None: they are all that was, and what
        the searches looked at that exported files among them tell of (``searched_trials``).
    alpha
        Probability of at least one false finding that is accepted.
    resamples, seed
        Of the bootstrap intervals; 0 leaves them out.

    Returns
    -------
    Comparison
        ``print`` shows the table.

    Raises
    ------
    SettingsError
        If there is nothing to compare, a result is none, they are not of the same bars, or ``rules`` are none.
    """
    faults = Faults("compare")
    if not isinstance(results, Mapping) or not results:
        faults.add(f"results must be a mapping of names to results, one or more, got {results!r}")
    faults.raise_if_any()
    if HOLDING in results:
        faults.add(f"{HOLDING!r} is put beside them anyway; give yours another name")
    if n_trials is not None:
        faults.whole("n_trials", n_trials, low=len(results))
    faults.number("alpha", alpha, above=0.0, high=0.5)
    told = {name: _chromosome(name, given, results, faults) for name, given in (rules or {}).items()}
    runs = {name: _run_of(name, given, faults) for name, given in results.items()}
    faults.raise_if_any()
    known = {name: run for name, run in runs.items() if run is not None}
    lengths = {name: run.returns.size for name, run in known.items()}
    if len(set(lengths.values())) > 1:
        faults.add(f"results must be of the same bars, got {', '.join(f'{n}: {k}' for n, k in lengths.items())}")
    faults.raise_if_any()
    market = next((run.market for run in known.values() if run.market is not None), None)
    if market is None and data is None:
        faults.add("simulation results do not hold the market's prices; give data")
    elif market is None and data is not None:
        market = np.concatenate(([0.0], data.close[1:] / data.close[:-1] - 1.0))
    if market is not None and market.size not in lengths.values():
        faults.add(f"data have {market.size} bars, the results {next(iter(lengths.values()))}")
    faults.raise_if_any()
    if market is None:
        raise AssertionError("checked above")
    proofs = {name: prove_run(given, rules=told.get(name)) for name, given in results.items()}
    family = sum(_searched(given) for given in results.values()) if n_trials is None else int(n_trials)
    return _compared(known, market, proofs, family, alpha, resamples, seed)


def _searched(given: object) -> int:
    """What was looked at to find one of those compared, itself included."""
    told = getattr(type(given), "searched_trials", 1)
    return told if isinstance(told, int) and told > 0 else 1


@dataclass(frozen=True, eq=False)
class _Run:
    returns: NDArray[np.float64]
    market: NDArray[np.float64] | None
    trades: int
    year: float


def _compared(
    runs: Mapping[str, _Run], market: NDArray[np.float64], proofs: Mapping[str, RunProof], family: int, alpha: float,
    resamples: int, seed: int,
) -> Comparison:  # fmt: skip
    sharpes = [ev.sharpe_ratio(run.returns, bars_per_year=1.0) for run in runs.values()]
    present = [sharpe for sharpe in sharpes if not math.isnan(sharpe)]
    # What was tried and is not here is as far apart as what is; two are the fewest that tell.
    spread = float(np.std(present, ddof=1)) if len(present) > 1 else None
    rows: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        figures = evidence_figures(
            run.returns, market, trades=run.trades, bars_per_year=run.year, n_trials=family, trials_sharpe_std=spread,
            confidence=1.0 - alpha, resamples=resamples, seed=seed,
        )  # fmt: skip
        rows[name] = _metrics(run.returns, run.year) | {
            **{key: figures[key] for key in ("sharpe_low", "sharpe_high", "probabilistic_sharpe", "deflated_sharpe")},
            "trades": run.trades,
            "beats_holding": figures["beats_benchmark"],
            "p_value": _luck(run.returns, market),
        }
    adjusted = ev.holm([row["p_value"] for row in rows.values()], n_tests=family)
    for row, p in zip(rows.values(), adjusted.tolist(), strict=True):
        row["p_holm"] = p
        row["noise"] = not p <= alpha
    order = sorted(rows, key=lambda name: (math.isnan(rows[name]["sharpe_ratio"]), -rows[name]["sharpe_ratio"]))
    year = next(iter(runs.values())).year
    held: dict[str, Any] = dict.fromkeys(_COLUMNS, math.nan) | _metrics(market, year) | {"noise": None, "proof": ""}
    for name, row in rows.items():
        row["over_holding"] = row["total_return"] - held["total_return"]
        row["proof"] = proofs[name].status
    held["probabilistic_sharpe"] = ev.sharpe_evidence(market).probabilistic
    frame = pd.DataFrame([rows[name] for name in order] + [held], index=[*order, HOLDING], columns=list(_COLUMNS))
    frame.index.name = "strategy"
    ordered = FrozenMapping({name: proofs[name] for name in order})
    return Comparison(frame=frame, family=family, alpha=alpha, proofs=ordered)


def _luck(returns: NDArray[np.float64], market: NDArray[np.float64]) -> float:
    """One-sided p-value of the mean return beyond the market's share in it: what is left of it is timing.

    The regression on the market takes off what its average exposure earned; the rest is tested by its probabilistic
    Sharpe ratio. 1 where nothing moved.
    """
    own, held = np.nan_to_num(returns), np.nan_to_num(market)
    away = held - held.mean()
    slope = float(away @ own / (away @ away)) if away.any() else 0.0
    found = ev.sharpe_evidence(own - slope * held).probabilistic
    return 1.0 if math.isnan(found) else 1.0 - found


def _metrics(returns: NDArray[np.float64], year: float) -> dict[str, float]:
    path = np.concatenate(([1.0], np.cumprod(1.0 + np.nan_to_num(returns))))
    return {
        "total_return": float(path[-1] - 1.0),
        "cagr": ev.compound_rate(float(path[-1]), years=returns.size / year),
        "sharpe_ratio": ev.sharpe_ratio(returns, bars_per_year=year),
        "sortino_ratio": ev.sortino_ratio(returns, bars_per_year=year),
        "max_drawdown": ev.max_drawdown(path),
    }


def _run_of(name: str, given: Any, faults: Faults) -> _Run | None:
    if isinstance(given, SimulationResult):
        returns = ev.bar_returns(given.equity, start=given.start_cash)
        return _Run(returns, None, len(given.trades), given.bars_per_year)
    analyzers = list(getattr(given, "analyzers", ())) if not isinstance(given, Performance | Evidence) else [given]
    for analyzer in analyzers:
        analysis = analyzer.get_analysis() if isinstance(analyzer, Performance | Evidence) else None
        if isinstance(analyzer, Evidence) and analysis is not None:
            return _Run(analyzer.returns, analyzer.benchmark_returns, analysis["trades"], analysis["bars_per_year"])
        if isinstance(analyzer, Performance) and analysis is not None:
            growth = np.concatenate(([1.0], analyzer.growth))
            holding = analyzer.buy_and_hold
            market = np.concatenate(([0.0], holding[1:] / holding[:-1] - 1.0)) if holding.size else holding
            return _Run(ev.bar_returns(growth[1:], start=1.0), market, analysis["trades"], analysis["bars_per_year"])
    faults.add(
        f"{name!r} must be a strategy run with the analyzer Performance or Evidence, such an analyzer, or a "
        f"SimulationResult, got {type(given).__name__}"
    )
    return None


def _chromosome(name: str, given: Any, results: Mapping[str, Any], faults: Faults) -> StrategyChromosome | None:
    found = getattr(given, "chromosome", given)
    if name not in results:
        faults.add(f"rules are for {name!r}, which is not among the results: {', '.join(map(str, results))}")
    elif not isinstance(found, StrategyChromosome):
        faults.add(f"rules of {name!r} must be a StrategyChromosome or a champion, got {type(given).__name__}")
    else:
        return found
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _share(fraction: float) -> str:
    return f"{round(fraction, 3) + 0.0:+.1%}"  # no minus before a zero


def _text(value: float, form: str, unit: str = "") -> str:
    return "–" if value is None or math.isnan(value) else format(value, form) + unit
