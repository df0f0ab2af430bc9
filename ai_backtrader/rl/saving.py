"""Networks and trainings in checkpoint files: what belongs together, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from ai_backtrader.errors import SettingsError
from ai_backtrader.rl.checkpoint import check_identity, read_checkpoint, write_checkpoint
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.trainer import Trainer

__all__ = ["load_network", "load_training", "load_weights", "save_network", "save_training"]


def _settings_of(dqn: DQN) -> dict[str, Any]:
    # JSON knows no infinity.
    settings = dataclasses.asdict(dqn.settings)
    return {name: str(value) if value == math.inf else value for name, value in settings.items()}


def _identity(dqn: DQN, feature_version: str, environment: str | None) -> dict[str, Any]:
    return {
        "feature_version": feature_version,
        "sizes": list(dqn.sizes),
        "lanes": dqn.lanes,
        "settings": _settings_of(dqn),
        "environment": environment,
    }


def save_network(dqn: DQN, path: str | Path, *, feature_version: str) -> str:
    """Write weights, target, moments, replay, random numbers, counters and settings; the SHA-256 is returned."""
    return write_checkpoint(path, identity=_identity(dqn, feature_version, None), arrays=dqn.state())


def load_network(dqn: DQN, path: str | Path, *, feature_version: str) -> None:
    """Take what :func:`save_network` wrote; nothing is changed when it is refused.

    Raises
    ------
    AIBacktraderError
        If the file is missing or damaged.
    SettingsError
        If feature version, widths, lanes or settings differ.
    """
    identity, arrays = read_checkpoint(path)
    check_identity(path, identity, _identity(dqn, feature_version, None))
    dqn.load_state(arrays)


def load_weights(dqn: DQN, path: str | Path, *, feature_version: str) -> None:
    """Take the weights alone, of a network or a training whatever its settings were, for acting.

    Raises
    ------
    AIBacktraderError
        If the file is missing or damaged.
    SettingsError
        If feature version, widths or the type of the weights differ.
    """
    identity, arrays = read_checkpoint(path)
    ours = {"feature_version": feature_version, "sizes": list(dqn.sizes), "dtype": dqn.settings.dtype}
    settings = identity.get("settings", {})
    theirs = {name: identity.get(name) for name in ("feature_version", "sizes")} | {"dtype": settings.get("dtype")}
    check_identity(path, theirs, ours)
    weights = arrays.get("online", arrays.get("dqn.online"))
    if weights is None or weights.shape != dqn.memory.online.shape:
        found = None if weights is None else weights.shape
        raise SettingsError(f"checkpoint {path}", [f"online must have shape {dqn.memory.online.shape}, got {found}"])
    dqn.set_weights(weights)


def save_training(trainer: Trainer, path: str | Path, *, feature_version: str) -> str:
    """As :func:`save_network`, with the running episodes, so that a resumed training goes on bit for bit."""
    identity = _identity(trainer.dqn, feature_version, trainer.environment_digest())
    return write_checkpoint(path, identity=identity, arrays=trainer.state())


def load_training(trainer: Trainer, path: str | Path, *, feature_version: str) -> None:
    """Take what :func:`save_training` wrote; nothing is changed when it is refused.

    Raises
    ------
    AIBacktraderError
        If the file is missing or damaged.
    SettingsError
        If feature version, widths, lanes, settings or the environment differ.
    """
    identity, arrays = read_checkpoint(path)
    check_identity(path, identity, _identity(trainer.dqn, feature_version, trainer.environment_digest()))
    trainer.load_state(arrays)
