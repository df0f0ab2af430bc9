"""train_agent: several seeds on the first bars, chosen on the next, one look at the last, baselines beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.events import ExperiencesGathered, Journal
from ai_backtrader.evidence import TrialKey, TrialLedger, bar_returns
from ai_backtrader.market import MarketData, MarketFeatures, compute_features
from ai_backtrader.rl.actions import BasicAction, LeverageAction
from ai_backtrader.rl.baselines import baseline_plays, judging_arrays, shifted_growths, without_leverage
from ai_backtrader.rl.checkpoint import check_identity, read_checkpoint, write_checkpoint
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.environment_settings import EnvironmentSettings, Segment, build_arrays, split_by_time
from ai_backtrader.rl.experiences import gathered, store_experiences
from ai_backtrader.rl.greedy_play import Play, play_network
from ai_backtrader.rl.selection import Candidate, growth_of, look_at
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.states import BASIC_FEATURES, BASIC_STATE_VERSION, LEVERAGE_FEATURES, LEVERAGE_STATE_VERSION
from ai_backtrader.rl.trading_kernels import TRADING_FIELDS, TRADING_KERNELS
from ai_backtrader.rl.trainer import Trainer
from ai_backtrader.rl.training_values import Look, SeedOutcome, TrainingProgress, TrainingResult, figures_of

__all__ = ["AGENTS", "CAUTION", "LOOKS", "train_agent", "training_dqn"]

logger = logging.getLogger("ai_backtrader")

CAUTION: Final = 3.2
"""Standard errors: a one-sided level of 5 %, shared by the seventy policies that a seed shows the validation bars."""

AGENTS: Final = ("leverage", "basic")
LOOKS: Final = 10
"""Looks at the validation bars in a seed's training."""

_LANES = 8  # episodes side by side: neighbouring transitions of one episode say much the same


