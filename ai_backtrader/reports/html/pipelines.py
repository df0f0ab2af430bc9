"""Sections of a whole run: what each stage found, the walk beside holding, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.pipeline import PipelineResult
from ai_backtrader.reports.figures import MISSING, known, money, number, percent, return_risk
from ai_backtrader.reports.html.adapting import adaptation_parts
from ai_backtrader.reports.html.cards import card_table
from ai_backtrader.reports.html.funds import DASHES, MEMBERS, capital_chart
from ai_backtrader.reports.html.parts import (
    Chart,
    Part,
    Section,
    Table,
    Trace,
    Words,
    aligned,
    area,
    bars,
    line,
    marks,
    moments,
    numbers,
    safe,
    thinned,
)
from ai_backtrader.reports.html.searches import generation_charts
from ai_backtrader.reports.html.trainings import learning_charts

__all__ = ["pipeline_sections"]

_OWN = "ai"
"""AIStrategy's name among the members."""
_PASSED = ("not\N{NO-BREAK SPACE}passed", "passed")


def pipeline_sections(result: PipelineResult) -> list[Section]:
    """Verdict, stages, the walk, attribution, adaptation, the searches that came before it, evidence, and the card."""
    found = {stage.name: stage.found for stage in result.stages}
    sections = [
        Section(title="Result", parts=[Words(text=result.verdict, kind="verdict"), _members(result)]),
        Section(title="Stages", parts=[_stages(result)]),
        Section(title="The walk", parts=_walk(result)),
        Section(title="Whose doing", parts=_sources(result)),
        Section(title="Adaptation on the way", parts=_adaptations(result)),
        Section(title="Parameters by regime", parts=_parameters(found["optimise"])),
        Section(title="Evolution", parts=_evolution(found["evolve"])),
        Section(title="The agent", parts=_agent(found["train"])),
        Section(title="Rehearsal and allocation", parts=_allocation(found["rehearse"], found["allocate"])),
        Section(title="Evidence", parts=_evidence(result)),
        Section(title="Run card", parts=[card_table(_card(result))]),
    ]
    return aligned(sections, result.arrays["times"])


# --------------------------------------------------------------------------------------------------- result and stages


def _members(result: PipelineResult) -> Table:
    walk = result.walk
    rows = []
    for name, figures in walk["members"].items():
        first, last = (walk[key].get(name) for key in ("weights", "last_weights"))
        rows.append(
            (
                name, *return_risk(figures), f"{figures['trades']:,}", f"{figures['liquidations']:,}",
                *(money(known(figures.get(key))) for key in ("fees", "funding")),
                MISSING if first is None else f"{first:.0%}", MISSING if last is None else f"{last:.0%}",
            )
        )  # fmt: skip
    rows.append(("holding, no costs", *return_risk(walk["holding"]), *[""] * 6))
    heads = ("", "Return", "Sharpe", "Drawdown", "Trades", "Liquidated", "Fees", "Funding", "Capital first", "Last")
    return Table(
        heads=heads, rows=rows,
        caption=f"The walk, {walk['first'][:10]} to {walk['last'][:10]}: {walk['bars']:,} bars that nothing had seen",
    )  # fmt: skip


