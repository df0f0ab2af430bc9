"""Checkpoints: written whole or not at all; damage and other searches are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ai_backtrader.checkpoints import read_checkpoint, write_checkpoint
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.files import write_whole

SCHEMA = "ai-backtrader/search/1"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "search.json"
    write_checkpoint(path, schema=SCHEMA, identity={"seed": 1, "data": "abc"}, state={"numbers": [1, 2.5, None]})
    return path


def test_what_is_written_is_read_and_nothing_else_is_left_behind(written: Path) -> None:
    assert read_checkpoint(written, schema=SCHEMA, identity={"seed": 1, "data": "abc"}) == {"numbers": [1, 2.5, None]}
    assert [path.name for path in written.parent.iterdir()] == ["search.json"]


def test_another_search_is_refused_and_every_difference_named(written: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read_checkpoint(written, schema=SCHEMA, identity={"seed": 2, "data": "abd", "more": True})
    assert "belongs to another search" in caught.value.subject
    assert [fault.split(" was")[0] for fault in caught.value.faults] == ["data", "more", "seed"]
    assert "seed was 1, is 2" in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "is not whole JSON"),
        (lambda text: "", "is not whole JSON"),
        (lambda text: "[]", "schema must be"),
        (lambda text: text.replace("search/1", "search/9"), "schema must be"),
        (lambda text: text.replace("2.5", "2.6"), "does not match its SHA-256"),
        (lambda text: text.replace('"seed": 1', '"seed": 3'), "does not match its SHA-256"),
    ],
)
def test_damage_is_noticed(written: Path, damage: Any, message: str) -> None:
    written.write_text(damage(written.read_text()))
    with pytest.raises(AIBacktraderError, match=message):
        read_checkpoint(written, schema=SCHEMA, identity={"seed": 1, "data": "abc"})


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(AIBacktraderError, match="start without resume"):
        read_checkpoint(tmp_path / "none.json", schema=SCHEMA, identity={})
    with pytest.raises(AIBacktraderError, match="give a path in a folder that exists"):
        write_checkpoint(tmp_path / "no" / "search.json", schema=SCHEMA, identity={}, state={})


def test_a_failed_write_leaves_the_old_checkpoint(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = written.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AIBacktraderError, match="No space left on device"):
        write_checkpoint(written, schema=SCHEMA, identity={"seed": 1}, state={})
    assert written.read_bytes() == before
    assert [path.name for path in written.parent.iterdir()] == ["search.json"]


def test_a_file_written_whole_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_whole(tmp_path / "bars", b"1")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "bars").stat().st_mode) == 0o640


def test_an_interrupt_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "bars"
    write_whole(path, b"old")
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [left.name for left in tmp_path.iterdir()] == ["bars"]
