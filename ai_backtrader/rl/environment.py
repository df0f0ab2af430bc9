"""The environments for one agent: gymnasium's interface over the compiled kernels."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.market import MarketData, MarketFeatures
from ai_backtrader.rl.env_kernels import EnvArrays, draw, mask, observe, reset, step
from ai_backtrader.rl.environment_settings import EnvironmentSettings, Segment, build_arrays
from ai_backtrader.rl.rewards import BASIC_SEED_TERMS, GROWTH_TERMS, LEVERAGE_SEED_TERMS
from ai_backtrader.rl.states import BASIC_FEATURES, BASIC_STATE_VERSION, LEVERAGE_FEATURES, LEVERAGE_STATE_VERSION

__all__ = ["LeverageTradingEnv", "TradingEnv", "episode_figures", "term_names"]

_FIGURES = (
    "cash",
    "equity",
    "fees",
    "funding",
    "turnover",
    "trades",
    "wins",
    "liquidations",
    "rejected",
    "bars_held",
    "bars_strained",
    "max_drawdown",
)


def episode_figures(env: EnvArrays, lane: int = 0) -> dict[str, float | int]:
    """What an episode has come to so far.

    Returns
    -------
    dict
        ``bar`` (of the data) and ``start``; ``cash``, ``equity``, ``fees`` (with those of liquidations), ``funding``
        (positive: paid) and ``turnover`` (notional traded) in account currency; ``trades`` and ``wins`` (closed ones),
        ``liquidations``, ``rejected`` (orders); ``bars_held``, ``bars_strained`` (margin ratio above 0.7);
        ``max_drawdown``, a fraction.
    """
    run = env.lanes[lane]
    return {name: run[name].item() for name in ("bar", "start", *_FIGURES)}


def term_names(env: EnvArrays) -> tuple[str, ...]:
    """Names of the six terms of the environment's reward."""
    shared = env.shared[0]
    if shared["reward"]["mode"] != 0:
        return GROWTH_TERMS
    return LEVERAGE_SEED_TERMS if shared["leveraged"] else BASIC_SEED_TERMS


class _Environment(gym.Env[NDArray[np.float32], np.int64]):
    """What both environments share."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]  # gymnasium does not say ClassVar
    feature_names: ClassVar[tuple[str, ...]]
    feature_version: ClassVar[str]
    _leveraged: ClassVar[bool]
    _id: ClassVar[str]
    action_space: gym.spaces.Discrete

    def __init__(
        self,
        data: MarketData,
        settings: EnvironmentSettings | None = None,
        *,
        segment: Segment | str = "whole",
        features: MarketFeatures | None = None,
    ) -> None:
        self.settings = EnvironmentSettings() if settings is None else settings
        self.arrays = build_arrays(data, self.settings, leveraged=self._leveraged, segment=segment, features=features)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (len(self.feature_names),), np.float32)
        self.action_space = gym.spaces.Discrete(int(self.arrays.shared["n_actions"][0]))
        self.render_mode = None
        # How gymnasium makes another one like it (its checker and its vector environments ask).
        self.spec = EnvSpec(
            id=self._id,
            entry_point=f"ai_backtrader.rl:{type(self).__name__}",
            kwargs={"data": data, "settings": settings, "segment": segment, "features": features},
        )
        self._ended = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode.

        Parameters
        ----------
        seed
            Seeds the random starts; None goes on with the generator there is.
        options
            ``{"start": bar}`` starts at that bar of the data.

        Returns
        -------
        observation : ndarray
            float32, within [-1, 1].
        info : dict
            ``action_mask`` (bool, one an action) and :func:`episode_figures`.

        Raises
        ------
        SettingsError
            If the start is not a permitted one, or another option is given.
        """
        super().reset(seed=seed)
        start = self._checked_start(options or {})
        if start is None:
            start = draw(self.arrays, 0, self.np_random.random())
        reset(self.arrays, 0, start)
        self._ended = False
        return self._observe(), self._info()

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Send the orders of an action at the bar's close and go to the next close.

        Returns
        -------
        observation, reward, terminated, truncated, info
            Terminated: the account is ruined. Truncated: the episode's or the segment's end. ``info`` as for
            :meth:`reset`, with ``reward_terms`` by name.

        Raises
        ------
        SettingsError
            If there is no such action, or no episode has been started since the last one ended.
        """
        if self._ended or not self.action_space.contains(action):
            faults = Faults(f"{type(self).__name__}.step")
            faults.whole("action", action, low=0, high=int(self.action_space.n) - 1)
            if self._ended:
                faults.add("the episode has ended; call reset() first")
            faults.raise_if_any()
        reward, terminated, truncated = step(self.arrays, 0, int(action))
        self._ended = terminated or truncated
        info = self._info()
        names, terms = term_names(self.arrays), self.arrays.lanes[0]["terms"]
        info["reward_terms"] = {
            name: float(value) for name, value in zip(names, terms, strict=True) if not name.startswith("none")
        }
        return self._observe(), reward, terminated, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are allowed now; one that is not does nothing."""
        allowed = np.empty(int(self.action_space.n), dtype=np.bool_)
        mask(self.arrays, 0, allowed)
        return allowed

    def _observe(self) -> NDArray[np.float32]:
        out = np.empty(len(self.feature_names), dtype=np.float32)
        observe(self.arrays, 0, out)
        return out

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.action_masks(), **episode_figures(self.arrays)}

    def _checked_start(self, options: dict[str, Any]) -> int | None:
        faults = Faults(f"{type(self).__name__}.reset")
        faults.known_keys("options", options, ("start",))
        start = options.get("start")
        shared = self.arrays.shared[0]
        if start is not None:
            # An episode that begins late is only shorter.
            faults.whole("options['start']", start, low=int(shared["first_start"]), high=int(shared["last_bar"]) - 1)
        faults.raise_if_any()
        return None if start is None else int(start)


