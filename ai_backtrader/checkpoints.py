"""The state of a search in a file: JSON, checked, replaced as a whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.files import write_whole

__all__ = ["read_checkpoint", "write_checkpoint"]

_MEND = "start anew with another checkpoint file, or restore this one from a copy"


def write_checkpoint(path: str | Path, *, schema: str, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint: whole, or not at all.

    Parameters
    ----------
    path
        File to write; its folder must exist.
    schema
        Name and version of the format.
    identity
        What the search is of (settings, seed, data): a resume with anything else is refused.
    state
        JSON values.

    Raises
    ------
    AIBacktraderError
        If the file cannot be written.
    """
    body = {"identity": dict(identity), "state": dict(state)}
    text = json.dumps({"schema": schema, "sha256": _digest(body), **body}, sort_keys=True, allow_nan=False)
    try:
        write_whole(path, text.encode("ascii"))
    except OSError as error:
        raise AIBacktraderError(
            f"checkpoint {path}: cannot be written ({error.strerror or error}); give a path in a folder that exists "
            "and may be written"
        ) from error


def read_checkpoint(path: str | Path, *, schema: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """State of a checkpoint that belongs to this search.

    Raises
    ------
    AIBacktraderError
        If there is no such file, it is damaged, or its format is another.
    SettingsError
        If it belongs to another search: the message names what differs.
    """
    source = Path(path)
    try:
        document = json.loads(source.read_text(encoding="ascii"))
    except OSError as error:
        raise AIBacktraderError(
            f"checkpoint {source}: cannot be read ({error.strerror or error}); start without resume to make one"
        ) from error
    except ValueError as error:
        raise AIBacktraderError(f"checkpoint {source}: is not whole JSON ({error}); {_MEND}") from error
    if not isinstance(document, dict) or document.get("schema") != schema:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise AIBacktraderError(f"checkpoint {source}: schema must be {schema!r}, got {found!r}; {_MEND}")
    body = {name: document.get(name) for name in ("identity", "state")}
    if document.get("sha256") != _digest(body) or not isinstance(body["state"], dict):
        raise AIBacktraderError(f"checkpoint {source}: its content does not match its SHA-256; {_MEND}")
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
