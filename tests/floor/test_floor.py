"""Errors, checks and values: what every room stands on."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError, DataError, SettingsError
from ai_backtrader.events import TradeClosed
from ai_backtrader.values import Action, Direction, FrozenMapping, Regime


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("BUY", Action.BUY),
        ("long", Action.BUY),
        ("Sell", Action.SELL),
        ("SHORT", Action.SELL),
        (" hold ", Action.HOLD),
        ("flat", Action.HOLD),
    ],
)
def test_the_six_words_are_understood_in_any_case(text: str, action: Action) -> None:
    assert Action.parse(text) is action
    assert Direction.parse(text) is action.direction
    assert action.direction.sign == action.sign


@pytest.mark.parametrize("text", ["", "up", None, 1])
def test_any_other_word_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="expected BUY, SELL, HOLD, LONG, SHORT or FLAT"):
        Action.parse(text)


def test_a_sign_gives_its_action_and_nan_is_no_wish() -> None:
    actions = [Action.from_sign(sign) for sign in (0.1, -3.0, 0.0, float("nan"))]
    assert actions == [Action.BUY, Action.SELL, Action.HOLD, Action.HOLD]


def test_regimes_know_their_side() -> None:
    assert [regime.sign for regime in Regime] == [1, 1, 0, -1, -1]


def test_all_faults_are_raised_together() -> None:
    faults = Faults("Thing")
    faults.number("size", float("nan"))
    faults.number("rate", 2.0, low=0.0, high=1.0)
    faults.number("count", "many")
    faults.number("step", 0.0, above=0.0)
    faults.whole("bars", 1.5)
    faults.whole("trades", True)
    faults.one_of("mode", "x", ("a", "b"))
    faults.known_keys("options", {"c": 1}, ("d",))
    with pytest.raises(SettingsError, match="Thing: 8 faults") as caught:
        faults.raise_if_any()
    assert caught.value.faults[1] == "rate must be between 0 and 1, got 2.0"


def test_what_is_in_order_raises_nothing() -> None:
    faults = Faults("Thing")
    faults.number("size", np.float32(0.5), low=0.0, high=1.0)
    faults.whole("bars", np.int64(3), low=1)
    faults.one_of("mode", "a", ("a", "b"))
    faults.raise_if_any()


def test_labels_of_regimes_are_understood_and_others_refused() -> None:
    assert Regime.parse("Strong_Bull") is Regime.STRONG_BULL
    assert Regime.parse(None) is None
    assert Regime.parse(Regime.BEAR) is Regime.BEAR
    with pytest.raises(SettingsError, match="must be one of strong_bull"):
        Regime.parse("sunny")


def test_a_frozen_mapping_cannot_be_changed_and_pickles() -> None:
    frozen = FrozenMapping({"a": 1.0})
    for change in (
        lambda: frozen.__setitem__("b", 2.0),
        lambda: frozen.__delitem__("a"),
        lambda: frozen.update({"b": 2.0}),
        frozen.clear,
        frozen.popitem,
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    back = pickle.loads(pickle.dumps(frozen))  # noqa: S301  # our own bytes
    assert back == {"a": 1.0}
    assert isinstance(back, FrozenMapping)


def test_events_and_decisions_survive_the_way_between_processes() -> None:
    trade = TradeClosed(
        symbol="X",
        strategy_id="s",
        direction=Direction.LONG,
        entry_price=1.0,
        exit_price=2.0,
        pnl_pct=1.0,
        indicators_at_entry={"rsi": 50.0},
    )
    assert pickle.loads(pickle.dumps(trade)) == trade  # noqa: S301
    assert copy.deepcopy(trade) == trade


def test_errors_survive_the_way_between_processes() -> None:
    error = DataError("high below low", feed="X", row="3", column="high", value="1.0", mend="Repair it")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert str(back) == str(error) == "X: high below low (row 3, column high, found 1.0). Repair it"
    assert isinstance(back, AIBacktraderError)
    faults = SettingsError("Thing", ["one", "two"])
    assert str(pickle.loads(pickle.dumps(faults))) == str(faults)  # noqa: S301
