"""The honest study: all systems on four markets, walked forward, beside holding, and without each system in turn.

    python studies/four_markets.py --data DIR [--profile standard] [--markets btc-spot ...] [--jobs 2] [--resume]

``DIR`` holds the files that ``markets.py`` names. Everything found is kept in ``--out``, one file a market, fold and
variant: with ``--resume`` a study that was stopped goes on with what is missing. Its figures are written there as CSV,
with a picture and the tables; ``--publish`` writes them to ``studies/results``, ``docs/images`` and ``docs/study.md``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import pandas as pd
from accounts import MarketAccounts, read_market
from chart import draw
from figures import fold_rows, found_rows, summary_rows, switched_rows
from markets import MARKETS, Market, folds_of, load
from searching import search
from tables import fill, tables, write_results
from walking import walk_fold

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.pipeline import PROFILES, PipelineSettings, Profile
from ai_backtrader.pipeline.folder import RunFolder

__all__ = ["main", "results_of", "study_fold"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE, PICTURE = (
    ROOT / "studies" / "results",
    ROOT / "docs" / "study.md",
    ROOT / "docs" / "images" / "study.png",
)


def study_fold(market: Market, number: int, data: Path, out: Path, profile: str | Profile, seed: int) -> str:
    """Search and walk one fold, whatever of it is not done; its name."""
    fold = folds_of(market, load(market, data))[number - 1]
    settings = fold.settings(market, profile, seed)
    home, name = _home(out, market, number), f"{market.name} {number}/{market.folds}"
    _same_study(RunFolder(home), settings, fold.data.fingerprint)
    _tell(f"{name}: {fold.design:,} bars to search on, {len(fold.data) - fold.design:,} to walk")
    searched = search(fold, settings, home / "search", lambda words: _tell(f"{name}: {words}"))
    walk_fold(fold, settings, searched, home / "walk", lambda words: _tell(f"{name}: {words}"))
    return name


def results_of(markets: Mapping[str, MarketAccounts]) -> dict[str, pd.DataFrame]:
    """Every figure of the study, by the name of its file."""
    return {
        "summary": summary_rows(markets), "folds": fold_rows(markets), "switched": switched_rows(markets),
        "found": found_rows(markets),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; the exit code."""
    given = _parser().parse_args(arguments)
    out: Path = given.out
    markets = {name: MARKETS[name] for name in given.markets}
    if out.exists() and any(out.iterdir()) and not given.resume:
        _tell(f"{out} holds a study already: --resume goes on with it, or name another folder with --out")
        return 2
    missing = [market.file for market in markets.values() if not (given.data / market.file).exists()]
    if missing:
        _tell(f"{given.data} has no {', '.join(missing)}: see studies/README.md for where the files come from")
        return 2
    if given.publish and (given.profile != "standard" or markets.keys() != MARKETS.keys()):
        _tell("--publish wants all markets and the standard profile: the page tells of those")
        return 2
    # The first folds of all markets come first: what is there early says something of every market.
    tasks = [
        (market, number)
        for number in range(1, 1 + max(market.folds for market in markets.values()))
        for market in markets.values()
        if number <= market.folds
    ]
    began, context = time.monotonic(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.jobs, mp_context=context) as pool:
        futures = [
            pool.submit(study_fold, market, number, given.data, out, PROFILES[given.profile], given.seed)
            for market, number in tasks
        ]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                _tell(f"{future.result()} is done: {done} of {len(futures)} folds, {time.monotonic() - began:,.0f} s")
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            _tell("Stopped: the same command with --resume goes on with what is missing.")
            return 130
        except AIBacktraderError as error:
            pool.shutdown(cancel_futures=True)
            _tell(str(error))
            return 1
    _tell("Figures: a thousand resamples for every difference")
    accounts = {
        name: read_market(
            [_home(out, market, number) for number in range(1, market.folds + 1)],
            load(market, given.data).bars_per_year,
        )
        for name, market in markets.items()
    }
    results = results_of(accounts)
    write_results(results, out / "results")
    draw(accounts, out / "study.png")
    (out / "tables.md").write_text("\n\n".join(tables(results).values()) + "\n", encoding="utf-8")
    if given.publish:
        write_results(results, RESULTS)
        draw(accounts, PICTURE)
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    sys.stdout.write(tables(results)["verdict"] + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="four_markets.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data files")
    parser.add_argument("--out", type=Path, default=Path("build/study"), help="where everything is kept")
    parser.add_argument("--profile", choices=tuple(PROFILES), default="standard", help="how much work")
    parser.add_argument("--markets", nargs="+", choices=tuple(MARKETS), default=tuple(MARKETS), help="which")
    parser.add_argument("--seed", type=int, default=0, help="source of every random choice")
    parser.add_argument("--jobs", type=int, default=2, help="processes; the outcome is the same")
    parser.add_argument("--resume", action="store_true", help="go on with a study that was stopped")
    parser.add_argument("--publish", action="store_true", help="write results, picture and page of the repository")
    return parser


def _home(out: Path, market: Market, number: int) -> Path:
    return out / market.name / f"fold-{number}"


def _same_study(folder: RunFolder, settings: PipelineSettings, fingerprint: str) -> None:
    """Refuse to go on with a study of other data, profile, seed or costs."""
    made_of = {"settings": {**settings.to_dict(), "without": list(settings.without)}, "data": fingerprint}
    known = folder.read("made-of")
    if known is None:
        folder.write("made-of", made_of)
    elif known != made_of:
        raise AIBacktraderError(
            f"{folder.path} is of a study with other data, profile, seed or costs; name another folder with --out"
        )


def _tell(words: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {words}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    # Threads of the linear algebra would fight with the processes.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
