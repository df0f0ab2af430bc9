"""What a run keeps beside the database: one file a stage, so that a killed run goes on where it stood."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.files import write_whole

__all__ = ["RunFolder", "runs_folder"]

Arrays = dict[str, NDArray[Any]]


def runs_folder(database: str | os.PathLike[str]) -> Path:
    """Folder of the runs of a database: ``ai.db`` has ``ai.db.runs``."""
    path = Path(database)
    return path.with_name(f"{path.name}.runs")


class RunFolder:
    """Files of one run: ``<stage>.json`` with a digest of its content, arrays beside it in ``<stage>.npz``.

    A file is written whole or not at all; one that is damaged counts as missing, and its stage is done again.

    Parameters
    ----------
    path
        Of the folder; made where there is none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def write(self, stage: str, content: dict[str, Any], arrays: Arrays | None = None) -> None:
        """Keep what a stage found.

        Raises
        ------
        AIBacktraderError
            If the content holds NaN or what JSON cannot.
        """
        document = {"content": content}
        if arrays:
            held = self.path / f"{stage}.npz"
            packed = io.BytesIO()
            np.savez(packed, **arrays)  # type: ignore[arg-type]  # names of ours, none is `allow_pickle`
            write_whole(held, packed.getvalue())
            document["arrays"] = {name: _array_digest(values) for name, values in arrays.items()}
        try:
            text = _text(document)
        except ValueError as error:
            raise AIBacktraderError(f"run: what stage {stage} found cannot be kept: {error}") from error
        text = json.dumps({**document, "sha256": _digest(text)}, indent=1, allow_nan=False)
        write_whole(self.path / f"{stage}.json", text.encode("ascii"))

    def read(self, stage: str) -> dict[str, Any] | None:
        """What a stage found; None where it is missing or damaged."""
        try:
            document = json.loads((self.path / f"{stage}.json").read_text(encoding="utf-8"))
            told = document.pop("sha256")
        except (OSError, ValueError, KeyError, AttributeError):
            return None
        if told != _digest(_text(document)):
            return None
        if document.get("arrays") and self._arrays(stage, document["arrays"]) is None:
            return None
        content: dict[str, Any] = document["content"]
        return content

    def arrays(self, stage: str) -> Arrays:
        """Arrays of a stage.

        Raises
        ------
        AIBacktraderError
            If they are missing or damaged.
        """
        try:
            told = json.loads((self.path / f"{stage}.json").read_text(encoding="utf-8"))["arrays"]
        except (OSError, ValueError, KeyError) as error:
            raise AIBacktraderError(f"{self.path}: no arrays of stage {stage}: {error}") from error
        found = self._arrays(stage, told)
        if found is None:
            raise AIBacktraderError(f"{self.path}: the arrays of stage {stage} are damaged; run it again with --resume")
        return found

    def _arrays(self, stage: str, told: dict[str, str]) -> Arrays | None:
        try:
            # Opened here: of a damaged archive NumPy leaves its own file open.
            with (self.path / f"{stage}.npz").open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                found = {name: file[name] for name in told}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return found if {name: _array_digest(values) for name, values in found.items()} == told else None


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, allow_nan=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _array_digest(values: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
