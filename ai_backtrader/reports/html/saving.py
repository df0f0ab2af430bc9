"""Any result as a page."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ai_backtrader.analyzers import Comparison, compare
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.parameter_optimizer import OptimizationResult, WalkForwardResult
from ai_backtrader.pipeline import PipelineResult
from ai_backtrader.reports.html.comparisons import comparison_sections
from ai_backtrader.reports.html.page import page_of
from ai_backtrader.reports.html.parts import Section
from ai_backtrader.reports.html.pipelines import pipeline_sections
from ai_backtrader.reports.html.runs import run_of, run_sections
from ai_backtrader.reports.html.searches import evolution_sections, optimization_sections, walk_forward_sections
from ai_backtrader.reports.html.trainings import training_sections
from ai_backtrader.rl import TrainingResult
from ai_backtrader.strategy_evolver import EvolutionResult

__all__ = ["html_page", "save_comparison", "save_html", "sections_of", "write_comparison"]


def sections_of(result: Any, *, without: Any = None) -> tuple[str, list[Section]]:
    """Title and sections of a result (see :func:`save_html`)."""
    result, without = (_first(one) for one in (result, without))
    if hasattr(result, "analyzers") or (isinstance(result, Mapping) and "performance" in result):
        run = run_of(result, without=without)
        figures = run["performance"].get_analysis()
        return f"{figures['strategy']} on {figures['symbol']}", run_sections(run)
    if without is not None:
        raise AIBacktraderError(
            f"save_html: without= goes with a strategy that Cerebro has run, not with {type(result).__name__}"
        )
    match result:
        case EvolutionResult():
            return f"Evolution on {result.run.get('symbol', 'market data')}", evolution_sections(result)
        case OptimizationResult():
            return f"{result.strategy} on {result.symbol} {result.timeframe}", optimization_sections(result)
        case WalkForwardResult():
            return f"Walk-forward over {len(result.folds)} tests", walk_forward_sections(result)
        case TrainingResult():
            return f"{result.agent} agent on {result.symbol}", training_sections(result)
        case PipelineResult():
            return f"A whole run on {result.card['data']['symbol']}", pipeline_sections(result)
        case Comparison():
            return "Strategies side by side", comparison_sections(result)
    raise AIBacktraderError(
        f"save_html takes a strategy that Cerebro has run, the result of a search, a training or a whole run, or a "
        f"comparison; got {type(result).__name__}"
    )


def _first(result: Any) -> Any:
    is_run = isinstance(result, list | tuple) and result and hasattr(result[0], "analyzers")
    return result[0] if is_run else result


def html_page(result: Any, *, title: str | None = None, without: Any = None) -> str:
    """The page of :func:`save_html` as text."""
    own, sections = sections_of(result, without=without)
    return page_of(sections, title=own if title is None else title)


def save_html(result: Any, path: str | PathLike[str], *, title: str | None = None, without: Any = None) -> None:
    """Write a result as one HTML file that needs no network.

    Parameters
    ----------
    result
        A strategy that Cerebro has run with the analyzer ``Performance`` (``cerebro.run()`` itself: its first), or a
        mapping of such analyzers by name; the result of ``evolve``, ``optimize``, ``walk_forward``, ``train_agent``,
        ``run_pipeline`` or ``compare``.
    path
        File to write.
    title
        None names what was run and on what.
    without
        Of an AIStrategy that searched on the way: the same run without adaptation, with ``Performance``. The page then
        says whether each adaptation paid.

    Raises
    ------
    AIBacktraderError
        If the result is none of these, there is nothing to show, or plotly is missing (extra ``[report]``).
    """
    Path(path).write_text(html_page(result, title=title, without=without), encoding="utf-8")


def save_comparison(
    results: Mapping[str, Any], path: str | PathLike[str], *, title: str | None = None, **options: Any
) -> Comparison:
    """Compare strategies and write them side by side, with the growth of each on one chart.

    Parameters
    ----------
    results
        By name, as for :func:`~ai_backtrader.analyzers.compare`; those with the analyzer ``Performance`` are drawn.
    path
        File to write.
    title
        None names what it is.
    **options
        Further keyword arguments of ``compare``.

    Returns
    -------
    Comparison
        What was written.
    """
    comparison = compare(results, **options)
    write_comparison(comparison, results, path, title=title)
    return comparison


def write_comparison(
    comparison: Comparison, results: Mapping[str, Any], path: str | PathLike[str], *, title: str | None = None
) -> None:
    """Write a comparison with the growth of what was compared (see :func:`save_comparison`)."""
    page = page_of(comparison_sections(comparison, results), title=title or "Strategies side by side")
    Path(path).write_text(page, encoding="utf-8")