class TradingEnv(_Environment):
    """One market, three actions (HOLD, BUY, SELL) at leverage 1, the 18 features of :class:`~ai_backtrader.rl.State`.

    Trades on the execution model of :class:`~ai_backtrader.brokers.LeverageBroker`: an action at a bar's close fills at
    the next open, with commission, slippage, margin, funding and liquidation. Positions are margined at 1x: a short can
    be liquidated near twice its entry, a long never. A BUY in a short position closes it, and opens the other side too
    with ``turn_round``.

    Parameters
    ----------
    data
        The feed.
    settings
        See :class:`EnvironmentSettings`.
    segment
        Bars that may be traded: a :class:`Segment`, ``"train"``, ``"validation"`` or ``"test"`` (see
        :func:`split_by_time`), or ``"whole"``.
    features
        Those of ``data``, to share them; None computes them.

    Raises
    ------
    SettingsError
        Naming every fault.

    Examples
    --------
    >>> from ai_backtrader.datafeeds import load_sample
    >>> env = TradingEnv(load_sample(), segment="train")
    >>> observation, info = env.reset(seed=7)
    >>> observation, reward, terminated, truncated, info = env.step(1)
    >>> observation.shape, terminated, truncated, info["bars_held"]
    ((18,), False, False, 1)
    """

    feature_names = BASIC_FEATURES
    feature_version = BASIC_STATE_VERSION
    _leveraged = False
    _id = "ai_backtrader/Trading-v0"


class LeverageTradingEnv(_Environment):
    """One market, the eleven actions of ``LeverageAction``, the 35 features of ``LeverageState``.

    Trades on the execution model of :class:`~ai_backtrader.brokers.LeverageBroker`; see :class:`TradingEnv` for the
    parameters.

    Examples
    --------
    >>> from ai_backtrader.datafeeds import load_sample
    >>> from ai_backtrader.rl import LeverageAction
    >>> env = LeverageTradingEnv(load_sample(), EnvironmentSettings(episode_bars=100))
    >>> observation, info = env.reset(seed=7, options={"start": 500})
    >>> observation, reward, terminated, truncated, info = env.step(LeverageAction.SHORT_3X)
    >>> observation.shape, info["bar"], info["action_mask"].all()
    ((35,), 501, np.True_)
    """

    feature_names = LEVERAGE_FEATURES
    feature_version = LEVERAGE_STATE_VERSION
    _leveraged = True
    _id = "ai_backtrader/LeverageTrading-v0"


for _kind in (TradingEnv, LeverageTradingEnv):
    if _kind._id not in gym.registry:  # a module that is loaded again finds them there
        gym.register(id=_kind._id, entry_point=f"ai_backtrader.rl:{_kind.__name__}")
