"""An advisor from arguments and from the environment."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_backtrader.errors import SettingsError
from ai_backtrader.llm_advisor.advisor import Advisor
from ai_backtrader.llm_advisor.recording import AnswerFile, AnswerStore
from ai_backtrader.llm_advisor.settings import AdvisorSettings, ServerSettings

__all__ = ["ENVIRONMENT", "get_advisor"]

#: Variables of the environment and what they set; an argument stands above its variable.
ENVIRONMENT: Mapping[str, str] = {
    "AI_BACKTRADER_LLM_URL": "base_url",
    "AI_BACKTRADER_LLM_MODEL": "model",
    "AI_BACKTRADER_LLM_API": "api",
    "AI_BACKTRADER_LLM_KEY": "api_key",
    "AI_BACKTRADER_LLM_MODE": "mode",
    "AI_BACKTRADER_LLM_TIMEOUT": "timeout",
    "AI_BACKTRADER_LLM_RECORD": "store",
    "AI_BACKTRADER_LLM_CUTOFF": "training_cutoff",
}
_SERVER = tuple(field.name for field in dataclasses.fields(ServerSettings))


def get_advisor(
    *,
    base_url: str | None = None,
    model: str | None = None,
    mode: str | None = None,
    timeout: float | None = None,
    api: str | None = None,
    api_key: str | None = None,
    store: AnswerStore | Path | str | None = None,
    training_cutoff: dt.date | None = None,
    settings: AdvisorSettings | None = None,
    **further: Any,
) -> Advisor:
    """Build an advisor: arguments first, then the environment, then ``settings``, then the defaults.

    Parameters
    ----------
    base_url, model, timeout, api, api_key
        Of the server, see :class:`~ai_backtrader.llm_advisor.ServerSettings`; in the environment
        ``AI_BACKTRADER_LLM_URL``, ``_MODEL``, ``_TIMEOUT`` (seconds), ``_API``, ``_KEY``.
    mode
        ``"off"``, ``"live"``, ``"record"`` or ``"replay"``; ``AI_BACKTRADER_LLM_MODE``.
    store
        Where answers are recorded: a store, or the path of a file of JSON lines; ``AI_BACKTRADER_LLM_RECORD``.
    training_cutoff
        Until when the model has read; ``AI_BACKTRADER_LLM_CUTOFF`` (``2023-12-31``).
    settings
        What the others start from.
    **further
        Any further field of :class:`~ai_backtrader.llm_advisor.AdvisorSettings` or ``ServerSettings``.

    Raises
    ------
    SettingsError
        If a value is wrong; the environment's variable is named.

    Examples
    --------
    >>> get_advisor(mode="off").settings.mode
    'off'
    """
    given = {
        "base_url": base_url, "model": model, "mode": mode, "timeout": timeout, "api": api, "api_key": api_key,
        "store": store, "training_cutoff": training_cutoff,
    }  # fmt: skip
    chosen = _from_environment() | {name: value for name, value in given.items() if value is not None} | further
    known = {field.name for field in dataclasses.fields(AdvisorSettings)} - {"server"}
    unknown = sorted(set(chosen) - known - set(_SERVER) - {"store"})
    if unknown:
        raise SettingsError("get_advisor", [f"has no setting {name!r}" for name in unknown])
    base = AdvisorSettings() if settings is None else settings
    keeper = chosen.pop("store", None)
    server = {name: chosen.pop(name) for name in _SERVER if name in chosen}
    built = dataclasses.replace(base, server=dataclasses.replace(base.server, **server), **chosen)
    return Advisor(built, store=AnswerFile(keeper) if isinstance(keeper, str | Path) else keeper)


def _from_environment() -> dict[str, Any]:
    found: dict[str, Any] = {}
    faults = []
    for variable, name in ENVIRONMENT.items():
        text = os.environ.get(variable, "").strip()
        if not text:
            continue
        try:
            found[name] = _CONVERSIONS.get(name, str)(text)
        except ValueError:
            faults.append(f"{variable} must be {_WORDS[name]}, got {text!r}")
    if faults:
        raise SettingsError("get_advisor", faults)
    return found


_CONVERSIONS: Mapping[str, Any] = {"timeout": float, "training_cutoff": dt.date.fromisoformat}
_WORDS = {"timeout": "a number of seconds", "training_cutoff": "a date like 2023-12-31"}
