"""What was walked, read back: one account a market and strategy, its folds joined."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from classics import CLASSICS
from numpy.typing import NDArray
from walking import VARIANTS

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.evidence import TrialCount
from ai_backtrader.pipeline.folder import RunFolder
from ai_backtrader.pipeline.parts import account_returns

__all__ = ["Account", "FoldAccount", "MarketAccounts", "read_market"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FoldAccount:
    """One strategy in one fold.

    Attributes
    ----------
    values
        At each close, shape (bars + 1,); the first one is before any trade.
    trades, liquidations
        Counts.
    fees, funding
        Paid, as fractions of what the account held on average; negative funding was received.
    """

    values: Floats
    trades: int
    liquidations: int
    fees: float
    funding: float


@dataclass(frozen=True, kw_only=True)
class Account:
    """One strategy in one market.

    Attributes
    ----------
    folds
        In order of time.
    trials
        From which it was found, for the deflated Sharpe ratio: all of the searches of all folds.
    """

    folds: tuple[FoldAccount, ...]
    trials: TrialCount

    @property
    def returns(self) -> Floats:
        """Of every bar, the folds one after the other."""
        return np.concatenate([account_returns(fold.values) for fold in self.folds])

    @property
    def growth(self) -> Floats:
        """Of 1, from 1 on."""
        grown: Floats = np.concatenate(([1.0], np.cumprod(1.0 + self.returns)))
        return grown


@dataclass(frozen=True, kw_only=True)
class MarketAccounts:
    """Everything that was walked in one market.

    Attributes
    ----------
    bars_per_year
        Of the market.
    times
        Of the bars, the first one before any trade; and the first place of each fold.
    accounts
        By name: the classics, ``fund``, ``ai`` and ``technical``, and ``fund`` and ``ai`` of each variant after its
        name and a slash.
    found
        One entry a fold: what the searches found.
    """

    bars_per_year: float
    times: NDArray[np.datetime64]
    starts: tuple[int, ...]
    accounts: Mapping[str, Account]
    found: Sequence[Mapping[str, Any]]


def read_market(homes: Sequence[Path], bars_per_year: float) -> MarketAccounts:
    """Accounts of a market from the folders of its folds.

    Raises
    ------
    AIBacktraderError
        If something is not walked yet.
    """
    folds = [_Fold(home) for home in homes]
    accounts = {name: _classic(folds, name) for name in CLASSICS}
    for variant in VARIANTS:
        for member in ("fund", "ai", *(("technical",) if variant == "all" else ())):
            name = member if variant == "all" else f"{variant}/{member}"
            accounts[name] = _member(folds, variant, member)
    lengths = [len(fold.times) - 1 for fold in folds]
    return MarketAccounts(
        bars_per_year=bars_per_year,
        times=np.concatenate([folds[0].times[:1], *(fold.times[1:] for fold in folds)]),
        starts=tuple(int(at) for at in np.cumsum([0, *lengths[:-1]])),
        accounts=accounts,
        found=[fold.found() for fold in folds],
    )


class _Fold:
    """Files of one fold."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.walks, self.searches = RunFolder(home / "walk"), RunFolder(home / "search")
        self.documents = {name: self._read(self.walks, name) for name in ("classics", *VARIANTS)}
        self.times = self.walks.arrays("all")["times"]

    def _read(self, folder: RunFolder, name: str) -> dict[str, Any]:
        found = folder.read(name)
        if found is None:
            raise AIBacktraderError(f"{folder.path}: {name} is not done yet; go on with --resume")
        return dict(found)

    def found(self) -> dict[str, Any]:
        """What the searches found, and what all cost."""
        stages = {name: self._read(self.searches, name) for name in ("optimise", "evolve", "train")}
        searches = [one for one in stages["optimise"]["searches"] if one["rules"] is not None]
        walked = self.documents["all"]
        seconds = sum(self._read(self.searches, f"{name}-seconds")["cpu"] for name in stages)
        return {
            "first": walked["first"], "last": walked["last"], "bars": walked["bars"],
            "trials": walked["trials"],
            "searches": len(searches), "searches_passed": sum(bool(one["passed"]) for one in searches),
            "champions": len(stages["evolve"]["champions"]),
            "champions_passed": sum(bool(one["passed"]) for one in stages["evolve"]["champions"]),
            "agents": int(stages["train"]["kept"]), "agents_passed": int(stages["train"]["passed"]),
            "adaptations": len(walked["adaptations"]),
            "adapted": sum(one["put_forward"] for one in walked["adaptations"]),
            "adapted_passed": sum(one["passed"] for one in walked["adaptations"]),
            "weights_learnt": int(walked["learnt"]),
            "search_seconds": seconds, "walk_seconds": sum(self.documents[name]["cpu"] for name in VARIANTS),
        }  # fmt: skip


def _classic(folds: Sequence[_Fold], name: str) -> Account:
    # They were not searched for, but they stand beside one another.
    return Account(
        folds=tuple(
            _account(values, fold.documents["classics"][name], values)
            for fold in folds
            for values in (fold.walks.arrays("classics")[name],)
        ),
        trials=TrialCount(n_trials=len(CLASSICS)),
    )


def _member(folds: Sequence[_Fold], variant: str, member: str) -> Account:
    accounts = []
    for fold in folds:
        document, arrays = fold.documents[variant], fold.walks.arrays(variant)
        told, fund = document["members"][member], arrays["fund"]
        if member == "fund":
            accounts.append(_account(fund, told, fund))
        else:
            accounts.append(_account(arrays[f"member_{member}"], told, arrays[f"weight_{member}"] * fund))
    return Account(folds=tuple(accounts), trials=_trials(fold.documents[variant] for fold in folds))


def _account(values: Floats, told: Mapping[str, Any], capital: Floats) -> FoldAccount:
    """``values`` are those of a share; ``capital`` is what the account held at each close, which may come and go."""
    held = float(np.mean(capital))
    return FoldAccount(
        values=values, trades=told["trades"], liquidations=told["liquidations"], fees=told["fees"] / held,
        funding=told["funding"] / held,
    )  # fmt: skip


def _trials(documents: Iterable[Mapping[str, Any]]) -> TrialCount:
    """All trials of all folds; those without a Sharpe ratio of their own (searches on the way) count, too."""
    counts, rest = [], 0
    for document in documents:
        told = document["counted"]
        mean = math.nan if told["sharpe_mean"] is None else told["sharpe_mean"]
        counts.append(
            TrialCount(
                n_trials=told["n_trials"], n_measured=told["n_measured"], sharpe_mean=mean, squares=told["squares"]
            )
        )
        rest += document["trials"] - told["n_trials"]
    return TrialCount.total([*counts, TrialCount(n_trials=rest)])
