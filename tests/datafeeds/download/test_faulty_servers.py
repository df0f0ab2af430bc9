"""A server that breaks off, lies, stalls or asks for patience: the right file in the end, or a clear error and none."""

from __future__ import annotations

import datetime as dt
import email.utils
import io
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader import MarketData
from ai_backtrader.datafeeds import DownloadError
from ai_backtrader.datafeeds.download.archives import read_archive
from ai_backtrader.datafeeds.download.plan import FUNDING, KLINES, Series
from ai_backtrader.datafeeds.download.plan import METRICS as METRICS_KIND

UM = "/data/futures/um"
CANDLES = f"{UM}/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02.zip"
METRICS = f"{UM}/daily/metrics/BTCUSDT/BTCUSDT-metrics-2024-03-02.zip"
START = "2024-02-28"  # a month's file, five days' files of each kind of bars, seven of metrics


@pytest.fixture
def reference(get: Any, archive: Any, tmp_path: Path) -> bytes:
    """Bytes of the file that an undisturbed download writes."""
    content: bytes = get(start=START, folder=tmp_path / "reference").path.read_bytes()
    archive.requests.clear()
    archive.times.clear()
    return content


def written(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "data").glob("*") if path.is_file()]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    get: Any, archive: Any, fault: Any, reference: bytes
) -> None:
    archive.faults[CANDLES].extend([fault(break_after=1_000), fault(break_after=500)])
    assert get(start=START).path.read_bytes() == reference
    assert archive.asked(CANDLES) == [None, "bytes=1000-", "bytes=1500-"]


def test_a_server_without_ranges_is_asked_from_the_beginning(
    get: Any, archive: Any, fault: Any, reference: bytes
) -> None:
    archive.no_ranges = True
    archive.faults[CANDLES].append(fault(break_after=1_000))
    assert get(start=START).path.read_bytes() == reference
    assert archive.asked(CANDLES) == [None, "bytes=1000-"]


def test_attempts_that_get_on_are_not_counted(
    get: Any, archive: Any, fault: Any, publish: Any, world: Any, reference: bytes
) -> None:
    # Half a megabyte of a stored ZIP, in pieces of 70,000 bytes: more breaks than attempts.
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        text = zipfile.ZipFile(io.BytesIO(world.files[CANDLES])).read("BTCUSDT-1h-2024-02.csv")
        packed.writestr("data.csv", text + b"\n" * (500_000 - len(text)))
    publish(archive.files, CANDLES, out.getvalue())
    archive.faults[CANDLES].extend([fault(break_after=70_000) for _ in range(6)])
    assert get(start=START, attempts=2).path.read_bytes() == reference
    assert len(archive.asked(CANDLES)) == 7


@pytest.mark.parametrize("kept", ["a part", "the whole", "more than the whole", "a part of another file"])
def test_what_a_killed_process_left_is_used_or_fetched_anew(
    get: Any, archive: Any, world: Any, reference: bytes, tmp_path: Path, kept: str
) -> None:
    whole = world.files[CANDLES]
    part = tmp_path / "data" / ".downloads" / f"{CANDLES[1:]}.part"
    part.parent.mkdir(parents=True)
    left = {"a part": whole[:700], "the whole": whole, "more than the whole": whole + b"x"}.get(kept, b"z" * 700)
    part.write_bytes(left)
    assert get(start=START).path.read_bytes() == reference
    first, *rest = archive.asked(CANDLES)
    assert first == f"bytes={len(left)}-"
    assert rest == ([] if kept in ("a part", "the whole") else [None])
    assert not part.exists()


def test_what_has_been_fetched_is_not_asked_for_again(get: Any, archive: Any, reference: bytes) -> None:
    first = get(start=START)
    first.path.unlink()
    archive.requests.clear()
    assert get(start=START).path.read_bytes() == reference
    assert not any(path in archive.files for path, _ in archive.requests)


