"""Settings of the advisor: the server, when to ask, how much."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ai_backtrader.checks import Faults

__all__ = ["APIS", "MODES", "AdvisorSettings", "ServerSettings", "TriggerSettings"]

MODES = ("off", "live", "record", "replay")
APIS = ("ollama", "openai")


def _given(value: object) -> object:
    """What really came, whatever the annotation says."""
    return value


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The model server and how long it may take.

    Attributes
    ----------
    base_url
        Where it listens, without ``/api`` or ``/v1``; no user name or password in it.
    model
        Name of the model on that server.
    api
        ``"ollama"`` (``/api/chat``) or ``"openai"`` (``/v1/chat/completions``: llama.cpp, vLLM, LM Studio).
    api_key
        Sent as a bearer token; never shown, logged or recorded.
    timeout
        Seconds that one advice may take altogether: connecting, waiting, retrying, reading.
    connect_timeout
        Seconds for connecting, of these.
    max_reply_bytes
        A longer reply (after decompression) is not read to its end.
    retries
        How often a 503 or 429 is asked again, within ``timeout``.
    seed, num_predict, keep_alive
        Of the generation: seed (temperature is 0), tokens at most, how long Ollama keeps the model loaded.
    """

    base_url: str = "http://127.0.0.1:11434"
    model: str = "llama3.2"
    api: str = "ollama"
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 20.0
    connect_timeout: float = 1.0
    max_reply_bytes: int = 1 << 20
    retries: int = 3
    seed: int = 0
    num_predict: int = 256
    keep_alive: str = "10m"

    def __post_init__(self) -> None:
        faults = Faults("ServerSettings")
        self._check_url(faults)
        model, keep_alive = _given(self.model), _given(self.keep_alive)
        if not isinstance(model, str) or not model.strip():
            faults.add(f"model must name a model of the server, got {model!r}")
        faults.one_of("api", self.api, APIS)
        key = self.api_key
        if key is not None and not (isinstance(key, str) and key and key.isascii() and key.isprintable()):
            faults.add("api_key must be printable ASCII text or None (it is not shown here)")
        faults.number("timeout", self.timeout, above=0.0)
        faults.number("connect_timeout", self.connect_timeout, above=0.0)
        faults.whole("max_reply_bytes", self.max_reply_bytes, low=1)
        faults.whole("retries", self.retries, low=0)
        faults.whole("seed", self.seed)
        faults.whole("num_predict", self.num_predict, low=1)
        if not isinstance(keep_alive, str):
            faults.add(f"keep_alive must be text such as '10m', got {keep_alive!r}")
        faults.raise_if_any()
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))

    def _check_url(self, faults: Faults) -> None:
        try:
            parts = urlsplit(self.base_url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
            secret = parts.username is not None or parts.password is not None
            _ = parts.port
        except (ValueError, TypeError, AttributeError):
            good = secret = False
        if secret:
            faults.add("base_url must not hold a user name or password: give api_key (the URL is not shown here)")
        elif not good:
            faults.add(f"base_url must be http://HOST[:PORT] or https://HOST[:PORT], got {self.base_url!r}")


@dataclass(frozen=True, kw_only=True)
class TriggerSettings:
    """When the model is asked.

    Attributes
    ----------
    fall_24h_pct
        A BUY signal is questioned when the price fell by this much in 24 hours, percent points.
    regime_bars
        Bars for which a change of the regime counts as a transition; 0 switches the trigger off.
    unusual_distance
        Robust standard deviations from the median at which a figure of the market is unusual; infinity switches it off.
    unusual_window, unusual_after
        Past bars that say what is usual, and how many there must be.
    """

    fall_24h_pct: float = 2.0
    regime_bars: int = 3
    unusual_distance: float = 6.0
    unusual_window: int = 500
    unusual_after: int = 100

    def __post_init__(self) -> None:
        faults = Faults("TriggerSettings")
        faults.number("fall_24h_pct", self.fall_24h_pct, above=0.0)
        faults.whole("regime_bars", self.regime_bars, low=0)
        if self.unusual_distance != math.inf:
            faults.number("unusual_distance", self.unusual_distance, above=0.0)
        faults.whole("unusual_after", self.unusual_after, low=10)
        faults.whole("unusual_window", self.unusual_window, low=10)
        if not faults.found and self.unusual_window < self.unusual_after:
            faults.add(f"unusual_window ({self.unusual_window}) must be at least unusual_after ({self.unusual_after})")
        faults.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class AdvisorSettings:
    """How the advisor works; checked once, all faults reported together.

    Attributes
    ----------
    mode
        ``"off"``: always abstains. ``"live"``: asks the server. ``"record"``: asks it and keeps every outcome.
        ``"replay"``: answers from what was kept, and never asks.
    on_miss
        What a replay does about a question that was not recorded: ``"abstain"`` or ``"raise"``.
    blind
        True: the prompt holds no symbol, price or free text, so that the model cannot know what came next.
    consult_on_hold
        Whether a HOLD is worth a question; it is not, while the advisor may only lower risk.
    min_bars
        Bars from one consultation about a symbol to the next.
    max_calls_per_run, max_calls_per_day
        Budget: different questions a run (see ``Advisor.start_run``), requests a UTC day of this process.
    breaker_failures, breaker_seconds
        After so many failures in a row the server is left alone for so long, doubling up to an hour.
    change_step, pnl_step
        To what the 24-hour change and the profit are rounded in the prompt, percent points.
    model_digest
        Of the model; None asks the server, or in a replay the recording.
    training_cutoff
        Until when the model has read; None looks in :data:`~ai_backtrader.llm_advisor.TRAINING_CUTOFFS`.
    server, triggers
        Their own settings.
    """

    mode: str = "live"
    on_miss: str = "abstain"
    blind: bool = True
    consult_on_hold: bool = False
    min_bars: int = 1
    max_calls_per_run: int = 1_000
    max_calls_per_day: int = 5_000
    breaker_failures: int = 3
    breaker_seconds: float = 30.0
    change_step: float = 0.5
    pnl_step: float = 5.0
    model_digest: str | None = None
    training_cutoff: dt.date | None = None
    server: ServerSettings = field(default_factory=ServerSettings)
    triggers: TriggerSettings = field(default_factory=TriggerSettings)

    def __post_init__(self) -> None:
        faults = Faults("AdvisorSettings")
        faults.one_of("mode", self.mode, MODES)
        faults.one_of("on_miss", self.on_miss, ("abstain", "raise"))
        for name in ("blind", "consult_on_hold"):
            faults.one_of(name, getattr(self, name), (True, False))
        faults.whole("min_bars", self.min_bars, low=1)
        for name in ("max_calls_per_run", "max_calls_per_day"):
            faults.whole(name, getattr(self, name), low=0)
        faults.whole("breaker_failures", self.breaker_failures, low=1)
        for name in ("breaker_seconds", "change_step", "pnl_step"):
            faults.number(name, getattr(self, name), above=0.0)
        digest = _given(self.model_digest)
        if digest is not None and not isinstance(digest, str):
            faults.add(f"model_digest must be text or None, got {digest!r}")
        if self.training_cutoff is not None and type(self.training_cutoff) is not dt.date:
            faults.add(f"training_cutoff must be a datetime.date or None, got {self.training_cutoff!r}")
        for name, kind in (("server", ServerSettings), ("triggers", TriggerSettings)):
            if not isinstance(getattr(self, name), kind):
                faults.add(f"{name} must be {kind.__name__}, got {getattr(self, name)!r}")
        faults.raise_if_any()
