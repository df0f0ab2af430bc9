"""A server of our own on loopback that serves small archives, and misbehaves as it is told."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import threading
import time
import zipfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest

SYMBOL = "BTCUSDT"
TODAY = dt.date(2024, 3, 6)
FIRST, LAST = "2024-01-01", "2024-03-05"
CANDLE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
METRICS_HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)


@dataclass
class Fault:
    """What the server does instead of answering: a status, a break after some bytes, silence, drops, another body."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    break_after: int | None = None
    hang: float = 0.0
    drip: float = 0.0
    body: bytes | None = None
    length: int | None = None
    ignore_range: bool = False


class Server:
    """Files by path, answers by path for a venue, faults by path (each used once), and the requests that came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[dict[str, str]], Any]] = {}
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.always: dict[str, Fault] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.delay = 0.0
        self.no_ranges = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two writes: 40 ms each, else

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self.close_connection = False
                try:
                    server.answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        class Listener(ThreadingHTTPServer):
            def handle_error(self, *args: object) -> None:
                pass  # a client that is killed resets its connections

        self.http = Listener(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def asked(self, ending: str) -> list[str | None]:
        """Range headers of the requests for paths that end so."""
        return [range_ for path, range_ in self.requests if path.endswith(ending)]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        path, range_ = parts.path, request.headers.get("Range")
        with self.lock:
            self.requests.append((path, range_))
            self.times.append(time.monotonic())
        time.sleep(self.delay)
        fault = self.faults[path].popleft() if self.faults.get(path) else self.always.get(path, Fault())
        if fault.status is not None:
            self._send(request, fault.status, b"no", fault.headers)
            return
        if fault.hang:
            time.sleep(fault.hang)
            request.close_connection = True
            return
        if path in self.answers:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self._send(
                request, 200, json.dumps(self.answers[path](query)).encode(), {"Content-Type": "application/json"}
            )
            return
        body = self.files.get(path) if fault.body is None else fault.body
        if body is None:
            self._send(request, 404, b"not here", {})
            return
        begin = 0
        if range_ is not None and not (fault.ignore_range or self.no_ranges):
            begin = int(range_.removeprefix("bytes=").split("-")[0])
            if begin >= len(body):
                self._send(request, 416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
        rest = body[begin:]
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        request.send_header("Content-Length", str(len(rest) if fault.length is None else fault.length))
        request.end_headers()
        if fault.drip:
            for position in range(len(rest)):
                request.wfile.write(rest[position : position + 1])
                request.wfile.flush()
                time.sleep(fault.drip)
        request.wfile.write(rest if fault.break_after is None else rest[: fault.break_after])
        if fault.break_after is not None:
            request.wfile.flush()
            request.close_connection = True

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


@dataclass(frozen=True)
class World:
    """A made-up market in the exchange's own tables, hourly, and its archive."""

    candles: pd.DataFrame
    mark: pd.DataFrame
    funding: pd.DataFrame
    metrics: pd.DataFrame
    files: dict[str, bytes]


def zipped(text: str | bytes, name: str = "data.csv") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), text)
    return out.getvalue()


def with_checksum(files: dict[str, bytes], path: str, content: bytes) -> None:
    files[path] = content
    name = path.rsplit("/", 1)[1]
    files[path + ".CHECKSUM"] = f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()


def candle_rows(frame: pd.DataFrame, unit: int = 1_000_000) -> str:
    rows = []
    for time_, open_, high, low, close, volume, taker in frame.itertuples():
        start = time_.value // unit
        end = (time_.value + 3_600 * 10**9) // unit - 1
        rows.append(f"{start},{open_},{high},{low},{close},{volume},{end},{volume * close},9,{taker},{taker * close},0")
    return "\n".join(rows) + "\n"


def metrics_rows(frame: pd.DataFrame) -> str:
    return "".join(
        f"{time_:%Y-%m-%d %H:%M:%S},{SYMBOL},{interest},{interest * 100},1.1,1.2,{ratio},0.9\n"
        for time_, interest, ratio in frame.itertuples()
    )


