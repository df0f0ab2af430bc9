"""The leverage selection flow, pure: a request and what was learnt in, a decision with its steps out."""

from __future__ import annotations

from ai_backtrader.leverage.adjust import (
    confidence_factor,
    drawdown_factor,
    reduce_fraction,
    trend_factor,
    volatility_factor,
)
from ai_backtrader.leverage.experience import ExperienceTable, KellyEstimate
from ai_backtrader.leverage.metrics import flat_metrics, position_metrics
from ai_backtrader.leverage.reading import trend_support
from ai_backtrader.leverage.request import Request
from ai_backtrader.leverage.settings import LeverageSettings
from ai_backtrader.leverage.sizing import floor_to_step, liquidation_cap, loss_per_unit, position_notional, tier_cap
from ai_backtrader.values import Direction, LeverageDecision, SelectionStep

__all__ = ["select"]


def select(
    request: Request, settings: LeverageSettings, kelly: KellyEstimate, experience: ExperienceTable
) -> LeverageDecision:
    """Run the flow; its boxes and laws are told at :class:`~ai_backtrader.leverage.LeverageManager`."""
    reading, account, side = request.reading, request.account, request.side
    reduce = reduce_fraction(account.margin_ratio, settings)
    leverage, steps = _adjusted(request, settings, reduce)
    distance = settings.stop_atr * reading.atr if request.stop_distance is None else request.stop_distance
    warnings = _warnings(request, settings, kelly, reduce)

    if reading.volatility != reading.volatility:
        obstacle = "no volatility is known, so neither leverage nor stop can be set"
    elif side is Direction.FLAT:
        obstacle = "no direction"
    elif not account.equity > 0.0:
        obstacle = "the account holds no equity"
    elif reduce >= 1.0:
        obstacle = f"the margin ratio of {account.margin_ratio:.0%} is critical"
    elif kelly.enough and kelly.share <= 0.0:
        obstacle = f"the last {kelly.trades} trades show no edge"
    elif side is Direction.LONG and distance >= reading.price:
        obstacle = f"the stop, {distance:g} away, would lie at or below zero"
    else:
        return _sized(request, settings, kelly, experience, distance, leverage, steps, warnings, reduce)
    return _flat(request, kelly, obstacle, leverage, steps, warnings, reduce)


def _adjusted(request: Request, settings: LeverageSettings, reduce: float) -> tuple[float, list[SelectionStep]]:
    reading, account, confidence = request.reading, request.account, request.confidence
    lean, strength = trend_support(reading, request.regime)
    leverage = request.proposal.leverage
    steps = [SelectionStep(name="base", before=0.0, after=leverage, reason=request.proposal.reason)]
    for name, factor, reason in (
        (
            "volatility",
            volatility_factor(reading, settings),
            f"volatility {reading.volatility_ratio:.2f}x, ATR {reading.atr_ratio:.2f}x of normal",
        ),
        (
            "trend",
            trend_factor(request.side.sign, lean, strength, settings),
            f"trend leans {lean:+.2f} at strength {strength:.2f}",
        ),
        ("confidence", confidence_factor(confidence, settings), f"confidence {confidence:.0%}"),
        (
            "protection",
            (1.0 - reduce) * drawdown_factor(account.drawdown, settings),
            f"margin ratio {account.margin_ratio:.0%}, drawdown {account.drawdown:.0%}",
        ),
    ):
        before, leverage = leverage, leverage * factor
        steps.append(SelectionStep(name=name, before=before, after=leverage, reason=reason))
    return leverage, steps