def test_an_archive_that_the_disk_spoiled_is_fetched_again(
    get: Any, archive: Any, reference: bytes, tmp_path: Path
) -> None:
    get(start=START)
    kept = tmp_path / "data" / ".downloads" / CANDLES[1:]
    spoiled = bytearray(kept.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    kept.write_bytes(spoiled)
    archive.requests.clear()
    assert get(start=START).path.read_bytes() == reference
    assert archive.asked(CANDLES) == [None]


def test_an_archive_published_anew_is_fetched_when_asked_to(
    get: Any, archive: Any, world: Any, pack: Any, publish: Any
) -> None:
    before = MarketData.from_csv(get(start=START).path)
    text = zipfile.ZipFile(io.BytesIO(world.files[METRICS])).read("data.csv").decode()
    header, *rows = text.splitlines()
    doubled = [",".join([*row.split(",")[:2], "12345", *row.split(",")[3:]]) for row in rows]
    publish(archive.files, METRICS, pack("\n".join([header, *doubled])))
    archive.requests.clear()
    assert MarketData.from_csv(get(start=START).path).same_content(before)
    after = MarketData.from_csv(get(start=START, refresh=True).path)
    assert archive.asked("metrics-2024-03-02.zip") == [None]
    assert archive.asked("metrics-2024-03-03.zip") == []  # its checksum was asked for, it is the same
    assert not after.same_content(before)


def test_a_lie_about_a_checksum_is_asked_again(get: Any, archive: Any, fault: Any, reference: bytes) -> None:
    archive.faults[CANDLES + ".CHECKSUM"].append(fault(body=b"0" * 64 + b"  BTCUSDT-1h-2024-02.zip\n"))
    assert get(start=START).path.read_bytes() == reference
    assert archive.asked(CANDLES) == [None, None]


def test_a_lie_that_stays_names_the_file_and_both_hashes_and_writes_nothing(
    get: Any, archive: Any, fault: Any, world: Any, tmp_path: Path
) -> None:
    import hashlib

    archive.always[METRICS + ".CHECKSUM"] = fault(body=b"0" * 64 + b"  BTCUSDT-metrics-2024-03-02.zip\n")
    found = hashlib.sha256(world.files[METRICS]).hexdigest()
    with pytest.raises(DownloadError) as caught:
        get(start=START)
    said = str(caught.value)
    assert f"{archive.url}{METRICS}" in said
    assert f"expected SHA-256 {'0' * 64}, found {found}" in said
    assert "--skip BTCUSDT-metrics-2024-03-02.zip" in said
    assert archive.asked(METRICS) == [None, None, None]
    assert written(tmp_path) == []
    result = get(start=START, skip=("BTCUSDT-metrics-2024-03-02.zip",))
    assert [(str(gap.first), gap.reason) for gap in result.gaps if "open interest" in gap.what] == [
        ("2024-03-02", "between files")
    ]
    empty = np.isnan(MarketData.from_csv(result.path).open_interest)
    assert 22 <= empty.sum() <= 24  # that day, but for the hour that the last row before it stands for


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Log in to the hotel's network</html>", "no SHA-256 where one should be"),
        (b"", "no SHA-256 where one should be"),
        (b"a" * 5_000, "more than 4096 bytes where a checksum should be"),
    ],
)
def test_what_is_no_checksum_is_said(get: Any, archive: Any, fault: Any, body: bytes, said: str) -> None:
    archive.always[CANDLES + ".CHECKSUM"] = fault(body=body)
    with pytest.raises(DownloadError, match=said):
        get(start=START)


def test_an_archive_without_a_checksum_is_not_believed(get: Any, archive: Any) -> None:
    del archive.files[CANDLES + ".CHECKSUM"]
    with pytest.raises(DownloadError, match="no checksum is published beside the archive"):
        get(start=START)


