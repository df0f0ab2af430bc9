"""``ai-backtrader data download``: what it prints, and that Ctrl-C or a kill at any moment costs nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ai_backtrader import MarketData
from ai_backtrader.cli import main

# The made-up market ends in the past: months are over, and days are not asked for.
PERIOD = ("--from", "2024-01-20", "--to", "2024-02-10")


def call(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["ai-backtrader", "data", "download", *arguments]
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


def command(source: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "ai_backtrader", "data", "download", "BTCUSDT", *PERIOD, "--source", source, *more]


def test_the_file_lies_in_the_folder_and_can_be_checked_and_traded(archive: Any, tmp_path: Path) -> None:
    code, out, err = call("BTCUSDT", *PERIOD, "--market", "perp", "--source", archive.url, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "BTCUSDT-perp: 528 bars of 1 hour, 2024-01-20 00:00:00 to 2024-02-10 23:00:00 UTC" in out
    assert "Bars: data/BTCUSDT-perp-1h-2024-01-20_2024-02-10.csv.gz" in out
    data = MarketData.from_csv(tmp_path / "data" / "BTCUSDT-perp-1h-2024-01-20_2024-02-10.csv.gz")
    assert list(data.columns())[-4:] == ["funding_rate", "open_interest", "long_short_ratio", "taker_buy_volume"]


def test_json_is_one_object(archive: Any, tmp_path: Path) -> None:
    code, out, err = call("BTCUSDT", *PERIOD, "--source", archive.url, "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["report"]["bars"] == 528
    assert said["gaps"] == []
    assert re.fullmatch(r"[0-9a-f]{64}", said["sha256"])


def test_an_error_is_one_line_and_exit_code_1(archive: Any, tmp_path: Path) -> None:
    code, out, err = call("NOSUCH", *PERIOD, "--source", archive.url, cwd=tmp_path)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"error: no candles of NOSUCH \(perp, 1h\) [^\n]*Check the symbol's spelling[^\n]*\n", err)


def test_progress_is_drawn_in_a_terminal(archive: Any, tmp_path: Path) -> None:
    archive.delay = 0.05
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(archive.url), cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        drawn = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # a terminal that nobody holds any more
                break
            if not piece:
                break
            drawn += piece
        process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())
    assert "BTCUSDT" in text
    assert re.search(r"\d+ of \d+ .*MB  BTCUSDT-", text)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_download_that_is_ended_goes_on_and_gives_the_same_file(archive: Any, tmp_path: Path, end: int) -> None:
    call("BTCUSDT", *PERIOD, "--source", archive.url, "--folder", "reference", cwd=tmp_path)
    reference = next((tmp_path / "reference").glob("*.csv.gz")).read_bytes()
    all_paths = {path for path, _ in archive.requests if path in archive.files}
    archive.requests.clear()
    archive.times.clear()
    archive.delay = 0.15
    process = subprocess.Popen(
        command(archive.url), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Whoever runs the tests may have told its children not to hear Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(archive.requests) < 18 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, end)
    begun = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == (130 if end == signal.SIGINT else -9)
    if end == signal.SIGINT:
        assert "Stopped: what has been fetched is kept in data/.downloads; the same command goes on" in err
        assert time.monotonic() - begun < 25
    assert not list((tmp_path / "data").glob("*.csv.gz*"))
    kept = list((tmp_path / "data" / ".downloads").rglob("*.zip"))
    assert kept
    archive.delay = 0.0
    archive.requests.clear()
    code, _, err = call("BTCUSDT", *PERIOD, "--source", archive.url, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert next((tmp_path / "data").glob("*.csv.gz")).read_bytes() == reference
    asked = {path for path, _ in archive.requests if path in archive.files}
    assert asked < all_paths
    assert not any(f"/{path.name}" in asked_path for path in kept for asked_path in asked)


def test_ctrl_c_does_not_wait_for_a_server_that_hangs(archive: Any, fault: Any, tmp_path: Path) -> None:
    for path in [path for path in archive.files if "/monthly/" in path]:
        archive.always[path] = fault(hang=60.0)
    process = subprocess.Popen(
        command(archive.url), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(archive.requests) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - begun < 25  # a read would wait for 30 seconds
    assert "Traceback" not in err