def _sized(
    request: Request,
    settings: LeverageSettings,
    kelly: KellyEstimate,
    experience: ExperienceTable,
    distance: float,
    adjusted: float,
    steps: list[SelectionStep],
    warnings: list[str],
    reduce: float,
) -> LeverageDecision:
    account, side, price, confidence = request.account, request.side, request.reading.price, request.confidence
    sign, equity, tiers = side.sign, account.equity, account.tiers
    learnt, reason = experience.cap(adjusted, regime=request.regime, direction=side)
    steps.append(SelectionStep(name="experience", before=adjusted, after=learnt, reason=reason))

    by_tier, largest = tier_cap(
        equity=equity, margin_share=settings.max_margin_fraction, limit=settings.max_leverage, tiers=tiers
    )
    by_liquidation = liquidation_cap(
        sign=sign,
        price=price,
        distance=distance * (1.0 + settings.liquidation_buffer),
        notional=largest,
        tiers=tiers,
        liquidation_fee=settings.liquidation_fee,
    )
    if by_liquidation < 1.0:
        obstacle = "the stop is so far that even at 1x the liquidation price does not lie beyond it"
        return _flat(request, kelly, obstacle, learnt, steps, warnings, reduce)
    capped = min(learnt, by_tier, by_liquidation)
    leverage = floor_to_step(max(capped, 1.0), settings.leverage_step)
    steps.append(
        SelectionStep(
            name="caps",
            before=learnt,
            after=leverage,
            reason=f"settings allow {settings.max_leverage:g}x, tier {by_tier:.4g}x, liquidation {by_liquidation:.4g}x",
        )
    )

    risk_share = min(account.risk_budget, kelly.share if kelly.enough else settings.prior_risk) * confidence
    # Below 1x the leverage stays 1 and the margin share takes the rest, so that exposure goes on falling.
    margin_share = settings.max_margin_fraction * min(capped, 1.0)
    per_unit = loss_per_unit(
        sign=sign, price=price, stop_distance=distance, fee_rate=account.fee_rate, slippage=account.slippage
    )
    notional = position_notional(
        equity=equity,
        leverage=leverage,
        margin_share=margin_share,
        risk_share=risk_share,
        loss_fraction=per_unit / price,
        fee_rate=account.fee_rate,
        largest=largest,
    )
    if notional <= 0.0:
        obstacle = f"nothing may be risked at confidence {confidence:.0%} and budget {account.risk_budget:.1%}"
        return _flat(request, kelly, obstacle, leverage, steps, warnings, reduce)
    share = notional / leverage / equity
    bet = f"Kelly {kelly.share:.2%}" if kelly.enough else f"prior {settings.prior_risk:.2%}"
    steps.append(
        SelectionStep(
            name="sizing",
            before=0.0,
            after=share,
            reason=f"{bet}, budget {account.risk_budget:.2%}, confidence {confidence:.0%}: "
            f"{risk_share:.2%} at the stop; margin at most {margin_share:.1%}",
        )
    )
    return LeverageDecision(
        direction=side,
        recommended_leverage=leverage,
        position_size_pct=share,
        confidence=confidence,
        reasoning=f"{side.value} {leverage:g}x @ {share:.1%} size: {steps[0].reason}; "
        f"{adjusted:.3g}x after adjustments; {steps[-1].reason}",
        risk_metrics=position_metrics(
            request,
            settings,
            kelly,
            stop_distance=distance,
            leverage=leverage,
            notional=notional,
            loss_per_unit=per_unit,
            reduce=reduce,
        ),
        steps=tuple(steps),
        warnings=tuple(warnings),
        missing=request.reading.missing,
    )


def _flat(
    request: Request,
    kelly: KellyEstimate,
    obstacle: str,
    leverage: float,
    steps: list[SelectionStep],
    warnings: list[str],
    reduce: float,
) -> LeverageDecision:
    steps.append(SelectionStep(name="sizing", before=leverage, after=0.0, reason=obstacle))
    return LeverageDecision(
        direction=Direction.FLAT,
        recommended_leverage=1.0,
        position_size_pct=0.0,
        confidence=request.confidence,
        reasoning=f"FLAT: {obstacle}",
        risk_metrics=flat_metrics(request, kelly, reduce=reduce),
        steps=tuple(steps),
        warnings=tuple(warnings),
        missing=request.reading.missing,
    )


def _warnings(request: Request, settings: LeverageSettings, kelly: KellyEstimate, reduce: float) -> list[str]:
    account, warnings = request.account, []
    if request.reading.missing:
        warnings.append(f"indicators missing, neutral values stand in: {', '.join(request.reading.missing)}")
    if not kelly.enough:
        warnings.append(
            f"Kelly needs {settings.min_kelly_trades} realised trades and has {kelly.trades}: "
            f"a prior risk of {settings.prior_risk:.1%} at the stop stands in"
        )
    elif kelly.share <= 0.0:
        warnings.append(f"no edge: the full Kelly bet of the last {kelly.trades} trades is {kelly.full:.1%}")
    if reduce > 0.0:
        warnings.append(
            f"margin ratio {account.margin_ratio:.0%} nears liquidation: reduce the open position by {reduce:.0%}"
        )
    if account.drawdown > settings.drawdown_warn:
        warnings.append(f"drawdown of {account.drawdown:.0%} lowers leverage")
    return warnings
