"""The state of a search in a file: JSON, checked, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.strategy_evolver.evolution import Evolution, Island, Member
from ai_backtrader.strategy_evolver.history import Generation

__all__ = ["SCHEMA", "dump_evolution", "load_evolution", "read_checkpoint", "write_checkpoint"]

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


def write_checkpoint(path: str | Path, *, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint: whole, or not at all.

    The text goes to a temporary file beside it, is forced to the disk and renamed over the old one, so that a power
    cut or ``kill -9`` leaves either the old checkpoint or the new one.

    Parameters
    ----------
    path
        File to write; its folder must exist.
    identity
        What the search is of (settings, seed, data): a resume with anything else is refused.
    state
        JSON values.

    Raises
    ------
    AIBacktraderError
        If the file cannot be written.
    """
    target = Path(path)
    body = {"identity": dict(identity), "state": dict(state)}
    text = json.dumps({"schema": SCHEMA, "sha256": _digest(body), **body}, sort_keys=True, allow_nan=False)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=target.name + ".", suffix=".part", dir=target.parent)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = None
        _sync_folder(target.parent)
    except OSError as error:
        raise AIBacktraderError(
            f"checkpoint {target}: cannot be written ({error.strerror or error}); give a path in a folder that exists "
            "and may be written"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def read_checkpoint(path: str | Path, *, identity: Mapping[str, Any]) -> dict[str, Any]:
    """State of a checkpoint that belongs to this search.

    Raises
    ------
    AIBacktraderError
        If there is no such file, or it is damaged.
    SettingsError
        If it belongs to another search: the message names what differs.
    """
    source = Path(path)
    damaged = "start anew with another checkpoint file, or restore this one from a copy"
    try:
        document = json.loads(source.read_text(encoding="ascii"))
    except OSError as error:
        raise AIBacktraderError(
            f"checkpoint {source}: cannot be read ({error.strerror or error}); start without resume to make one"
        ) from error
    except ValueError as error:
        raise AIBacktraderError(f"checkpoint {source}: is not whole JSON ({error}); {damaged}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise AIBacktraderError(f"checkpoint {source}: schema must be {SCHEMA!r}, got {found!r}; {damaged}")
    body = {name: document.get(name) for name in ("identity", "state")}
    if document.get("sha256") != _digest(body) or not isinstance(body["state"], dict):
        raise AIBacktraderError(f"checkpoint {source}: its content does not match its SHA-256; {damaged}")
    _check_identity(source, body["identity"] or {}, json.loads(json.dumps(dict(identity))))
    return body["state"]


def _check_identity(source: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    faults = [
        f"{name} was {_shown(theirs.get(name))}, is {_shown(ours.get(name))}"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if faults:
        faults[-1] += "; resume with what it was started with, or start anew with another file"
        raise SettingsError(f"checkpoint {source} belongs to another search", faults)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode("ascii")).hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders; its rename is durable without
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