def training_dqn(steps: int) -> DQNSettings:
    """The Q-network's settings for trading, where the caller gives none.

    The horizon is ten bars: rewards come at every bar, and a longer one adds noise to the values before it adds to
    what they know. Exploration falls over the first third.
    """
    return DQNSettings(
        gamma=0.9,
        learning_rate=5e-4,
        target_every=200,
        epsilon_steps=max(1, steps // 3),
        buffer_size=50_000,
        learning_starts=min(1_000, max(64, steps // 10)),
    )


def train_agent(
    data: MarketData,
    *,
    agent: str = "leverage",
    seeds: int | Sequence[int] = 5,
    steps: int = 60_000,
    split: Mapping[str, Segment] | None = None,
    environment: EnvironmentSettings | None = None,
    dqn: DQNSettings | None = None,
    caution: float = CAUTION,
    on_progress: Callable[[TrainingProgress], bool | None] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    journal: Journal | None = None,
    ledger: TrialLedger | None = None,
    experiences: ExperiencesGathered | None = None,
) -> TrainingResult:
    """Train an agent by a protocol that leaves evidence.

    Every seed trains on the ``train`` bars; ten times its greedy policy is played on the ``validation`` bars, and the
    weights that score best there are kept. After the last seed the ``test`` bars are opened, once: every seed's policy
    is played on them, beside policies that have learnt nothing.

    Parameters
    ----------
    data
        Bars; those before the features are ready are not used.
    agent
        ``"leverage"`` (eleven actions, 35 features) or ``"basic"`` (three, 18).
    seeds
        How many, from 0, or which.
    steps
        Environment steps of each seed.
    split
        ``"train"``, ``"validation"`` and ``"test"``, in the order of time and apart; None takes
        :func:`~ai_backtrader.rl.split_by_time`.
    environment, dqn
        Settings; None takes the defaults (:func:`training_dqn`).
    caution
        Standard errors of the validation growth that a policy must do without: its score is the growth less so many.
        Staying out scores 0, so a policy that trades on noise is seldom chosen. 0 chooses by the validation equity
        alone.
    on_progress
        Called ten times a seed; returning False stops.
    checkpoint
        File that keeps the training as it goes, replaced as a whole; None keeps none.
    resume
        Go on from the checkpoint: the result is that of a training that was never stopped, bit for bit.
    journal
        Is handed the transitions of the training as :class:`~ai_backtrader.events.ExperiencesGathered`, in batches.
    ledger
        Counts the seeds' validation results as trials, and records that the test was opened.
    experiences
        Transitions from an earlier training that every seed starts with in its replay, with the same reward.

    Returns
    -------
    TrainingResult
        ``.best``, ``.verdict``, ``.baselines``, ``.make_agent()``. After Ctrl-C or a stop of the listener it has the
        best so far, ``interrupted`` is True, and the test stays sealed.

    Raises
    ------
    SettingsError
        Naming every fault of the arguments, or what differs from the checkpoint.
    AIBacktraderError
        If a training diverges, or the checkpoint cannot be read or written.

    Examples
    --------
    >>> from ai_backtrader.datafeeds import load_sample
    >>> result = train_agent(load_sample(), seeds=1, steps=500)
    >>> sorted(result.baselines)
    ['buy_and_hold_1x', 'buy_and_hold_3x', 'flat', 'volatility_target']
    """
    chosen = _checked(agent, seeds, steps, caution, checkpoint, resume, dqn, journal)
    settings = EnvironmentSettings() if environment is None else environment
    network = training_dqn(steps) if dqn is None else dqn
    segments = _segments(data, split)
    features = compute_features(data)
    plan = _Plan(data, features, agent, settings, network, segments, steps, caution, journal, experiences)
    keeper = _Keeper(plan, chosen, None if checkpoint is None else Path(checkpoint))
    if resume and checkpoint is not None:
        keeper.load(Path(checkpoint))
    interrupted = False
    try:
        for place, seed in enumerate(chosen):
            if not keeper.train_seed(place, seed, on_progress):
                interrupted = True
                break
    except KeyboardInterrupt:
        interrupted = True
    outcomes = keeper.outcomes()
    opening = None
    if not interrupted:
        opening = _open_test(plan, keeper.run_id, outcomes, ledger)
        outcomes = tuple(_tested(plan, outcome) for outcome in outcomes)
    plays = {} if interrupted else baseline_plays(data, settings, segments=segments, features=features)
    test = segments["test"]
    return TrainingResult(
        agent=agent,
        symbol=data.symbol,
        data_fingerprint=data.fingerprint,
        feature_version=plan.feature_version,
        environment=settings,
        dqn=network,
        segments=segments,
        times=(_time(data, test.start), _time(data, test.stop - 1)),
        steps=steps,
        seeds=outcomes,
        baselines={name: figures_of(play, bars_per_year=data.bars_per_year) for name, play in plays.items()},
        baseline_equity={name: play.equity for name, play in plays.items()},
        opening=opening,
        interrupted=interrupted,
        bar_seconds=float(data.bar_seconds),
    )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What all seeds share."""

    data: MarketData
    features: MarketFeatures
    agent: str
    settings: EnvironmentSettings
    dqn: DQNSettings
    segments: dict[str, Segment]
    steps: int
    caution: float
    journal: Journal | None
    experiences: ExperiencesGathered | None

    @property
    def leveraged(self) -> bool:
        return self.agent == "leverage"

    @property
    def feature_version(self) -> str:
        return LEVERAGE_STATE_VERSION if self.leveraged else BASIC_STATE_VERSION

    @property
    def sizes(self) -> tuple[int, ...]:
        n_features = len(LEVERAGE_FEATURES if self.leveraged else BASIC_FEATURES)
        return (n_features, *self.dqn.hidden, len(LeverageAction if self.leveraged else BasicAction))

    def judging(self, segment: str) -> Any:
        return judging_arrays(
            self.data, self.settings, leveraged=self.leveraged, segment=self.segments[segment], features=self.features
        )

    def trainer(self, seed: int) -> Trainer:
        dqn = DQN(
            self.sizes[0],
            self.sizes[-1],
            self.dqn,
            rng=np.random.default_rng(seed),
            lanes=_LANES,
        )
        env = build_arrays(
            self.data, self.settings, leveraged=self.leveraged, lanes=_LANES, segment=self.segments["train"],
            features=self.features,
        )  # fmt: skip
        if self.experiences is not None:
            store_experiences(dqn, self.experiences, agent=self.agent, feature_version=self.feature_version)
        return Trainer(dqn, env, TRADING_KERNELS, episode_fields=TRADING_FIELDS)

    def identity(self, seeds: Sequence[int]) -> dict[str, Any]:
        """What a training is made of, as JSON values."""
        given = self.experiences
        parts = {
            "kind": "training",
            "data": self.data.fingerprint,
            "agent": self.agent,
            "feature_version": self.feature_version,
            "environment": repr(self.settings),
            "dqn": repr(self.dqn),
            "segments": {name: [part.start, part.stop] for name, part in self.segments.items()},
            "seeds": list(seeds),
            "steps": self.steps,
            "caution": self.caution,
            "experiences": None if given is None else hashlib.sha256(given.states.tobytes()).hexdigest(),
        }
        plain: dict[str, Any] = json.loads(json.dumps(parts))
        return plain


class _Keeper:
    """Trains seed after seed and keeps, in memory and in the checkpoint, where it stands."""

    def __init__(self, plan: _Plan, seeds: Sequence[int], path: Path | None) -> None:
        self.plan, self.seeds, self.path = plan, seeds, path
        self.identity = plan.identity(seeds)
        self.run_id = "rl-" + hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:24]
        self.best: dict[int, Candidate] = {}
        self.best_steps: dict[int, int] = {}
        self.looks: dict[int, list[Look]] = {}
        self._running: dict[str, NDArray[Any]] = {}
        self._validation = plan.judging("validation")

    def train_seed(self, place: int, seed: int, on_progress: Callable[[TrainingProgress], bool | None] | None) -> bool:
        """Train one seed to its end; False when it was stopped."""
        plan, looks = self.plan, self.looks.setdefault(place, [])
        if len(looks) == LOOKS:
            return True
        trainer = plan.trainer(seed)
        if self._running:
            trainer.load_state(self._running)
            self._running = {}
        while len(looks) < LOOKS:
            due = _steps_until(plan.steps, len(looks) + 1)
            todo = due - _steps_until(plan.steps, len(looks))
            progress = trainer.run(todo, slice_steps=todo)
            if progress.interrupted:
                return False
            memory = trainer.dqn.memory
            growth, best = look_at(
                self._validation, trainer.dqn.sizes, memory.online, caution=plan.caution, best=self.best.get(place)
            )
            if best is not self.best.get(place):
                self.best[place], self.best_steps[place] = best, due
            looks.append(Look(due, progress.loss, progress.epsilon, growth))
            self._save(trainer)
            if plan.journal is not None:
                self._record(plan.journal, trainer, todo)
            cash = plan.settings.cash
            report = TrainingProgress(
                seed=seed, place=place, n_seeds=len(self.seeds), steps=due, total_steps=plan.steps,
                steps_per_second=progress.steps_per_second, loss=progress.loss, epsilon=progress.epsilon,
                validation_equity=cash * math.exp(growth), best_equity=cash * math.exp(self.best[place].growth),
            )  # fmt: skip
            if on_progress is not None and on_progress(report) is False:
                return False
        return True

    def outcomes(self) -> tuple[SeedOutcome, ...]:
        """Of every seed that has been looked at."""
        found = []
        for place, best in self.best.items():
            play = play_network(self._validation, self.plan.sizes, best.weights)
            found.append(
                SeedOutcome(
                    seed=self.seeds[place],
                    looks=tuple(self.looks[place]),
                    best_steps=self.best_steps[place],
                    reluctance=best.reluctance,
                    score=best.score,
                    weights=best.weights,
                    validation=figures_of(play, bars_per_year=self.plan.data.bars_per_year),
                )
            )
        return tuple(found)

    def load(self, path: Path) -> None:
        """Take a checkpoint; without a file there is nothing to go on from, and the training begins."""
        if not path.exists():
            logger.info("no checkpoint at %s yet: the training begins", path)
            return
        identity, arrays = read_checkpoint(path)
        check_identity(path, identity, self.identity)
        for place in range(len(self.seeds)):
            if f"best.{place}" not in arrays:
                break
            score, growth, reluctance, at = arrays[f"chosen.{place}"].tolist()
            self.best[place] = Candidate(score, growth, reluctance, arrays[f"best.{place}"])
            self.best_steps[place] = int(at)
            self.looks[place] = [Look(int(row[0]), *row[1:].tolist()) for row in arrays[f"looks.{place}"]]
        prefix = "trainer."
        self._running = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

    def _save(self, trainer: Trainer) -> None:
        if self.path is None:
            return
        arrays: dict[str, NDArray[Any]] = {}
        for place, best in self.best.items():
            arrays[f"best.{place}"] = best.weights
            arrays[f"chosen.{place}"] = np.array(
                [best.score, best.growth, best.reluctance, self.best_steps[place]], np.float64
            )
            arrays[f"looks.{place}"] = np.array(self.looks[place], np.float64)
        if len(self.looks[max(self.looks)]) < LOOKS:  # else the next seed begins anew
            arrays |= {f"trainer.{name}": array for name, array in trainer.state().items()}
        write_checkpoint(self.path, identity=self.identity, arrays=arrays)

    def _record(self, journal: Journal, trainer: Trainer, todo: int) -> None:
        plan = self.plan
        at = plan.data.times[plan.segments["train"].stop - 1].astype("datetime64[us]").item()
        for batch in gathered(
            trainer.dqn, todo, agent=plan.agent, feature_version=plan.feature_version, symbol=plan.data.symbol, at=at
        ):
            journal.record(batch)


def _tested(plan: _Plan, outcome: SeedOutcome) -> SeedOutcome:
    env = plan.judging("test")
    sizes, year = plan.sizes, plan.data.bars_per_year
    play: Play = play_network(env, sizes, outcome.weights)
    figures = figures_of(play, bars_per_year=year)
    plain = figures_of(play_network(without_leverage(env), sizes, outcome.weights), bars_per_year=year)
    shifted = shifted_growths(env, play.actions, np.random.default_rng([outcome.seed, 1]))
    return dataclasses.replace(
        outcome,
        test=figures,
        unlevered=plain,
        shuffled_growth=float(shifted.mean()),
        shuffled_spread=float(shifted.std(ddof=1)),
        luck=(1.0 + int((shifted >= growth_of(play)).sum())) / (1.0 + shifted.size),
        test_equity=play.equity,
    )


def _open_test(plan: _Plan, run_id: str, outcomes: Sequence[SeedOutcome], ledger: TrialLedger | None) -> int | None:
    """Count the trials, and have it recorded that the test is looked at."""
    if ledger is None:
        return 1
    key = TrialKey(plan.data.fingerprint, f"rl-{plan.agent}")
    env, sharpes = plan.judging("validation"), []
    for outcome in outcomes:
        returns = bar_returns(play_network(env, plan.sizes, outcome.weights).equity)
        spread = float(np.std(returns, ddof=1))
        sharpes.append(float(np.mean(returns)) / spread if spread > 0.0 else math.nan)
    ledger.add_trials(key, sharpes, run_id=run_id)
    test, times = plan.segments["test"], plan.data.times
    return ledger.open_sealed(key, start=times[test.start], end=times[test.stop - 1], by=run_id).number


def _steps_until(steps: int, look: int) -> int:
    return steps * look // LOOKS


def _time(data: MarketData, bar: int) -> str:
    return str(data.times[bar].astype("datetime64[s]")) + "Z"


def _segments(data: MarketData, split: Mapping[str, Segment] | None) -> dict[str, Segment]:
    if split is None:
        return dict(split_by_time(data))
    faults = Faults("train_agent")
    names = ("train", "validation", "test")
    if set(split) != set(names):
        faults.add(f"split must have {', '.join(names)}, got {', '.join(map(str, split))}")
        faults.raise_if_any()
    parts = {name: split[name] for name in names}
    edges = [edge for part in parts.values() for edge in (part.start, part.stop)]
    if edges != sorted(edges) or edges[0] < 0 or edges[-1] > len(data):
        faults.add(f"split must be in the order of time, apart and within the {len(data)} bars, got {parts}")
    faults.raise_if_any()
    return parts


def _checked(
    agent: str,
    seeds: int | Sequence[int],
    steps: int,
    caution: float,
    checkpoint: str | Path | None,
    resume: bool,
    dqn: DQNSettings | None,
    journal: Journal | None,
) -> tuple[int, ...]:
    faults = Faults("train_agent")
    faults.one_of("agent", agent, AGENTS)
    faults.whole("steps", steps, low=100)
    faults.number("caution", caution, low=0.0)
    chosen: tuple[int, ...] = ()
    if isinstance(seeds, Sequence):
        chosen = tuple(seeds)
        for seed in chosen:
            faults.whole("seeds", seed, low=0)
        if not chosen or len(set(chosen)) != len(chosen):
            faults.add(f"seeds must be one or more different numbers, got {list(chosen)}")
    else:
        faults.whole("seeds", seeds, low=1)
        chosen = tuple(range(seeds)) if isinstance(seeds, int) else ()
    if resume and checkpoint is None:
        faults.add("resume needs a checkpoint to go on from; give its path")
    if journal is not None and dqn is not None and (dqn.n_step != 1 or dqn.gamma == 0.0):
        faults.add(
            f"a journal keeps single steps: dqn must have n_step 1 and gamma above 0, got {dqn.n_step} and {dqn.gamma}"
        )
    faults.raise_if_any()
    return chosen
