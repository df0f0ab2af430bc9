"""Trained agents as small files with a card that says what they learnt on, and what they do not beat.

The weights lie in the checkpoint format (raw float32, a SHA-256 over every byte, nothing that can be executed); the
card beside them is JSON and names that SHA-256, so that the two belong together.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import platform
from pathlib import Path
from typing import Any, Final

import numpy as np

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.rl.agents import LeverageRLAgent, RLAgent
from ai_backtrader.rl.checkpoint import read_checkpoint, write_checkpoint
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.training_values import TrainingResult

__all__ = ["PRETRAINED", "load_agent", "load_pretrained", "pretrained_card", "save_agent"]

PRETRAINED: Final = ("leverage", "basic")
"""The agents that ship with the package."""

_SUFFIX = ".safetensors"


def save_agent(result: TrainingResult, path: str | Path) -> str:
    """Write the best seed's weights, and its card beside them (the same name, ending ``.json``).

    Returns
    -------
    str
        The SHA-256 of the weights' file.

    Raises
    ------
    AIBacktraderError
        If a file cannot be written, or the training was stopped before anything was found.
    """
    target = Path(path)
    sizes = list(result.make_agent().dqn.sizes)
    digest = write_checkpoint(
        target,
        identity={
            "agent": result.agent,
            "feature_version": result.feature_version,
            "sizes": sizes,
            "settings": {"dtype": result.dqn.dtype},
        },
        arrays={"online": result.best.weights},
    )
    packages = ("ai-backtrader", "numpy", "numba")
    card = {
        "sha256": digest,
        "sizes": sizes,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "summary": result.verdict,
        **result.to_dict(),
    }
    for outcome in card["seeds"]:
        del outcome["looks"]
    try:
        target.with_suffix(".json").write_text(json.dumps(card, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise AIBacktraderError(f"card {target.with_suffix('.json')}: cannot be written ({error.strerror})") from error
    return digest


def load_agent(path: str | Path) -> RLAgent | LeverageRLAgent:
    """The agent of a file that :func:`save_agent` wrote, ready to act.

    Raises
    ------
    AIBacktraderError
        If the file is missing or damaged, or its card is there and names another SHA-256.
    SettingsError
        If it is of another feature version.
    """
    source = Path(path)
    identity, _ = read_checkpoint(source)
    if identity.get("agent") not in PRETRAINED:
        raise SettingsError(
            f"agent {source}", [f"holds no agent but {identity.get('kind', 'a network')!r}; write it with save_agent"]
        )
    card = source.with_suffix(".json")
    known = _checked_card(card, source) if card.exists() else {}
    sizes = identity["sizes"]
    settings = DQNSettings(hidden=tuple(sizes[1:-1]), dtype=identity["settings"]["dtype"])
    kind = LeverageRLAgent if identity["agent"] == "leverage" else RLAgent
    agent = kind(settings=settings, rng=np.random.default_rng(0))
    agent.load_weights(source)
    agent.bar_seconds = known.get("bar_seconds")
    return agent


def load_pretrained(kind: str = "leverage") -> RLAgent | LeverageRLAgent:
    """An agent that ships with the package: trained on the sample data, small, and no better than its card says.

    Parameters
    ----------
    kind
        ``"leverage"`` or ``"basic"``.

    Raises
    ------
    SettingsError
        If there is no such agent.
    AIBacktraderError
        If its file is damaged.

    Examples
    --------
    >>> load_pretrained("leverage").trained
    True
    """
    with importlib.resources.as_file(_folder(kind)) as folder:
        return load_agent(folder / (kind + _SUFFIX))


def pretrained_card(kind: str = "leverage") -> dict[str, Any]:
    """What is known of an agent that ships: data, seeds, scores, versions; ``summary`` says it in words."""
    card: dict[str, Any] = json.loads(_folder(kind).joinpath(kind + ".json").read_text(encoding="utf-8"))
    return card


def _folder(kind: str) -> Any:
    if kind not in PRETRAINED:
        raise SettingsError("load_pretrained", [f"kind must be one of {', '.join(PRETRAINED)}, got {kind!r}"])
    return importlib.resources.files("ai_backtrader.rl").joinpath("pretrained")


def _checked_card(card: Path, source: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
        named = known["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AIBacktraderError(f"card {card}: cannot be read ({error!r}); restore it from a copy") from error
    # The file has been checked against its own digest; this one says whose card it is.
    if f'"sha256": "{named}"'.encode() not in source.read_bytes():
        raise AIBacktraderError(f"card {card}: names another SHA-256 than {source} has; restore both from a copy")
    return known
