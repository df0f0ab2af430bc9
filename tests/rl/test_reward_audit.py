"""The audit: what rewards pay to policies without skill."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.rl import REWARD_MODES, EnvironmentSettings, audit_reward
from ai_backtrader.rl.reward_audit import zero_drift_market


def test_the_market_has_no_drift_and_a_mirror_image() -> None:
    one = zero_drift_market(np.random.default_rng(1), bars=2000, volatility=0.01)
    other = zero_drift_market(np.random.default_rng(1), bars=2000, volatility=0.01, mirrored=True)
    returns, opposite = one.close / one.open - 1, other.close / other.open - 1
    assert abs(returns.mean() + opposite.mean()) < 1e-4
    assert returns.std() == pytest.approx(0.01, rel=0.1)
    assert np.corrcoef(returns, opposite)[0, 1] < -0.999
    assert (one.low <= np.minimum(one.open, one.close)).all()


@pytest.mark.parametrize("leveraged", [True, False])
@pytest.mark.parametrize("mode", [mode for mode in REWARD_MODES if mode != "seed"])
def test_no_null_policy_lives_on_a_reward_of_growth(mode: str, leveraged: bool) -> None:
    audit = audit_reward(mode, leveraged=leveraged, paths=4, bars=2500)
    assert audit.passed, audit.describe()
    assert audit.policies["flat"].reward_per_bar == 0.0


def test_the_default_reward_of_the_environments_passes_in_full() -> None:
    audit = audit_reward(EnvironmentSettings().reward_mode)
    assert audit.passed, audit.describe()
    assert audit.correlation_with_equity > 0.9  # not 1: it fears large losses more than it likes large gains
    assert audit.policies["random"].reward_per_bar < 0.0


def test_the_seed_reward_pays_shorts_that_go_in_and_out() -> None:
    audit = audit_reward("seed", paths=4, bars=2000)
    assert not audit.passed
    assert audit.worst.startswith("in_and_out_short")
    assert audit.policies[audit.worst].growth_per_bar < 0.01
    assert "NOT passed" in audit.describe()
    assert audit.term_shares["short"] > 0.0


def test_shares_of_the_terms_add_up() -> None:
    audit = audit_reward("drawdown_averse", paths=1, bars=1000)
    assert sum(audit.term_shares.values()) == pytest.approx(1.0)
    assert set(audit.term_shares) == {"growth", "risk"}
    assert math.isnan(audit.policies["flat"].standard_error)


def test_the_same_seed_gives_the_same_audit() -> None:
    # As text: the error of one path is not a number, which equals nothing.
    assert repr(audit_reward(paths=1, bars=800)) == repr(audit_reward(paths=1, bars=800))
    assert repr(audit_reward(paths=1, bars=800)) != repr(audit_reward(paths=1, bars=800, seed=1))


def test_faulty_arguments_are_named_together() -> None:
    with pytest.raises(SettingsError, match="3 faults"):
        audit_reward(paths=0, bars=10, volatility=0.0)
    with pytest.raises(SettingsError, match="reward_mode must be one of"):
        audit_reward("greed")
