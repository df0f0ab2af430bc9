"""The state of a search between two generations, as JSON values for a checkpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from ai_backtrader.errors import SettingsError
from ai_backtrader.strategy_evolver.evolution import Evolution, Island, Member
from ai_backtrader.strategy_evolver.history import Generation

__all__ = ["SCHEMA", "dump_evolution", "load_evolution"]

SCHEMA = "ai-backtrader/evolution/1"
"""Name and version of the format."""

C = TypeVar("C")


def dump_evolution(evolution: Evolution[C]) -> dict[str, Any]:
    """State of a search between two generations, as JSON values.

    Raises
    ------
    SettingsError
        If the representation cannot write its candidates.
    """
    dump = evolution.representation.dump
    if dump is None:
        raise SettingsError("checkpoint", ["the representation has no dump; give Representation(dump=…, load=…)"])
    return {
        "evaluations": evolution.evaluations,
        "rng": _json_state(evolution.rng.bit_generator.state),
        "history": [_generation_document(generation) for generation in evolution.history],
        "islands": [
            {
                "record": _finite(island.record),
                "idle": island.idle,
                "members": [
                    {"candidate": dump(member.candidate), "scores": [_finite(score) for score in member.scores]}
                    for member in island.members
                ],
            }
            for island in evolution.islands
        ],
    }


def load_evolution(evolution: Evolution[C], state: Mapping[str, Any]) -> None:
    """Put a search into the state that :func:`dump_evolution` wrote.

    Raises
    ------
    SettingsError
        If the representation cannot read candidates, or the random generator is of another kind.
    """
    load = evolution.representation.load
    if load is None:
        raise SettingsError("checkpoint", ["the representation has no load; give Representation(dump=…, load=…)"])
    kind = type(evolution.rng.bit_generator).__name__
    if state["rng"].get("bit_generator") != kind:
        raise SettingsError(
            "checkpoint", [f"its random numbers are of {state['rng'].get('bit_generator')!r}, the search uses {kind}"]
        )
    evolution.rng.bit_generator.state = state["rng"]
    evolution.evaluations = int(state["evaluations"])
    evolution.history = [_generation(document) for document in state["history"]]
    evolution.islands = [
        Island(
            members=[
                Member(load(member["candidate"]), tuple(_number(score) for score in member["scores"]))
                for member in island["members"]
            ],
            record=_number(island["record"]),
            idle=int(island["idle"]),
        )
        for island in state["islands"]
    ]


def _json_state(state: Any) -> Any:
    # Bit generators keep plain integers (PCG64) or arrays (MT19937); JSON takes lists, and both read them back.
    if isinstance(state, Mapping):
        return {str(name): _json_state(value) for name, value in state.items()}
    return state.tolist() if hasattr(state, "tolist") else state


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return -math.inf if value is None else float(value)


def _generation_document(generation: Generation) -> dict[str, Any]:
    document = dataclasses.asdict(generation)
    return {**document, "best": _finite(generation.best), "median": _finite(generation.median)}


def _generation(document: Mapping[str, Any]) -> Generation:
    return Generation(**{**document, "best": _number(document["best"]), "median": _number(document["median"])})