def _stages(result: PipelineResult) -> Table:
    data, parts = result.card["data"], result.card["parts"]
    return Table(
        heads=("Stage", "Found", "Time"), numeric=False,
        rows=[
            (stage.name, stage.finding, "kept" if stage.resumed else f"{stage.seconds:,.1f}\N{NO-BREAK SPACE}s")
            for stage in result.stages
        ],
        caption=f"{data['symbol']}, {data['bars']:,} bars: {parts['walk']:,} to search, train and rehearse on, "
        f"{parts['bars'] - parts['walk']:,} to walk",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- the walk


def _walk(result: PipelineResult) -> list[Part]:
    note = "With a mouse, drag over a chart to zoom: all of them follow. Double-click to come back."
    return [Words(text=note, kind="note"), _growth(result), _drawdown(result), _shares(result)]


def _names(result: PipelineResult) -> list[str]:
    return [name.removeprefix("member_") for name in result.arrays if name.startswith("member_")]


def _style(place: int) -> tuple[str, str]:
    return MEMBERS[place % len(MEMBERS)], DASHES[place // 3 % len(DASHES)]


def _timed(title: str, traces: list[Trace], told: str, unit: Mapping[str, Any], **options: Any) -> Chart:
    layout = {"hovermode": "x unified", "xaxis": {"type": "date"}, "yaxis": dict(unit)}
    return Chart(title=title, traces=traces, layout=layout, told=told, timeline=True, **options)


def _curve(result: PipelineResult, values: NDArray[np.float64], name: str, colour: str, **style: Any) -> Trace:
    shown = thinned(values)
    return line(moments(result.arrays["times"][shown]), values[shown], name, colour, **style)


def _growth(result: PipelineResult) -> Chart:
    form = {"hovertemplate": "%{y:.4f}"}
    traces = []
    for place, name in enumerate(_names(result)):
        colour, dash = _style(place)
        traces.append(_curve(result, result.curve(name), name, colour, dash=dash, width=1.2, **form))
    fund, holding = result.curve("fund"), result.curve("holding")
    traces += [
        _curve(result, holding, "holding, no costs", "@market", dash="dot", **form),
        _curve(result, fund, "fund", "@own", width=2.4, **form),
    ]
    searched = result.walk["adaptations"]
    if searched:
        at = np.unique([_place(one) for one in searched])
        own = result.curve(_OWN)
        texts = [_searched([one for one in searched if _place(one) == place]) for place in at]
        traces.append(
            marks(moments(result.arrays["times"][at]), own[at], "AIStrategy searches anew", "@loss", "diamond-open",
                  size=11, text=texts, hovertemplate="%{text}<extra></extra>")
        )  # fmt: skip
    told = f"fund {percent(float(fund[-1] - 1.0))}, holding {percent(float(holding[-1] - 1.0))}."
    return _timed("Growth of 1", traces, told, {"title": {"text": "Growth of 1"}}, height=400)


def _place(one: Mapping[str, Any]) -> int:
    return int(one["bar"])  # bars of the walk that had closed: the curves begin at the close before it


def _searched(searches: list[Mapping[str, Any]]) -> str:
    lines = [searches[0]["reason"]]
    lines += [f"{one['search']}: {one['passed']} of {one['put_forward']} passed" for one in searches]
    return "<br>".join(safe(text) for text in lines)


def _drawdown(result: PipelineResult) -> Chart:
    curves = {"holding, no costs": "holding", "AIStrategy": _OWN, "fund": "fund"}
    depths = {word: -100.0 * ev.drawdowns(result.curve(name)) for word, name in curves.items()}
    colours = {"holding, no costs": ("@market", "dot"), "AIStrategy": (_style(_names(result).index(_OWN))[0], "solid")}
    form = {"hovertemplate": "%{y:.2f} %"}
    traces = [
        _curve(result, depths[word], word, colour, dash=dash, width=1.2, **form)
        for word, (colour, dash) in colours.items()
    ]
    shown = thinned(depths["fund"])
    when = moments(result.arrays["times"][shown])
    traces.append(area(when, depths["fund"][shown], "fund", "@own", **form))
    told = ", ".join(f"{word} {depth.min():.1f} %" for word, depth in depths.items())
    return _timed("Drawdown", traces, told, {"ticksuffix": " %", "title": {"text": "Below the peak, %"}}, height=240)


def _shares(result: PipelineResult) -> Chart:
    shares = {name: 100.0 * result.arrays[f"weight_{name}"] for name in _names(result)}
    return capital_chart(result.arrays["times"], shares)


# ---------------------------------------------------------------------------------------------- sources and adaptation


_SHARES = {"shapley": "Shapley share", "leave_one_out": "lost without it", "alone": "alone"}


def _sources(result: PipelineResult) -> list[Part]:
    shares = result.walk["attribution"]
    names = list(shares["votes"])
    if not names:
        return [Words(text="No source voted: there is nothing to share.")]
    traces = [
        bars(numbers([100.0 * shares[key][name] for name in names]), [safe(name) for name in names], word, colour,
             orientation="h", hovertemplate="%{y}: %{x:+.2f} %")
        for (key, word), colour in zip(_SHARES.items(), ("@own", "@short", "@market"), strict=True)
    ]  # fmt: skip
    rows = [
        (name, f"{votes:,}", *(percent(shares[key][name]) for key in _SHARES))
        for name, votes in shares["votes"].items()
    ]
    rows.append(("together", "", percent(shares["total"]), "", ""))
    return [
        Chart(
            title="What each source contributed", traces=traces, height=140 + 64 * len(names),
            layout={"barmode": "group", "yaxis": {"autorange": "reversed"}, "legend": {"traceorder": "normal"},
                    "xaxis": {"ticksuffix": " %", "title": {"text": "Of a notional of 1 a trade"}}},
            told=", ".join(f"{name} {percent(shares['shapley'][name])}" for name in names),
            note="What AIStrategy's votes earned, at a notional of 1 a trade: sizes and leverage are left out. Shapley "
            "shares sum to the whole; sources that do each other's work lose little without either.",
        ),
        Table(heads=("Source", "Votes", *(word.capitalize() for word in _SHARES.values())), rows=rows),
    ]  # fmt: skip


def _adaptations(result: PipelineResult) -> list[Part]:
    searches = result.walk["adaptations"]
    if not searches:
        return [Words(text="AIStrategy did not search on the way: nothing asked for it, or it was switched off.")]
    times, found = result.arrays["times"], result.walk["adaptation"]
    rows = [
        (
            str(times[_place(one)].astype("datetime64[m]")).replace("T", " "), f"{one['search']}: {one['reason']}",
            one["verdict"], "\n\n".join(one["changed"]) or "nothing",
        )
        for one in searches
    ]  # fmt: skip
    without = result.arrays.get(f"without_{_OWN}")
    parts = adaptation_parts(found, times, result.curve(_OWN), without, rows)
    if without is None:
        return parts
    fund = found["fund"]
    told = f"The fund returned {percent(fund['return'])}, without adaptation {percent(fund['without'])}."
    return [parts[0], Words(text=told), *parts[1:]]


# ----------------------------------------------------------------------------------------------------------- the design


def _parameters(found: Mapping[str, Any]) -> list[Part]:
    done = [search for search in found["searches"] if search["rules"] is not None]
    left = [search for search in found["searches"] if search["rules"] is None]
    parts: list[Part] = []
    if done:
        names = dict.fromkeys(name for search in done for name in search["parameters"])
        rows = [
            (
                search["regime"], number(known(search["score"])), number(known(search["test_sharpe"])),
                number(known(search["deflated_sharpe"])), number(known(search["pbo"])), f"{search['trials']:,}",
                _PASSED[bool(search["passed"])],
            )
            for search in done
        ]  # fmt: skip
        heads = ("Regime", "Score", "Sealed Sharpe", "Deflated", "Overfitting", "Trials", "Sealed test")
        parts += [
            Table(
                heads=heads, rows=rows,
                caption="Searches on the design: score in the search, Sharpe ratio on its sealed bars, deflated Sharpe "
                "ratio, probability of overfitting",
            ),
            Table(
                heads=("Parameter", *(search["regime"] for search in done)),
                rows=[(name, *(_value(search["parameters"].get(name)) for search in done)) for name in names],
                caption="Best parameters",
            ),
            Table(
                heads=("Regime", "Verdict"), rows=[(search["regime"], search["verdict"]) for search in done],
                numeric=False,
            ),
        ]  # fmt: skip
    parts += [Words(text=f"{search['regime']} was left out: {search['reason']}.") for search in left]
    return parts or [Words(text="No parameters were searched.")]


def _value(value: Any) -> str:
    return MISSING if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _evolution(found: Mapping[str, Any]) -> list[Part]:
    parts: list[Part] = [Words(text=f"{found['verdict']}.".capitalize())]
    history = found.get("history")  # runs of earlier versions have none
    if history:
        parts += generation_charts(history)
    champions = found["champions"]
    if champions:
        rows = [
            (
                champion["fingerprint"][:10], number(known(champion["validation_sharpe"])),
                number(known(champion["test_sharpe"])),
                MISSING if champion["p_value"] is None else f"{champion['p_value']:.3f}",
                number(known(champion["deflated_sharpe"])), _PASSED[bool(champion["passed"])],
            )
            for champion in champions
        ]  # fmt: skip
        parts += [
            Table(heads=("Champion", "Validation", "Test", "p", "Deflated", "Sealed test"), rows=rows,
                  caption="Sharpe ratios"),
            Table(
                heads=("Champion", "Rules and test"), numeric=False,
                rows=[
                    (champion["fingerprint"][:10], f"{champion['words']}\nTest: {champion['reason']}")
                    for champion in champions
                ],
            ),
        ]  # fmt: skip
    return parts


def _agent(found: Mapping[str, Any]) -> list[Part]:
    if not found["kept"]:
        return [Words(text=f"{found['reason']}.".capitalize())]
    test = found["test"]
    parts: list[Part] = [Words(text=found["reason"])]
    if found.get("looks"):
        parts += learning_charts(found["looks"])
    rows = [("the chosen seed", *return_risk(test)), *((name.replace("_", " "), percent(growth), "", "")
            for name, growth in found["baselines"].items())]  # fmt: skip
    risks = [
        ("Trades", f"{test['trades']:,}"),
        ("Liquidations", f"{test['liquidations']:,}"),
        ("Bars above a margin ratio of 0.7", percent(test["strained"], signed=False)),
        ("Funding paid", money(test["funding"])),
        ("Fees paid", money(test["fees"])),
        ("Its own actions at shuffled times did as well", percent(known(found["luck"]), signed=False)),
        ("Times the test bars were opened", f"{found['opening']:,}"),
    ]
    return [
        *parts,
        Table(heads=("Test bars", "Return", "Sharpe", "Drawdown"), rows=rows),
        Table(heads=("", ""), rows=risks),
    ]


def _allocation(rehearsed: Mapping[str, Any], allocated: Mapping[str, Any]) -> list[Part]:
    rows = [
        (name, *return_risk(member["figures"]), f"{member['trades']:,}", f"{member['wins']:,}")
        for name, member in rehearsed["members"].items()
    ]
    learnt = rehearsed["weights"]
    parts: list[Part] = [
        Table(heads=("Rehearsal", "Return", "Sharpe", "Drawdown", "Trades", "Won"), rows=rows,
              caption="The design's last bars, which no search and no training had seen, with equal capital"),
    ]  # fmt: skip
    if learnt["weights"] is not None:
        parts.append(
            Table(
                heads=("Source", "Weight used", "Fitted"),
                rows=[
                    (name, percent(weight, signed=False), percent(learnt["fitted"].get(name, np.nan), signed=False))
                    for name, weight in learnt["weights"].items()
                ],
                caption="Weights of the sources",
            )
        )
    parts.append(Words(text=f"Sources: {learnt['reason']}."))
    plan = allocated["plan"]
    if plan is None:
        return [*parts, Words(text="The allocator was switched off: all members begin with equal capital.")]
    given = [
        (one["strategy_id"], percent(one["weight"], signed=False), money(one["capital"]), one["reason"])
        for one in plan["allocations"]
    ]
    given.append(
        ("cash", percent(plan["cash_weight"], signed=False), money(plan["cash_weight"] * plan["total_capital"]), "")
    )
    measures = [
        ("Forecast of a bad day's loss", percent(known(plan["forecast_loss"]), signed=False)),
        ("Risk budget", percent(known(plan["risk_budget"]), signed=False)),
        ("Effective number of members (1 / HHI)", number(known(plan["effective_number"]))),
        ("Diversification", number(known(plan["diversification"]))),
    ]
    return [
        *parts,
        Table(heads=("Member", "Weight", "Capital", "Why"), rows=given, numeric=False, caption="Capital at the start"),
        Table(heads=("", ""), rows=measures),
        *(Words(text=warning) for warning in plan["warnings"]),
    ]


# ---------------------------------------------------------------------------------------------------- evidence and card


def _evidence(result: PipelineResult) -> list[Part]:
    walk = result.walk
    rows = [
        (
            "AIStrategy" if name == _OWN else name, number(known(found["p_value"])), number(known(found["deflated"])),
            f"{found['trials']:,}",
        )
        for name, found in walk["evidence"].items()
    ]  # fmt: skip
    looks = "once" if walk["opening"] == 1 else f"{walk['opening']:,} times"
    words = (
        f"{walk['trials']:,} trials were made on these data, and the walk was looked at {looks}. A probability by luck "
        "of at most 0.05 together with a deflated Sharpe ratio of at least 0.95 would count as proven."
    )
    return [
        Words(text=result.verdict, kind="verdict"),
        Table(heads=("", "Probability by luck", "Deflated Sharpe ratio", "Trials"), rows=rows),
        Words(text=words),
    ]


def _card(result: PipelineResult) -> dict[str, Any]:
    return {name: value for name, value in result.card.items() if name != "figures"}
