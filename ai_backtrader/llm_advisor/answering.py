"""Where an answer comes from: the run's memory, the recording, or the server, each within its limits."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import NamedTuple

from ai_backtrader.errors import SettingsError
from ai_backtrader.llm_advisor.client import ModelServer, ServerError, chat_request, generation_options
from ai_backtrader.llm_advisor.deadline import Deadline
from ai_backtrader.llm_advisor.guards import CircuitBreaker, DailyBudget
from ai_backtrader.llm_advisor.prompt import SYSTEM_PROMPT
from ai_backtrader.llm_advisor.recording import AnswerMemory, AnswerStore, answer_key, identity_key
from ai_backtrader.llm_advisor.schema import ADVICE_SCHEMA
from ai_backtrader.llm_advisor.settings import AdvisorSettings
from ai_backtrader.llm_advisor.values import MissingAnswerError, RecordedAnswer

__all__ = ["Answerer", "NoAnswer"]

_log = logging.getLogger("ai_backtrader")


class NoAnswer(NamedTuple):
    """Why there is no answer, and whether the server is at fault."""

    reason: str
    failed: bool = False


class Answerer:
    """Gives the answer to a prompt, by the mode of the settings.

    Within a run the same prompt has the same outcome and costs once: in ``live`` mode what the server answered, in
    ``record`` and ``replay`` a failure as well. So a replay repeats a recorded run to the last bar, failures included,
    whatever the clock was at which the breaker opened or the day's budget ended.

    Parameters
    ----------
    settings
        All of the advisor's.
    store
        Where answers are kept; needed for ``record`` and ``replay``.
    server
        Whom to ask in ``live`` and ``record``.
    """

    def __init__(self, settings: AdvisorSettings, store: AnswerStore | None, server: ModelServer) -> None:
        if store is None and settings.mode in ("record", "replay"):
            raise SettingsError("Advisor", [f"mode {settings.mode!r} needs a store to keep or find the answers in"])
        self.settings = settings
        self.requests = 0
        self.digest = settings.model_digest
        self.counts: Counter[str] = Counter()
        self._store: AnswerStore = AnswerMemory() if store is None else store
        self._server = server
        self._breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_seconds)
        self._day = DailyBudget(settings.max_calls_per_day)
        self.start_run()

    def start_run(self) -> None:
        """Forget the run's memory and budget; breaker and day go on."""
        self._known: dict[str, RecordedAnswer | NoAnswer] = {}
        self._spent = 0
        if self.settings.model_digest is None:
            self.digest = None

    def answer(self, prompt: str) -> RecordedAnswer | NoAnswer:
        """The answer to a prompt; one of status 200 may still be unreadable.

        Raises
        ------
        MissingAnswerError
            In a replay, if nothing was recorded and ``on_miss`` says so.
        """
        deadline = Deadline(self.settings.server.timeout)
        unknown = self._identify(deadline)
        if unknown is not None:
            return unknown
        server = self.settings.server
        messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": prompt}]
        key = answer_key(
            model=server.model,
            model_digest=self.digest or "",
            options=generation_options(server),
            messages=messages,
            schema=ADVICE_SCHEMA,
        )
        known = self._known.get(key)
        if known is not None:
            self.counts["remembered"] += 1
            return known
        if self._spent >= self.settings.max_calls_per_run:
            return NoAnswer(f"the run's budget of {self.settings.max_calls_per_run} questions is used up")
        self._spent += 1
        kept = self._find(key)
        if kept is not None:
            self._known[key] = kept
            return kept
        if self.settings.mode == "replay":
            missing = self._known[key] = self._miss(key)
            return missing
        request = chat_request(server, messages, ADVICE_SCHEMA)
        fresh = self._ask(key, json.dumps(request, sort_keys=True), request, deadline)
        if self.settings.mode == "record":
            self._store.keep_answer(fresh)
        if self.settings.mode == "record" or fresh.status == 200:
            self._known[key] = fresh
        return fresh

    def _find(self, key: str) -> RecordedAnswer | None:
        if self.settings.mode not in ("record", "replay"):
            return None
        kept = self._store.answer(key)
        if kept is None or (kept.status != 200 and self.settings.mode == "record"):
            return None  # what failed last time is tried again when recording anew
        self.counts["recorded"] += 1
        return RecordedAnswer(
            kept.key, kept.model, kept.model_digest, kept.request, kept.reply, kept.status, kept.seconds
        )

    def _miss(self, key: str) -> NoAnswer:
        self.counts["missing"] += 1
        if self.settings.on_miss == "raise":
            raise MissingAnswerError(
                f"no answer of {self.settings.server.model!r} was recorded under {key or 'its name'}: record the run "
                "again with the same settings, or let a miss abstain (on_miss='abstain')"
            )
        return NoAnswer("no answer was recorded for this question")

    def _ask(self, key: str, text: str, request: dict[str, object], deadline: Deadline) -> RecordedAnswer:
        refused = self._refusal()
        status, reply, seconds = 0, refused, 0.0
        if not refused:
            try:
                reply, seconds = self._server.chat(request, deadline)
                status = 200
                self._breaker.succeeded()
            except ServerError as error:
                status, reply, seconds = error.status, str(error), deadline.elapsed
                self._note_failure(error)
        return RecordedAnswer(key, self.settings.server.model, self.digest or "", text, reply, status, seconds)

    def _refusal(self) -> str:
        """Why the server must not be asked now; empty if it may, and then the request is counted."""
        if self._breaker.seconds_left > 0.0:
            self.counts["breaker"] += 1
            return "the server failed repeatedly and is left alone for a while"
        if not self._day.spend():
            self.counts["day"] += 1
            return f"the day's budget of {self.settings.max_calls_per_day} requests is used up"
        self.requests += 1
        return ""

    def _note_failure(self, error: ServerError) -> None:
        self.counts["failed"] += 1
        opened = self._breaker.failed()
        # The first failure is told in full; a server that is down for a day must not flood the log.
        level = logging.WARNING if self.counts["failed"] == 1 or opened else logging.DEBUG
        pause = f"; left alone for {self._breaker.seconds_left:.0f} s" if opened else ""
        kind = f"status {error.status}" if error.status else str(error)  # not the server's own words
        _log.log(level, "LLM server %s: %s%s", self.settings.server.base_url, kind, pause)

    def _identify(self, deadline: Deadline) -> NoAnswer | None:
        """Learn the model's digest, once a run; why a replay cannot, else None."""
        if self.digest is not None:
            return None
        server = self.settings.server
        if self.settings.mode == "live":
            self.digest = ""  # nothing is kept beyond the run: the name is enough
            return None
        key = identity_key(api=server.api, model=server.model)
        if self.settings.mode == "replay":
            kept = self._store.answer(key)
            if kept is None:
                return self._miss("")
            self.digest = kept.model_digest
            return None
        reason = self._refusal()
        digest, status = "", 0
        if not reason:
            try:
                digest, status = self._server.digest(deadline), 200
            except ServerError as error:
                status, reason = error.status, str(error)
                self._note_failure(error)
        # Kept also when it failed: the replay must look under the same keys as this run does.
        self._store.keep_answer(RecordedAnswer(key, server.model, digest, "{}", reason, status, deadline.elapsed))
        self.digest = digest
        return None