@pytest.mark.parametrize("status", [429, 418, 503])
def test_a_pause_that_the_server_asks_for_is_kept_by_all(
    get: Any, archive: Any, fault: Any, reference: bytes, status: int
) -> None:
    archive.faults[CANDLES].append(fault(status=status, headers={"Retry-After": "2"}))
    assert get(start=START, connections=3).path.read_bytes() == reference
    asked = [(time_, path) for time_, (path, _) in zip(archive.times, archive.requests, strict=True)]
    refused, again = (time_ for time_, path in asked if path == CANDLES)
    assert again - refused >= 2.0
    # The others had their requests under way, and then kept still as well.
    assert not [path for time_, path in asked if refused + 1.0 < time_ < refused + 1.95]


def test_a_pause_may_be_asked_for_as_a_date(get: Any, archive: Any, fault: Any, reference: bytes) -> None:
    now = dt.datetime.now(dt.UTC)
    headers = {
        "Retry-After": email.utils.format_datetime(now + dt.timedelta(seconds=60), usegmt=True),
        "Date": email.utils.format_datetime(now, usegmt=True),
    }
    archive.faults[CANDLES].append(fault(status=429, headers=headers))
    with pytest.raises(DownloadError, match=r"asks for a pause of \d+ s, longer than max_wait \(3 s\)"):
        get(start=START)


def test_a_pause_that_is_too_long_ends_the_download_at_once(get: Any, archive: Any, fault: Any) -> None:
    archive.always[CANDLES] = fault(status=429, headers={"Retry-After": "3600"})
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"pause of 3600 s.*the same call goes on"):
        get(start=START)
    assert time.monotonic() - begun < 5.0
    assert len(archive.asked(CANDLES)) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_fault_that_passes_is_waited_out(get: Any, archive: Any, fault: Any, reference: bytes, status: int) -> None:
    archive.faults[METRICS].extend([fault(status=status)] * 2)
    assert get(start=START).path.read_bytes() == reference


def test_a_fault_that_stays_is_given_up(get: Any, archive: Any, fault: Any, tmp_path: Path) -> None:
    archive.always[METRICS] = fault(status=500)
    with pytest.raises(DownloadError, match=r"metrics-2024-03-02.zip: given up after 3 attempts: HTTP 500"):
        get(start=START)
    assert len(archive.asked(METRICS)) == 3
    assert written(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403, 451])
def test_a_refusal_is_not_argued_with(get: Any, archive: Any, fault: Any, status: int) -> None:
    archive.always[CANDLES] = fault(status=status)
    with pytest.raises(DownloadError, match=f"refuses with HTTP {status}.*does not serve you"):
        get(start=START)
    assert len(archive.asked(CANDLES)) == 1


def test_a_server_that_hangs_is_given_up_in_time(get: Any, archive: Any, fault: Any) -> None:
    archive.always[CANDLES] = fault(hang=20.0)
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"given up after 2 attempts: .*timed out"):
        get(start=START, timeout=0.3, attempts=2)
    assert time.monotonic() - begun < 10.0


def test_a_server_that_drips_is_as_good_as_silent(get: Any, archive: Any, fault: Any) -> None:
    archive.always[CANDLES] = fault(drip=0.05)
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"given up after 2 attempts: too slow: \d+ bytes"):
        get(start=START, timeout=0.5, attempts=2)
    assert time.monotonic() - begun < 10.0


def test_a_server_that_is_not_there_is_said(get: Any) -> None:
    with pytest.raises(DownloadError, match=r"given up after 2 attempts: .*[Rr]efused"):
        get(start=START, source="http://127.0.0.1:9", attempts=2)


def test_few_connections_are_open_at_once(get: Any, archive: Any) -> None:
    answer, lock = archive.answer, threading.Lock()
    open_now: list[int] = [0]
    most: list[int] = [0]

    def counted(request: Any) -> None:
        with lock:
            open_now[0] += 1
            most[0] = max(most[0], open_now[0])
        time.sleep(0.01)
        try:
            answer(request)
        finally:
            with lock:
                open_now[0] -= 1

    archive.answer = counted
    get(start=START, connections=3)
    assert 2 <= most[0] <= 3


def good_header() -> str:
    return (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
        "ignore\n"
    )


