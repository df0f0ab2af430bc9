"""The state of a search in a file: JSON, checked, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_backtrader.errors import AIBacktraderError, SettingsError

__all__ = ["SCHEMA", "read_checkpoint", "write_checkpoint"]

SCHEMA = "ai-backtrader/search/1"
"""Name and version of the format."""

_MEND = "start anew with another checkpoint file, or restore this one from a copy"


def write_checkpoint(path: str | Path, *, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint: whole, or not at all.

    The text is forced to the disk beside the old file and renamed over it: after ``kill -9`` or a power cut there is
    the old checkpoint or the new one.

    Parameters
    ----------
    path
        File to write; its folder must exist.
    identity
        What the search is of; a resume with anything else is refused.
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
    try:
        document = json.loads(source.read_text(encoding="ascii"))
    except OSError as error:
        raise AIBacktraderError(
            f"checkpoint {source}: cannot be read ({error.strerror or error}); start without resume to make one"
        ) from error
    except ValueError as error:
        raise AIBacktraderError(f"checkpoint {source}: is not whole JSON ({error}); {_MEND}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise AIBacktraderError(f"checkpoint {source}: schema must be {SCHEMA!r}, got {found!r}; {_MEND}")
    body = {name: document.get(name) for name in ("identity", "state")}
    if document.get("sha256") != _digest(body) or not isinstance(body["state"], dict):
        raise AIBacktraderError(f"checkpoint {source}: its content does not match its SHA-256; {_MEND}")
    theirs, ours = body["identity"] or {}, json.loads(json.dumps(dict(identity)))
    faults = [
        f"{name} was {theirs.get(name)!r:.80}, is {ours.get(name)!r:.80}"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if faults:
        faults[-1] += "; resume with what it was started with, or start anew with another file"
        raise SettingsError(f"checkpoint {source} belongs to another search", faults)
    return body["state"]


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode("ascii")).hexdigest()
