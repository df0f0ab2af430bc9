"""Pages opened in a real browser: nothing complains, every chart is drawn, they answer to the mouse, offline."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.reports.html import html_page
from ai_backtrader.reports.html.page import page_of
from ai_backtrader.reports.html.parts import BUCKETS, Section, Table, thinned

pytest.importorskip("plotly")

_DRAWN = """
return [...document.querySelectorAll('.chart')].map((chart) => ({
  title: chart.closest('figure').querySelector('h3').textContent,
  wide: chart.getBoundingClientRect().width,
  paths: [...chart.querySelectorAll('path.js-line, path.point, .point path, path.js-fill')]
    .filter((path) => (path.getAttribute('d') || '').length > 5).length,
}))
"""


_MIDDLE = """
const chart = [...document.querySelectorAll('.chart')]
  .find((chart) => chart.closest('figure').querySelector('h3').textContent === arguments[0]);
chart.scrollIntoView({block: 'center'});
const box = chart.getBoundingClientRect();
return [box.x + box.width / 2, box.y + box.height / 2]
"""


@pytest.fixture(scope="module")
def text(report: dict[str, Any]) -> str:
    return html_page(report)


@pytest.mark.parametrize(
    "look", [{}, {"dark": True}, {"width": 390, "touch": True}], ids=["light", "dark", "phone"]
)  # fmt: skip
def test_every_chart_of_a_run_is_drawn_without_a_complaint(
    text: str, opened: Callable[..., Any], look: dict[str, Any]
) -> None:
    page = opened(text, **look)
    assert page.complaints() == []
    drawn = page.run(_DRAWN)
    assert [chart["title"] for chart in drawn if chart["paths"] == 0 or chart["wide"] < 300] == []
    assert {"Price and trades", "Account value", "Drawdown", "Leverage", "Margin ratio"} <= {
        chart["title"] for chart in drawn
    }
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_a_curve_says_its_value_under_the_mouse(text: str, opened: Callable[..., Any]) -> None:
    page = opened(text)
    place = page.run(_MIDDLE, "Account value")
    page.move(*place)
    words = page.wait_for(
        "return [...document.querySelectorAll('.hoverlayer text')].map((text) => text.textContent).join(' ')"
    )
    assert "buy and hold" in words
    assert "Scripted" in words
    assert page.complaints() == []


def test_a_mark_tells_the_votes_under_the_mouse(text: str, opened: Callable[..., Any]) -> None:
    page = opened(text)
    point = page.run(
        "const chart = [...document.querySelectorAll('.chart')].find((chart) => "
        "chart.closest('figure').querySelector('h3').textContent.startsWith('Score'));"
        "const point = chart.querySelector('.points path'); point.scrollIntoView({block: 'center'});"
        "const box = point.getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]"
    )
    page.move(*point)
    words = page.wait_for("return document.querySelector('.hoverlayer .hovertext')?.textContent")
    assert "technical: BUY 50%" in words
    assert "rl: silent: not trained" in words


def test_the_legend_hides_and_shows_a_curve(text: str, opened: Callable[..., Any]) -> None:
    page = opened(text)
    find = (
        "const chart = [...document.querySelectorAll('.chart')].find((chart) => "
        "chart.closest('figure').querySelector('h3').textContent === 'Account value');"
    )
    box = page.run(
        find + "const item = chart.querySelector('.legendtoggle'); item.scrollIntoView({block: 'center'});"
        "const box = item.getBoundingClientRect(); return [box.x + 12, box.y + box.height / 2]"
    )
    page.click(*box)
    assert page.wait_for(find + "return chart._fullData[0].visible === 'legendonly'")
    time.sleep(0.6)  # two clicks at once would be a double-click, which shows one curve alone
    page.click(*box)
    assert page.wait_for(find + "return chart._fullData[0].visible === true")


def test_charts_over_time_zoom_together(text: str, opened: Callable[..., Any]) -> None:
    page = opened(text)
    page.run("Plotly.relayout('chart-0', {'xaxis.range': ['2024-01-05', '2024-01-10']})")
    assert page.wait_for(
        "return [...document.querySelectorAll('.chart')].filter((chart) => "
        "String(chart._fullLayout.xaxis.range).startsWith('2024-01-05')).length >= 5"
    )


def test_the_charts_change_with_the_colours_of_the_system(text: str, opened: Callable[..., Any]) -> None:
    page = opened(text)
    colour = "return document.getElementById('chart-1')._fullLayout.font.color"
    light = page.run(colour)
    page.look(dark=True)
    assert page.wait_for(f"{colour} !== {light!r}")
    assert page.complaints() == []


def test_names_are_shown_as_they_are_and_run_nothing(
    report_of: Callable[..., dict[str, Any]], opened: Callable[..., Any]
) -> None:
    wicked = "</script><img src=x onerror=\"document.title='run'\">"
    report = report_of([100.0 + step % 7 for step in range(60)], {5: 10.0, 20: -10.0})
    page = opened(html_page(report, title=wicked))
    assert page.complaints() == []
    assert page.run("return document.querySelector('h1').textContent") == wicked
    assert page.run("return document.title") == wicked


def test_names_of_settings_are_parted_after_a_dot_or_an_underscore() -> None:
    cells = [("environment.reward.low_volatility", "0.5"), ("1.9.78.123", "as it is"), ("plain words. More_words", "x")]
    text = page_of([Section(title="Card", parts=[Table(heads=("", ""), rows=cells)])], title="Card")
    assert ">environment.<wbr>reward.<wbr>low_<wbr>volatility<" in text
    assert ">1.9.78.123<" in text
    assert ">plain words. More_words<" in text
    assert "<nav" not in text  # one section needs no way to it


def test_a_table_of_words_names_its_cells_for_a_phone() -> None:
    words = Table(heads=("When", "What <it> was", "Why"), rows=[("now", "this", "that")], numeric=False)
    numbers = Table(heads=("When", "How much", "Of what"), rows=[("now", "1", "2")])
    text = page_of([Section(title="A", parts=[words]), Section(title="B", parts=[numbers])], title="T")
    assert text.count('class="stacked"') == 1
    assert '<td class="words" data-head="What &lt;it&gt; was">this</td>' in text
    assert text.count("data-head=") == 3
    assert "<nav" in text


def test_the_page_asks_for_nothing_outside_itself(text: str) -> None:
    outside = re.sub(r'<script type="text/plain".*?</script>', "", text, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', outside) == []
    assert "default-src 'none'" in outside


def test_the_same_run_writes_the_same_page(report: dict[str, Any]) -> None:
    assert html_page(report) == html_page(report)


def test_what_is_no_result_is_refused_by_name() -> None:
    with pytest.raises(AIBacktraderError, match=r"save_html takes a strategy that Cerebro has run.*got int"):
        html_page(3)


def test_a_run_without_performance_says_what_to_add(report: dict[str, Any]) -> None:
    strategy = SimpleNamespace(analyzers=[report["decisions"]])
    with pytest.raises(AIBacktraderError, match=r"cerebro\.addanalyzer\(Performance\)"):
        html_page(strategy)


def test_every_extreme_of_a_long_series_is_drawn() -> None:
    values = np.random.default_rng(3).normal(size=100_000)
    values[[37, 54_321]] = 50.0, -50.0
    shown = thinned(values)
    assert shown.size <= 4 * BUCKETS
    assert {0, 37, 54_321, 99_999} <= set(shown.tolist())
