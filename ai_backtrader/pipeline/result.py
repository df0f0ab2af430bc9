"""What a run found, stage by stage, and the card by which it can be repeated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.values import FrozenMapping

__all__ = ["STAGES", "SWITCHED_OFF", "PipelineResult", "Stage", "findings"]

_LUCK = 0.05

STAGES = ("optimise", "evolve", "train", "rehearse", "allocate", "walk")
"""In the order of a run."""

SWITCHED_OFF = "switched off"
"""What a search found that was not made."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a run.

    Attributes
    ----------
    name
        One of :data:`STAGES`.
    finding
        What it found, in plain words.
    found
        The whole of it, JSON values.
    seconds
        That it took; 0 where it was found done.
    resumed
        Whether it was found done.
    """

    name: str
    finding: str
    found: Mapping[str, Any]
    seconds: float
    resumed: bool


@dataclass(frozen=True, kw_only=True)
class PipelineResult:
    """Outcome of :func:`~ai_backtrader.pipeline.run_pipeline`.

    Attributes
    ----------
    run_id
        The same for the same data, settings, seed, code and versions.
    card
        All that the run is made of and came to: ``run_id``, ``seed``, ``profile``, ``data``, ``settings``, ``code``,
        ``versions``, ``parts``, ``hashes``, ``figures``, ``database``.
    stages
        In order.
    arrays
        Of the walk, one value a bar: ``times``, ``close``, ``fund``, ``member_<name>``, ``weight_<name>``.
    """

    run_id: str
    card: Mapping[str, Any]
    stages: tuple[Stage, ...]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=FrozenMapping, repr=False)

    @property
    def walk(self) -> Mapping[str, Any]:
        """What the walk found."""
        return self.stage("walk").found

    @property
    def hashes(self) -> Mapping[str, str]:
        """Of decisions, trades, weights, values, and of the database's content."""
        hashes: Mapping[str, str] = self.card["hashes"]
        return hashes

    def stage(self, name: str) -> Stage:
        """A stage by its name."""
        return next(stage for stage in self.stages if stage.name == name)

    def curve(self, name: str) -> NDArray[np.float64]:
        """Growth of 1 over the walk: of ``"fund"``, a member, or ``"holding"``."""
        values = self.arrays["close" if name == "holding" else "fund" if name == "fund" else f"member_{name}"]
        return np.asarray(values / values[0])

    @property
    def verdict(self) -> str:
        """Whether the fund and AIStrategy beat holding, in plain words."""
        walk = self.walk
        holding = walk["holding"]
        held = f"{_percent(holding['total_return'])} (Sharpe ratio {_number(holding['sharpe_ratio'])}) of holding"
        sentences = []
        for name, words in (("fund", "The fund"), ("ai", "AIStrategy alone")):
            figures, evidence = walk["members"][name], walk["evidence"][name]
            own = f"{_percent(figures['total_return'])} (Sharpe ratio {_number(figures['sharpe_ratio'])})"
            better = _above(figures["sharpe_ratio"], holding["sharpe_ratio"]) and figures["total_return"] > 0.0
            luckless = evidence["p_value"] is not None and evidence["p_value"] <= _LUCK
            proven = luckless and (evidence["deflated"] or 0.0) >= 1.0 - _LUCK
            word = ("beats" if proven else "is ahead of") if better else "does not beat"
            luck = ""
            if better:
                luck = (
                    f"; the probability of so much by luck is {_number(evidence['p_value'])}, the deflated Sharpe "
                    f"ratio after {evidence['trials']:,} trials {_number(evidence['deflated'])}"
                    f"{'' if proven else ': not proven'}"
                )
            sentences.append(f"{words} {word} holding for its risk: {own} against {held}{luck}.")
        if walk["opening"] > 1:
            sentences.append(f"These bars were walked {walk['opening']} times: they are not unseen any more.")
        return " ".join(sentences)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays as JSON values."""
        return {
            "run_id": self.run_id,
            "verdict": self.verdict,
            "card": dict(self.card),
            "stages": [
                {
                    "name": stage.name, "finding": stage.finding, "seconds": stage.seconds, "resumed": stage.resumed,
                    "found": dict(stage.found),
                }
                for stage in self.stages
            ],
        }  # fmt: skip

    def to_json(self) -> str:
        """:meth:`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


def findings(name: str, found: Mapping[str, Any]) -> str:
    """What a stage found, in plain words."""
    return _WORDS[name](found)


def _optimise(found: Mapping[str, Any]) -> str:
    searches = found["searches"]
    if not searches:
        return SWITCHED_OFF
    done = [search for search in searches if search["rules"] is not None]
    passed = sum(search["passed"] for search in done)
    names = ", ".join(search["regime"] for search in done)
    told = f"{passed} of {len(done)} parameter searches ({names}) passed their sealed test"
    left = [f"{search['regime']} left out: {search['reason']}" for search in searches if search["rules"] is None]
    return "; ".join([told, *left])


def _evolve(found: Mapping[str, Any]) -> str:
    return str(found["verdict"])


def _train(found: Mapping[str, Any]) -> str:
    if not found["kept"]:
        return str(found["reason"])
    return f"{int(found['passed'])} of 1 agent passed: {found['reason']}"


def _rehearse(found: Mapping[str, Any]) -> str:
    told = ", ".join(
        f"{name} {_percent(member['figures']['total_return'])}" for name, member in found["members"].items()
    )
    return f"{told}; {found['weights']['reason']}"


def _allocate(found: Mapping[str, Any]) -> str:
    told = [f"{name} {100.0 * weight:.0f} %" for name, weight in found["weights"].items()]
    if found["plan"] is None:
        return f"{', '.join(told)}; equal capital, the allocator is {SWITCHED_OFF}"
    return ", ".join([*told, f"cash {100.0 * found['plan']['cash_weight']:.0f} %"])


def _walk(found: Mapping[str, Any]) -> str:
    members = found["members"]
    told = ", ".join(f"{name} {_percent(members[name]['total_return'])}" for name in members)
    searches = found["adaptations"]
    words = ""
    if searches:
        passed, examined = (sum(one[key] for one in searches) for key in ("passed", "put_forward"))
        words = f"; {len(searches)} searches on the way, {passed} of {examined} strategies passed"
    return f"{told}, holding {_percent(found['holding']['total_return'])} over {found['bars']:,} bars{words}"


_WORDS = {
    "optimise": _optimise,
    "evolve": _evolve,
    "train": _train,
    "rehearse": _rehearse,
    "allocate": _allocate,
    "walk": _walk,
}


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100.0 * fraction:+.2f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _above(own: float | None, other: float | None) -> bool:
    return own is not None and own > (0.0 if other is None else other)