def make_world() -> World:
    rng = np.random.default_rng(5)
    hours = pd.date_range(FIRST, f"{LAST} 23:00", freq="h", unit="ns")
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(hours)))), 2)
    open_ = np.concatenate(([100.0], close[:-1]))
    high, low = np.round(np.maximum(open_, close) * 1.003, 2), np.round(np.minimum(open_, close) * 0.997, 2)
    volume = np.round(rng.gamma(3.0, 10.0, len(hours)), 3) + 1.0
    candles = pd.DataFrame(
        {"open": open_, "high": high, "low": low, "close": close, "volume": volume, "taker": np.round(volume * 0.4, 3)},
        index=hours,
    )
    mark = candles.assign(volume=0.0, taker=0.0)
    mark[["open", "high", "low", "close"]] = np.round(mark[["open", "high", "low", "close"]] + 0.05, 2)
    settled = pd.date_range(FIRST, f"{LAST} 16:00", freq="8h", unit="ns")
    jitter = pd.to_timedelta(rng.integers(0, 30, len(settled)), unit="ms")  # as the exchange's own stamps have it
    funding = pd.DataFrame({"rate": np.round(rng.normal(0.0001, 0.0002, len(settled)), 8)}, index=settled + jitter)
    fives = pd.date_range(f"{FIRST} 00:05", f"{dt.date.fromisoformat(LAST) + dt.timedelta(1)}", freq="5min", unit="ns")
    metrics = pd.DataFrame(
        {
            "interest": np.round(1e5 * np.exp(np.cumsum(rng.normal(0, 0.001, len(fives)))), 3),
            "ratio": np.round(np.exp(rng.normal(0.3, 0.05, len(fives))), 6),
        },
        index=fives,
    )
    files: dict[str, bytes] = {}
    root = "/data/futures/um"
    for month in ("2024-01", "2024-02"):
        # The older month has no header, as the exchange's have none before 2022.
        header = "" if month == "2024-01" else CANDLE_HEADER + "\n"
        for kind, frame in (("klines", candles), ("markPriceKlines", mark)):
            path = f"{root}/monthly/{kind}/{SYMBOL}/1h/{SYMBOL}-1h-{month}.zip"
            with_checksum(files, path, zipped(header + candle_rows(frame.loc[month]), f"{SYMBOL}-1h-{month}.csv"))
        rates = "".join(f"{t.value // 10**6},8,{rate:.8f}\n" for t, rate in funding.loc[month].itertuples())
        path = f"{root}/monthly/fundingRate/{SYMBOL}/{SYMBOL}-fundingRate-{month}.zip"
        with_checksum(files, path, zipped("calc_time,funding_interval_hours,last_funding_rate\n" + rates))
    for day in pd.date_range("2024-03-01", LAST):
        for kind, frame in (("klines", candles), ("markPriceKlines", mark)):
            path = f"{root}/daily/{kind}/{SYMBOL}/1h/{SYMBOL}-1h-{day:%Y-%m-%d}.zip"
            with_checksum(files, path, zipped(CANDLE_HEADER + "\n" + candle_rows(frame.loc[f"{day:%Y-%m-%d}"])))
    for day in pd.date_range(FIRST, LAST):
        part = metrics[(metrics.index > day) & (metrics.index <= day + pd.Timedelta(days=1))]
        path = f"{root}/daily/metrics/{SYMBOL}/{SYMBOL}-metrics-{day:%Y-%m-%d}.zip"
        with_checksum(files, path, zipped(METRICS_HEADER + "\n" + metrics_rows(part)))
    return World(candles, mark, funding, metrics, files)


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def archive(server: Server, world: World) -> Server:
    """The server, with the archive of the made-up market."""
    server.files = dict(world.files)
    return server


@pytest.fixture
def fault() -> type[Fault]:
    return Fault


@pytest.fixture
def pack() -> Callable[..., bytes]:
    return zipped


@pytest.fixture
def publish() -> Callable[[dict[str, bytes], str, bytes], None]:
    return with_checksum


@pytest.fixture
def get(tmp_path: Any, archive: Server) -> Callable[..., Any]:
    """download_bars of the made-up market, patient by milliseconds."""
    from ai_backtrader.datafeeds import download_bars

    def call(**options: Any) -> Any:
        given = {
            "start": "2024-01", "folder": tmp_path / "data", "source": archive.url, "today": TODAY, "backoff": 0.01,
            "timeout": 5.0, "attempts": 3, "max_wait": 3.0,
        } | options  # fmt: skip
        return download_bars(given.pop("symbol", SYMBOL), **given)

    return call
