"""Arguments stand above the environment, and what is wrong is named without showing secrets."""

from __future__ import annotations

import datetime as dt
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.llm_advisor import Advisor, AdvisorSettings, AnswerFile, ServerSettings, get_advisor, training_cutoff


def test_the_defaults_are_ollamas() -> None:
    settings = get_advisor().settings
    assert (settings.server.base_url, settings.mode, settings.blind) == ("http://127.0.0.1:11434", "live", True)


def test_the_environment_is_read_and_arguments_stand_above_it(monkeypatch: Any, tmp_path: Path) -> None:
    for name, value in {
        "URL": "http://gpu:8080/", "MODEL": "phi4", "API": "openai", "KEY": "sk-1", "MODE": "replay", "TIMEOUT": "7.5",
        "RECORD": str(tmp_path / "a.jsonl"), "CUTOFF": "2024-06-30",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"AI_BACKTRADER_LLM_{name}", value)
    settings = get_advisor().settings
    assert (settings.server.base_url, settings.server.model) == ("http://gpu:8080", "phi4")
    assert (settings.server.api, settings.server.api_key, settings.server.timeout) == ("openai", "sk-1", 7.5)
    assert (settings.mode, settings.training_cutoff) == ("replay", dt.date(2024, 6, 30))
    given = get_advisor(model="gemma3", mode="off", timeout=1.0, min_bars=4).settings
    assert (given.server.model, given.mode, given.server.timeout, given.min_bars) == ("gemma3", "off", 1.0, 4)


def test_a_wrong_variable_is_named(monkeypatch: Any) -> None:
    monkeypatch.setenv("AI_BACKTRADER_LLM_TIMEOUT", "soon")
    monkeypatch.setenv("AI_BACKTRADER_LLM_CUTOFF", "last year")
    with pytest.raises(SettingsError, match=r"(?s)_TIMEOUT must be a number.*'soon'.*_CUTOFF must be a date"):
        get_advisor()


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="has no setting 'temperature'"):
        get_advisor(temperature=0.7)


@pytest.mark.parametrize(
    "url", ["", "localhost:11434", "ftp://host", "http://", "http://h:99999", "http://h?x=1", None, "http://["]
)
def test_a_url_that_is_none_is_refused(url: Any) -> None:
    with pytest.raises(SettingsError, match="base_url must be http"):
        ServerSettings(base_url=url)


def test_secrets_are_not_shown() -> None:
    with pytest.raises(SettingsError, match="give api_key") as caught:
        ServerSettings(base_url="http://me:hunter2@host")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingsError, match="api_key must be printable") as caught:
        ServerSettings(api_key="hunter2\r\nX: y")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(AdvisorSettings(server=ServerSettings(api_key="hunter2")))


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(SettingsError, match=r"(?s)5 faults.*mode.*on_miss.*min_bars.*change_step.*server"):
        AdvisorSettings(mode="on", on_miss="x", min_bars=0, change_step=0.0, server=3)  # type: ignore[arg-type]  # wrong


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"price": 0.0}, "price must be greater than 0"),
        ({"price": float("nan")}, "price must be finite"),
        ({"signal": "UP"}, "expected BUY, SELL, HOLD"),
        ({"regime": "sunny"}, "must be one of"),
        ({"change_24h": "-2"}, "change_24h must be a number"),
        ({"confidence": 49}, "confidence must be between 0 and 1"),
        ({"symbol": 3}, "symbol must be text"),
        ({"headline": None}, "headline must be text"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named(given: dict[str, Any], fault: str, ask: Any) -> None:
    with pytest.raises(SettingsError, match=re.escape(fault)):
        ask(get_advisor(), **given)


def test_an_advisor_goes_to_another_process(tmp_path: Path, ask: Any) -> None:
    advisor = get_advisor(mode="replay", store=AnswerFile(tmp_path / "a.jsonl"))
    ask(advisor)
    assert pickle.loads(pickle.dumps(advisor)).consultations == advisor.consultations  # noqa: S301  # our own bytes


def test_known_cut_offs_are_found_by_the_familys_name() -> None:
    assert training_cutoff("hf.co/meta/llama3.1:8b-instruct") == dt.date(2023, 12, 31)
    assert training_cutoff("smollm2") is None


def report(at: dt.datetime | None, ask: Any, **given: Any) -> Any:
    advisor = Advisor(
        AdvisorSettings(breaker_failures=1, server=ServerSettings(base_url="http://127.0.0.1:9"), **given)
    )
    ask(advisor, at=at)
    return advisor.report()


def test_the_report_warns_of_data_that_the_model_may_have_read(ask: Any) -> None:
    old, new = dt.datetime(2017, 5, 1), dt.datetime(2025, 5, 1)
    (warning,) = report(old, ask).warnings
    assert warning.startswith("all of the data lie before the training cut-off of 'llama3.2' (2023-12-31)")
    assert report(new, ask).warnings == ()
    assert "came without times" in report(None, ask).warnings[0]
    assert "recognises history" in report(new, ask, blind=False).warnings[0]
    (warning,) = report(new, ask, training_cutoff=dt.date(2025, 12, 31)).warnings
    assert "2025-12-31" in warning


def test_the_report_counts_what_happened(ask: Any) -> None:
    advisor = get_advisor(base_url="http://127.0.0.1:9", model="mine", breaker_failures=1)
    for change in (-3.0, 1.0, -4.0):
        ask(advisor, change_24h=change)
    found = advisor.report()
    assert (found.model, found.bars, found.consultations, found.advised, found.requests) == ("mine", 3, 2, 0, 1)
    assert found.triggers == {"fall_24h_against_bullish_signal": 2}
    assert found.reasons["no trigger fired"] == 1
    assert "is not known" in found.warnings[0]
