"""What a run was made of: with the same of it, the same answer."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ai_backtrader.learning_db.texts import json_text

__all__ = ["code_fingerprint", "run_identity", "versions"]

_PACKAGES = ("ai-backtrader", "backtrader", "numpy", "pandas", "numba", "scipy", "scikit-optimize", "torch")


@lru_cache(maxsize=1)
def code_fingerprint() -> str:
    """Digest of the package's own source files: names and contents."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    # Links are followed: three rooms of a checkout are links.
    files = [Path(folder) / name for folder, _, names in os.walk(root, followlinks=True) for name in names]
    for file in sorted(file for file in files if file.suffix == ".py"):
        content = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that figures depend on, of those that are installed."""
    return dict(_versions())


def run_identity(
    kind: str, seed: int | None, settings: str, data: Mapping[str, str], code: str, used: Mapping[str, str]
) -> str:
    """Name of a run: the same for equal runs, on any day and machine with the same versions."""
    made_of = json_text([kind, seed, settings, dict(data), code, dict(used)])
    return hashlib.sha256(made_of.encode()).hexdigest()[:24]
