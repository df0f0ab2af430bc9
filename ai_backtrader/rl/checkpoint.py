"""Checkpoints: arrays and a description in one file, checked to the last byte, replaced as a whole or not at all.

The file is in the safetensors format (a length, a JSON header, raw arrays), so that other programs read it too; it
needs no torch and nothing in it can be executed. Its header holds a SHA-256 of the whole file, computed with 64 zeros
in the digest's own place: one flipped byte anywhere is noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.files import write_whole

__all__ = ["CHECKPOINT_SCHEMA", "check_identity", "read_checkpoint", "write_checkpoint"]

CHECKPOINT_SCHEMA = "ai-backtrader/dqn/1"
"""Name and version of the format."""

_KINDS = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8", "U8": "|u1", "BOOL": "|b1"}
_NAMES = {np.dtype(kind): name for name, kind in _KINDS.items()}
_BLANK = "0" * 64
_MEND = "restore it from a copy, or train anew"
_SETTINGS = re.compile(r"(?P<kind>\w+)\((?P<fields>\w+=.*)\)", re.DOTALL)
_LONGEST = 80  # characters of a value in a message


def write_checkpoint(path: str | Path, *, identity: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write a checkpoint, whole or not at all, and return its SHA-256.

    The bytes go to a temporary file beside it, are forced to the disk and renamed over the old one, so that a power cut
    or ``kill -9`` leaves either the old checkpoint or the new one.

    Parameters
    ----------
    path
        File to write; its folder must exist.
    identity
        What the arrays belong to (settings, features, environment), JSON values; see :func:`check_identity`.
    arrays
        By name; float32, float64, int64, uint64, uint8 or bool.

    Raises
    ------
    AIBacktraderError
        If the file cannot be written.
    """
    metadata = {"schema": CHECKPOINT_SCHEMA, "sha256": _BLANK, "identity": json.dumps(dict(identity), sort_keys=True)}
    header: dict[str, Any] = {"__metadata__": metadata}
    pieces, at = [], 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        kind = _NAMES[array.dtype.newbyteorder("<")]
        piece = array.astype(_KINDS[kind], copy=False).tobytes()
        header[name] = {"dtype": kind, "shape": list(arrays[name].shape), "data_offsets": [at, at + len(piece)]}
        pieces.append(piece)
        at += len(piece)
    text = json.dumps(header, sort_keys=True).encode("ascii")
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8, as the format advises
    body = b"".join(pieces)
    digest = _digest(text, body)
    text = text.replace(f'"sha256": "{_BLANK}"'.encode(), f'"sha256": "{digest}"'.encode(), 1)
    _replace(Path(path), len(text).to_bytes(8, "little") + text + body)
    return digest


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Identity and arrays of a checkpoint.

    Raises
    ------
    AIBacktraderError
        If there is no such file, it is none of ours, or a byte of it has changed.
    """
    source = Path(path)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise AIBacktraderError(
            f"checkpoint {source}: cannot be read ({error.strerror or error}); give the path of a checkpoint"
        ) from error
    length = int.from_bytes(content[:8], "little")
    text, body = content[8 : 8 + length], content[8 + length :]
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__")
        schema, digest, identity = metadata["schema"], metadata["sha256"], metadata["identity"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AIBacktraderError(f"checkpoint {source}: is damaged or of another kind; {_MEND}") from error
    if schema != CHECKPOINT_SCHEMA:
        raise AIBacktraderError(f"checkpoint {source}: schema must be {CHECKPOINT_SCHEMA!r}, got {schema!r}; {_MEND}")
    blanked = text.replace(f'"sha256": "{digest}"'.encode(), f'"sha256": "{_BLANK}"'.encode(), 1)
    if len(text) != length or _digest(blanked, body) != digest:
        raise AIBacktraderError(f"checkpoint {source}: its content does not match its SHA-256; {_MEND}")
    arrays = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        array = np.frombuffer(body[first:last], _KINDS[entry["dtype"]]).reshape(entry["shape"])
        arrays[name] = array.astype(array.dtype.newbyteorder("="))
    return json.loads(identity), arrays


def check_identity(path: str | Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of something else.

    Raises
    ------
    SettingsError
        Naming everything that differs; of settings only the fields that do.
    """
    own = json.loads(json.dumps(dict(ours)))
    faults = [
        words for name in sorted({*theirs, *own}) for words in _differences(name, theirs.get(name), own.get(name))
    ]
    if faults:
        faults[-1] += "; load it with what it was made with, or train anew"
        raise SettingsError(f"checkpoint {path} belongs to something else", faults)


def _differences(name: str, theirs: Any, ours: Any) -> Iterator[str]:
    """What differs in a value of an identity, field by field where it has fields."""
    if theirs == ours:
        return
    before, after = _fields(theirs), _fields(ours)
    if before is not None and after is not None and before[0] == after[0]:
        for field in sorted({*before[1], *after[1]}):
            yield from _differences(f"{name}.{field}", before[1].get(field, _MISSING), after[1].get(field, _MISSING))
        return
    yield f"{name} was {_shown(theirs)}, is {_shown(ours)}"


def _fields(value: Any) -> tuple[str, Mapping[str, Any]] | None:
    """Kind and fields of a mapping, or of the text of settings, ``Kind(name=value, …)``; None of anything else."""
    if isinstance(value, Mapping):
        return "", value
    found = _SETTINGS.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    parts = [part.partition("=") for part in _parted(found["fields"])]
    return found["kind"], {field.strip(): _Text(text) for field, equals, text in parts if equals}


def _parted(text: str) -> list[str]:
    """Text cut at the commas that stand in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and not depth:
            parts.append("")
            continue
        parts[-1] += character
    return parts


class _Text(str):
    """Source text of a value, which is shown as it is."""


_MISSING = _Text("missing")  # a field that the settings of another version do not have


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, _Text) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _digest(text: bytes, body: bytes) -> str:
    digest = hashlib.sha256(len(text).to_bytes(8, "little"))
    digest.update(text)
    digest.update(body)
    return digest.hexdigest()


def _replace(target: Path, content: bytes) -> None:
    try:
        write_whole(target, content)
    except OSError as error:
        raise AIBacktraderError(
            f"checkpoint {target}: cannot be written ({error.strerror or error}); give a path in a folder that "
            "exists and may be written"
        ) from error