def damaged(kind: str, good: bytes) -> bytes:
    if kind == "cut short":
        return good[: len(good) // 2]
    if kind == "no ZIP":
        return b"this is no archive" * 50
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        if kind == "a bomb":
            packed.writestr("data.csv", b"1" * 3_000_000)
        elif kind == "two files":
            packed.writestr("a.csv", "1")
            packed.writestr("b.csv", "2")
        elif kind == "empty":
            packed.writestr("data.csv", "")
        elif kind == "wrong columns":
            packed.writestr("data.csv", "open_time,open,high,low,volume\n1706745600000,1,1,1,1\n")
        elif kind == "too few columns":
            packed.writestr("data.csv", "1706745600000,1,1,1,1,1\n")
        elif kind == "text":
            packed.writestr("data.csv", "1706745600000,1,2,1,many,1,1706749199999,1,1,1,1,0\n")
        elif kind == "a header only":
            packed.writestr("data.csv", good_header())
        elif kind == "a row too long":
            packed.writestr("data.csv", good_header() + "1706745600000,1,2,1,1,1,1706749199999,1,1,1,1,0,7\n" * 2)
        elif kind == "a time beyond all":
            packed.writestr("data.csv", "1e300,1,2,1,1,1,1706749199999,1,1,1,1,0\n")
        elif kind == "no time":
            packed.writestr("data.csv", "1706745600000,1,2,1,1,1,1706749199999,1,1,1,1,0\n,1,2,1,1,1,1,1,1,1,1,0\n")
        elif kind == "another month":
            packed.writestr("data.csv", "1609459200000,1,2,1,1,1,1609462799999,1,1,1,1,0\n")
    content = out.getvalue()
    if kind == "damaged inside":
        spoiled = bytearray(good)
        spoiled[200] ^= 0xFF
        content = bytes(spoiled)
    return content


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cut short", "no readable ZIP"),
        ("no ZIP", "no readable ZIP"),
        ("damaged inside", "no readable ZIP"),
        ("a bomb", "unpacks to more than 1000000 bytes"),
        ("two files", "holds 2 files, expected one CSV"),
        ("no files", "holds 0 files, expected one CSV"),
        ("empty", "the file in it is empty"),
        ("wrong columns", "wrong columns: expected open_time, open, .*, found open_time, open, high, low, volume"),
        ("too few columns", "wrong columns"),
        ("text", "unreadable rows"),
        ("no time", "unreadable rows: a row without a time"),
        ("a header only", "unreadable rows: a header only"),
        ("a row too long", "unreadable rows: Length of header or names does not match"),
        ("a time beyond all", r"unreadable rows: a time that is none: 1e\+300"),
        ("another month", "all 1 rows are of another time, the first of 2021-01-01"),
    ],
)
def test_an_archive_that_is_published_broken_is_said_and_nothing_written(
    get: Any, archive: Any, publish: Any, world: Any, tmp_path: Path, kind: str, said: str
) -> None:
    publish(archive.files, CANDLES, damaged(kind, world.files[CANDLES]))
    with pytest.raises(DownloadError, match=f"BTCUSDT-1h-2024-02.zip: {said}"):
        get(start=START, max_unpacked=1_000_000)
    assert written(tmp_path) == []


def test_whatever_is_spoiled_in_an_archive_it_is_a_download_error(world: Any, pack: Any, tmp_path: Path) -> None:
    february, day = dt.date(2024, 2, 1), dt.date(2024, 2, 3)
    archives = (
        Series("perp", "BTCUSDT", KLINES, "1h").month(february),
        Series("perp", "BTCUSDT", FUNDING).month(february),
        Series("perp", "BTCUSDT", METRICS_KIND).day(day),
    )
    rng = np.random.default_rng(1)
    put = (
        b",",
        b"\n",
        b'"',
        b"x",
        b"\x00",
        b"\xff",
        b"\r",
        b"nan",
        b"inf",
        b"1e400",
        b"9" * 30,
        b"2024-99-99",
        b"\n\n\n",
    )
    path = tmp_path / "spoiled.zip"
    refused: list[tuple[str, str]] = []
    for number in range(360):
        one = archives[number % 3]
        content = world.files["/" + one.path]
        if number % 2:
            spoiled = bytearray(content)
            spoiled[rng.integers(len(spoiled))] = rng.integers(256)
            path.write_bytes(spoiled)
        else:
            packed = zipfile.ZipFile(io.BytesIO(content))
            text = bytearray(packed.read(packed.namelist()[0]))
            at = int(rng.integers(200 if number % 4 else len(text)))
            text[at : at + int(rng.integers(0, 40))] = put[rng.integers(len(put))]
            path.write_bytes(pack(bytes(text)))
        try:
            frame, _ = read_archive(path, one, max_unpacked=1_000_000)
        except DownloadError as error:
            refused.append((one.name, str(error)))
        else:
            assert len(frame)
    assert len(refused) > 100
    assert all(said.startswith(f"{name}: ") for name, said in refused)


