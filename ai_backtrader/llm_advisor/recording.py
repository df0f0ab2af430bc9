"""Answers kept for a replay: the key of a question, the port of a store, a store in memory and one in a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ai_backtrader.errors import DataError
from ai_backtrader.llm_advisor.values import RecordedAnswer

__all__ = ["AnswerFile", "AnswerMemory", "AnswerStore", "KeptAnswer", "answer_key", "identity_key"]


class KeptAnswer(Protocol):
    """The fields of a :class:`RecordedAnswer`, whatever class a store gives them back in."""

    @property
    def key(self) -> str:
        """Hash of all that the answer depends on."""

    @property
    def model(self) -> str:
        """Who answered."""

    @property
    def model_digest(self) -> str:
        """Digest of its weights; empty where the server tells none."""

    @property
    def request(self) -> str:
        """The question as JSON text."""

    @property
    def reply(self) -> str:
        """Body of the response, or what went wrong."""

    @property
    def status(self) -> int:
        """HTTP status; 0 when there was no response."""

    @property
    def seconds(self) -> float:
        """How long it took."""


class AnswerStore(Protocol):
    """Where answers are kept; the learning database is one."""

    def answer(self, key: str) -> KeptAnswer | None:
        """The answer kept last under the key; None if there is none."""

    def keep_answer(self, answer: RecordedAnswer) -> None:
        """Keep an answer; it replaces the one under the same key."""


def _digest(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def answer_key(
    *, model: str, model_digest: str, options: Mapping[str, Any], messages: list[dict[str, str]],
    schema: Mapping[str, Any],
) -> str:  # fmt: skip
    """SHA-256 of all that an answer depends on: model and digest, options, prompt, schema."""
    return _digest("answer/1", model, model_digest, dict(options), messages, dict(schema))


def identity_key(*, api: str, model: str) -> str:
    """Key under which a recording keeps which digest the model had, so that a replay need not ask."""
    return _digest("identity/1", api, model)


class AnswerMemory:
    """Answers in memory."""

    def __init__(self) -> None:
        self._answers: dict[str, RecordedAnswer] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def answer(self, key: str) -> RecordedAnswer | None:
        """The answer kept last under the key; None if there is none."""
        return self._answers.get(key)

    def keep_answer(self, answer: RecordedAnswer) -> None:
        """Keep an answer; it replaces the one under the same key."""
        self._answers[answer.key] = answer


class AnswerFile:
    """Answers in a file, one JSON object a line; of two with the same key the later counts.

    The file is read once, on the first question, and only appended to. A last line without an end (a process that died
    while writing) is left out and written over by the next.

    Parameters
    ----------
    path
        The file; it need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._memory: AnswerMemory | None = None
        self._unfinished_at: int | None = None  # where a line begins that has no end

    def __len__(self) -> int:
        return len(self._read())

    def answer(self, key: str) -> RecordedAnswer | None:
        """The answer kept last under the key; None if there is none.

        Raises
        ------
        DataError
            If a line of the file is not an answer.
        """
        return self._read().answer(key)

    def keep_answer(self, answer: RecordedAnswer) -> None:
        """Keep an answer; it replaces the one under the same key."""
        self._read().keep_answer(answer)
        line = json.dumps(dataclasses.asdict(answer), ensure_ascii=True, sort_keys=True) + "\n"
        if self._unfinished_at is not None:
            with self.path.open("r+b") as file:
                file.truncate(self._unfinished_at)
            self._unfinished_at = None
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode())  # one write: two processes do not mix their lines

    def _read(self) -> AnswerMemory:
        if self._memory is None:
            memory = AnswerMemory()
            content = self.path.read_bytes() if self.path.exists() else b""
            whole, _, rest = content.rpartition(b"\n")
            if rest:
                self._unfinished_at = len(content) - len(rest)
            for number, line in enumerate(whole.splitlines(), start=1):
                memory.keep_answer(self._parse(number, line))
            self._memory = memory
        return self._memory

    def _parse(self, number: int, line: bytes) -> RecordedAnswer:
        kinds = {field.name: field.type for field in dataclasses.fields(RecordedAnswer)}
        try:
            found = json.loads(line)
            answer = RecordedAnswer(**found)
            good = all(
                type(found[name]).__name__ in (kind, "int" if kind == "float" else kind) for name, kind in kinds.items()
            )
        except (ValueError, TypeError, RecursionError):
            good = False
        if not good:
            raise DataError(
                "a line is not a recorded answer",
                feed=str(self.path),
                row=str(number),
                value=line[:60].decode("utf-8", "replace"),
                mend="Restore the file, or delete the line: a replay then misses that answer.",
            )
        return answer
