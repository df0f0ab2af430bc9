"""Pictures of a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.reports import plot_run, save_plot
from ai_backtrader.reports.plots import extremes


def labels(figure: Figure, panel: int) -> list[str]:
    return figure.axes[panel].get_legend_handles_labels()[1]


def drawn_line(figure: Figure, panel: int, place: int) -> np.ndarray:
    return np.asarray(figure.axes[panel].lines[place].get_ydata(), dtype=float)


def test_the_picture_has_price_account_leverage_and_margin(report: dict[str, Any]) -> None:
    figure = plot_run(report)
    found = report["performance"].get_analysis()
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "Price (quote currency)",
        "Account value (cash)",
        "Leverage",
        "Margin ratio",
    ]
    assert figure.axes[-1].get_xlabel() == "Time (UTC)"
    assert figure.axes[0].get_title(loc="left") == "BTC perpetual, Scripted"
    assert {"entry long", "exit", "liquidation", "long position", "short position"} <= set(labels(figure, 0))
    assert f"{found.liquidations} liquidation" in figure.axes[0].texts[0].get_text()
    assert np.array_equal(drawn_line(figure, 0, 0), report["performance"].price)
    assert np.array_equal(drawn_line(figure, 1, 1), report["performance"].equity)
    assert np.array_equal(drawn_line(figure, 1, 0), report["performance"].buy_and_hold)


def test_marks_stand_at_the_prices_of_the_fills(report: dict[str, Any]) -> None:
    figure, fills = plot_run(report), report["performance"].fills()
    marks = {mark.get_label(): np.asarray(mark.get_offsets()) for mark in figure.axes[0].collections}
    assert marks["entry long"][:, 1] == pytest.approx(fills[fills["opened"] > 0]["price"].to_numpy())
    assert marks["liquidation"][:, 1] == pytest.approx(fills[fills["liquidation"]]["price"].to_numpy())


def test_a_run_without_margin_has_no_margin_panel(report: dict[str, Any]) -> None:
    figure = plot_run({"performance": report["performance"]})
    assert [axes.get_ylabel() for axes in figure.axes][-1] == "Leverage"


def test_the_same_run_writes_the_same_png_twice(report: dict[str, Any], tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        save_plot(report, tmp_path / name, width=6, height=5, dpi=80)
    one = (tmp_path / "one.png").read_bytes()
    assert one[:8] == b"\x89PNG\r\n\x1a\n"
    assert one == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_other_formats_follow_the_suffix(report: dict[str, Any], tmp_path: Path, suffix: str) -> None:
    save_plot(report, tmp_path / f"run.{suffix}", width=6, height=5)
    assert (tmp_path / f"run.{suffix}").stat().st_size > 5_000


def test_long_histories_keep_their_extremes(report_of: Callable[..., dict[str, Any]]) -> None:
    closes = 100.0 + np.sin(np.arange(9_000) / 50.0)
    closes[4_321] = 250.0  # one bar among thousands
    closes[6_789] = 7.0
    price = drawn_line(plot_run(report_of(closes, {}), width=4, dpi=60), 0, 0)
    assert price.size <= 4 * 240
    assert (price.max(), price.min()) == (250.0, 7.0)
    assert (price[0], price[-1]) == (closes[0], closes[-1])


def test_extremes_are_ascending_and_skip_missing_values() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=5_000)
    values[rng.random(5_000) < 0.3] = np.nan
    values[:400] = np.nan
    kept = extremes(values, 50)
    assert (np.diff(kept) > 0).all()
    assert kept.size <= 200
    assert np.nanmax(values[kept]) == np.nanmax(values)
    assert np.nanmin(values[kept]) == np.nanmin(values)
    assert extremes(values[:200], 50).tolist() == list(range(200))


def test_an_account_without_trades_or_movement_can_be_drawn(
    report_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    save_plot(report_of([100.0] * 5, {}), tmp_path / "flat.png")
    save_plot(report_of([100.0], {}), tmp_path / "one_bar.png")


def test_a_run_without_bars_cannot_be_drawn(report_of: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(AIBacktraderError, match="the run has no bars"):
        plot_run(report_of([], {}))


def test_plotting_neither_opens_pyplot_nor_changes_the_backend() -> None:
    code = (
        "import sys, ai_backtrader.reports as reports\n"
        "assert 'matplotlib' not in sys.modules, 'opened on import'\n"
        "from ai_backtrader.reports.plots import _matplotlib\n"
        "_matplotlib()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_matplotlib_is_named_with_its_extra(report: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # what Python itself does for a module that is absent
    with pytest.raises(AIBacktraderError, match=r"pip install 'ai-backtrader\[report\]'"):
        plot_run(report)
