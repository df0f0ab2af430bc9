"""The ``evolve`` command: search, live progress, champions proven in Cerebro, picture and exported file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.market import MarketData
from ai_backtrader.strategies import export_source
from ai_backtrader.strategies.proofs import prove_champions
from ai_backtrader.strategy_evolver import EvolutionResult, Generation, evolve

__all__ = ["Interrupted", "export_best", "run_evolve"]


class Interrupted(Exception):  # noqa: N818  # the user's wish, not an error
    """The user stopped the search; the message says where, and how to go on."""


def run_evolve(
    data: MarketData,
    *,
    n_generations: int,
    checkpoint: Path | None,
    show: bool,
    broker: dict[str, Any],
    **options: Any,
) -> EvolutionResult:
    """Search, then run each champion in Cerebro beside its simulation.

    Parameters
    ----------
    data
        Market data.
    n_generations, checkpoint
        As in :func:`~ai_backtrader.strategy_evolver.evolve`.
    show
        Whether to draw progress on stderr.
    broker
        Keyword arguments of the simulation.
    **options
        Further keyword arguments of ``evolve``.

    Raises
    ------
    Interrupted
        On Ctrl-C.
    """
    done: list[Generation] = []
    try:
        with _progress(n_generations, show=show) as (on_generation, on_champion):

            def follow(generation: Generation) -> None:
                done.append(generation)
                on_generation(generation)

            result = evolve(
                data, n_generations=n_generations, checkpoint=checkpoint, on_generation=follow, **broker, **options
            )
            return prove_champions(
                data, result, on_proof=lambda count: on_champion(count, len(result.champions)), **broker
            )
    except KeyboardInterrupt:
        where = f"Stopped after generation {done[-1].number}" if done else "Stopped"
        if checkpoint is None:
            mend = "nothing was kept; with --checkpoint FILE a search can be resumed"
        elif checkpoint.exists():
            mend = f"{checkpoint} holds the search; the same command with --resume goes on"
        else:
            mend = "no generation was finished"
        raise Interrupted(f"{where}: {mend}.") from None


def export_best(result: EvolutionResult, path: Path) -> None:
    """Write the best champion as a plain Backtrader file.

    Raises
    ------
    AIBacktraderError
        If there is no champion.
    """
    if not result.champions:
        raise AIBacktraderError(f"--export {path}: there is no champion to export ({result.verdict})")
    trials = result.evaluations if result.trials is None else result.trials.n_trials
    path.write_text(export_source(result.best.chromosome, trials=trials), encoding="utf-8")


@contextmanager
def _progress(
    n_generations: int, *, show: bool
) -> Iterator[tuple[Callable[[Generation], None], Callable[[int, int], None]]]:
    """Two reporters: of generations, and of champions run in Cerebro. Silent outside a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(),
        TextColumn("{task.fields[say]}"), TimeRemainingColumn(),
    )  # fmt: skip
    last = time.perf_counter()
    with ProgressBar(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        search = bar.add_task("Generation", total=n_generations, say="")
        cerebro: TaskID | None = None

        def on_generation(generation: Generation) -> None:
            nonlocal last
            now = time.perf_counter()
            rate = generation.evaluated / max(1e-9, now - last)
            last = now
            bar.update(search, completed=generation.number + 1, say=progress_words(generation, rate))

        def on_champion(count: int, total: int) -> None:
            nonlocal cerebro
            if cerebro is None:
                cerebro = bar.add_task("Cerebro", total=total, say="champions compared fill by fill")
            bar.update(cerebro, completed=count)

        yield on_generation, on_champion


def progress_words(generation: Generation, rate: float) -> str:
    """One line of progress."""
    return (
        f"best {generation.best:.2f}  median {generation.median:.2f}  diversity {generation.diversity:.0%}  "
        f"{rate:,.0f} evaluations/s"
    )
