"""The ``optimize`` command: parameters of the technical strategy, or of a strategy of yours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from ai_backtrader.cli.audit import parse_params
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer import (
    TECHNICAL_SPACE,
    Batch,
    OptimizationResult,
    Space,
    TechnicalFamily,
)
from ai_backtrader.strategies.optimized import optimize

__all__ = ["parse_space", "run_optimize", "strategy_of"]


def run_optimize(
    data: MarketData,
    *,
    strategy: str = "technical",
    space: Sequence[str] = (),
    params: Sequence[str] = (),
    leverage: float = 1.0,
    show: bool = True,
    **options: Any,
) -> OptimizationResult:
    """Search as the command does, with progress on stderr in a terminal.

    Parameters
    ----------
    data
        Market data.
    strategy
        ``"technical"``, or ``FILE.py`` or ``FILE.py:Class``: a strategy of the user's. The file is run.
    space
        ``name=low:high``, ``name=low:high:log`` or ``name=a,b,c``; for a strategy of the user's at least one.
    params
        ``name=value``: params of the user's strategy that are held.
    leverage
        Of the technical strategy.
    show
        Whether to draw progress.
    **options
        Further keyword arguments of :func:`ai_backtrader.strategies.optimize`.

    Raises
    ------
    SettingsError
        If the strategy or its space is wrong.
    """
    chosen, dimensions = strategy_of(strategy, leverage=leverage), parse_space(space)
    if strategy == "technical":
        whole = {dimension.name: dimension for dimension in TECHNICAL_SPACE.dimensions}
        unknown = [name for name in dimensions if name not in whole]
        if unknown:
            raise SettingsError("optimize", [f"--space names {', '.join(unknown)}; known are {', '.join(whole)}"])
        wanted = Space.of({**whole, **dimensions}, constraints=TECHNICAL_SPACE.constraints)
    elif not dimensions:
        raise SettingsError("optimize", [f"say what to search in {strategy}: --space name=low:high, again for more"])
    else:
        wanted = Space.of(dimensions)
    with _progress(show=show) as on_batch:
        return optimize(chosen, data, wanted, params=parse_params(list(params)) or None, on_batch=on_batch, **options)


def strategy_of(text: str, *, leverage: float = 1.0) -> Any:
    """The technical family, or the strategy class of ``FILE.py`` or ``FILE.py:Class``."""
    if text == "technical":
        return TechnicalFamily(leverage=leverage)
    if leverage != 1.0:
        raise SettingsError(
            "optimize", ["--leverage is of the technical strategy; yours chooses its own in its orders"]
        )
    from ai_backtrader.audit import load_strategy

    path, _, name = text.partition(":") if ".py:" in text else (text, "", "")
    return load_strategy(Path(path), name or None)


def parse_space(given: Sequence[str]) -> dict[str, Any]:
    """Dimensions of texts: ``fast=5:50``, ``share=0.1:0.9``, ``slow=20:400:log``, ``kind=ema,sma``.

    Raises
    ------
    SettingsError
        Naming every text that cannot be read.
    """
    found: dict[str, Any] = {}
    faults = []
    for text in given:
        name, equals, words = text.partition("=")
        parts = words.split(":")
        try:
            if not (name and equals and words):
                raise ValueError
            if len(parts) == 1:
                found[name] = [_value(word) for word in words.split(",")]
            elif len(parts) == 2 or (len(parts) == 3 and parts[2] == "log"):
                ends = (_number(parts[0]), _number(parts[1]))
                found[name] = (*ends, "log") if len(parts) == 3 else ends
            else:
                raise ValueError
        except ValueError:
            faults.append(f"--space must be name=low:high, name=low:high:log or name=a,b,c, got {text!r}")
    if faults:
        raise SettingsError("optimize", faults)
    return found


def _number(word: str) -> int | float:
    try:
        return int(word)
    except ValueError:
        return float(word)


def _value(word: str) -> int | float | str | bool:
    if word in ("true", "false"):
        return word == "true"
    try:
        return _number(word)
    except ValueError:
        return word


@contextmanager
def _progress(*, show: bool) -> Iterator[Callable[[Batch], None]]:
    """Reporter of batches; silent outside a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(),
        TextColumn("{task.fields[say]}"), TimeRemainingColumn(),
    )  # fmt: skip
    started = time.perf_counter()
    with ProgressBar(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task("Trial", total=None, say="")

        def on_batch(batch: Batch) -> None:
            rate = batch.done / max(1e-9, time.perf_counter() - started)
            bar.update(task, completed=batch.done, total=batch.n_trials, say=progress_words(batch, rate))

        yield on_batch


def progress_words(batch: Batch, rate: float) -> str:
    """One line of progress."""
    if batch.score is None or batch.parameters is None:
        return f"no score yet ({batch.failed} without)"
    first = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in list(batch.parameters.items())[:3]
    )
    more = " …" if len(batch.parameters) > 3 else ""
    return f"best {batch.score:.2f} ({first}{more})  {rate:.1f} trials/s"