def test_many_faults_at_once_give_the_same_file(get: Any, archive: Any, fault: Any, reference: bytes) -> None:
    rng = np.random.default_rng(8)
    kinds = (
        lambda: fault(break_after=int(rng.integers(0, 900))),
        lambda: fault(status=500),
        lambda: fault(status=429, headers={"Retry-After": "0"}),
        lambda: fault(ignore_range=True),
        lambda: fault(body=b"0" * 64),
    )
    for path in archive.files:
        for _ in range(int(rng.integers(0, 3))):
            archive.faults[path].append(kinds[rng.integers(len(kinds))]())
    assert get(start=START, attempts=8).path.read_bytes() == reference
    assert sum(path in archive.files for path, _ in archive.requests) > 60


def test_a_bomb_that_lies_about_its_size_is_counted_as_it_comes_out(
    get: Any, archive: Any, publish: Any, tmp_path: Path
) -> None:
    bomb = damaged("a bomb", b"")
    lying = bomb.replace((3_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lying != bomb
    publish(archive.files, CANDLES, lying)
    with pytest.raises(DownloadError, match=r"BTCUSDT-1h-2024-02\.zip: "):
        get(start=START, max_unpacked=1_000_000)
    assert written(tmp_path) == []


def test_the_name_inside_an_archive_says_nothing_about_where_anything_goes(
    get: Any, archive: Any, publish: Any, pack: Any, world: Any, reference: bytes, tmp_path: Path
) -> None:
    text = zipfile.ZipFile(io.BytesIO(world.files[CANDLES])).read("BTCUSDT-1h-2024-02.csv")
    publish(archive.files, CANDLES, pack(text, "../../../../evil.csv"))
    assert get(start=START).path.read_bytes() == reference
    assert not list(tmp_path.rglob("evil*"))
    assert not list(tmp_path.parent.glob("evil*"))


def test_an_endless_archive_is_cut_off(get: Any, archive: Any, fault: Any, tmp_path: Path) -> None:
    archive.always[CANDLES] = fault(body=b"x" * 3_000_000)
    with pytest.raises(DownloadError, match="more than 1000000 bytes"):
        get(start=START, max_unpacked=1_000_000)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.part")) < 1_200_000


def test_an_archive_that_grows_without_end_over_many_breaks_is_cut_off(
    get: Any, archive: Any, fault: Any, tmp_path: Path
) -> None:
    archive.always[CANDLES] = fault(body=b"x" * 3_000_000, break_after=100_000)
    with pytest.raises(DownloadError, match="more than 1000000 bytes"):
        get(start=START, max_unpacked=1_000_000)
    assert len(archive.asked(CANDLES)) < 15


def test_a_broken_promise_of_length_is_noticed(get: Any, archive: Any, fault: Any, reference: bytes) -> None:
    length = len(archive.files[CANDLES])
    archive.faults[CANDLES].append(fault(length=length + 50, break_after=length))
    assert get(start=START).path.read_bytes() == reference


def test_a_full_disk_is_said_as_it_is_and_leaves_no_file(
    get: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ai_backtrader.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        get(start=START)
    assert written(tmp_path) == []
