"""The ``data download`` command: a market's bars from a public archive or a venue, as one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from ai_backtrader.cli.options import AsJson, Quiet
from ai_backtrader.cli.output import print_json

if TYPE_CHECKING:
    from ai_backtrader.datafeeds.download import DownloadProgress

__all__ = ["download"]


def download(
    symbol: Annotated[
        str, typer.Argument(help="BTCUSDT; for another venue as ccxt writes it: BTC/USD, BTC/USDT:USDT.")
    ],
    start: Annotated[str, typer.Option("--from", help="First month (2020-01) or day (2020-01-15), UTC.")],
    end: Annotated[str | None, typer.Option("--to", help="Last month or day; left out: what is published.")] = None,
    market: Annotated[str, typer.Option(help="'perp' (mark price, funding, open interest) or 'spot'.")] = "perp",
    interval: Annotated[str, typer.Option(help="Length of a bar: 1m to 12h, 1d.")] = "1h",
    folder: Annotated[Path, typer.Option(help="Where the file is written.")] = Path("data"),
    cache: Annotated[
        Path | None, typer.Option(help="Where archives are kept; left out: .downloads in the folder.")
    ] = None,
    venue: Annotated[str, typer.Option(help="'binance' is its public archive; others through ccxt.")] = "binance",
    source: Annotated[str | None, typer.Option(help="Address of another server with the same layout.")] = None,
    connections: Annotated[int, typer.Option(help="Files fetched at the same time.")] = 4,
    attempts: Annotated[int, typer.Option(help="Requests for one file before it is given up.")] = 5,
    timeout: Annotated[float, typer.Option(help="Seconds that the server may stay silent.")] = 30.0,
    max_wait: Annotated[float, typer.Option(help="Longest pause in seconds that the server may ask for.")] = 120.0,
    repair: Annotated[str | None, typer.Option(help="Mends to write, separated by commas, or 'all'.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Archive to leave out, by name; again for more.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch again what was published anew.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Download a market's bars: candles, mark price, funding, open interest and long/short ratio.

    Broken off, the same command goes on where it stopped. Every archive is checked against its published checksum.
    """
    from ai_backtrader.datafeeds.download import DownloadSettings, download_bars

    options: dict[str, Any] = {
        "start": start, "end": end, "market": market, "interval": interval, "folder": folder, "cache": cache,
        "venue": venue, "source": source, "connections": connections, "attempts": attempts, "timeout": timeout,
        "max_wait": max_wait, "repair": () if repair is None else tuple(repair.split(",")), "skip": tuple(skip or ()),
        "refresh": refresh,
    }  # fmt: skip
    try:
        with _progress(symbol, show=not (quiet or as_json)) as on_progress:
            result = download_bars(symbol, on_progress=on_progress, **options)
    except KeyboardInterrupt:
        kept = DownloadSettings(symbol=symbol, **options).cache_folder
        Console(stderr=True).print(
            f"Stopped: what has been fetched is kept in {kept}; the same command goes on from there.",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
        raise typer.Exit(130) from None
    if as_json:
        print_json(result.to_dict())
        return
    console = Console()
    console.print(str(result), highlight=False, markup=False, soft_wrap=True)
    console.print(f"Bars: {result.path}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress(symbol: str, *, show: bool) -> Iterator[Callable[[DownloadProgress], None]]:
    """Reporter of files as they come; silent outside a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(bar_width=20),
        MofNCompleteColumn(separator=" of "), TextColumn("{task.fields[say]}", markup=False),
        TimeRemainingColumn(),
    )  # fmt: skip
    with ProgressBar(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task(symbol, total=None, say="")

        def report(done: DownloadProgress) -> None:
            fetched = f"{done.fetched_bytes / 1e6:,.1f} MB  " if done.fetched_bytes else ""
            bar.update(task, completed=done.done, total=done.total, say=fetched + done.name)

        yield report
