"""The study's program on a little market: the pipeline's own walk, resumable, the same whatever the number of jobs."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.pipeline import PROFILES, Profile, run_pipeline
from ai_backtrader.values import Regime

KEPT = {"all", "without_rl", "without_technical", "best", "best_without_evolved"}
TINY = Profile(
    name="quick", trials=6, surrogate="random", regimes=(Regime.BULL,), generations=2, population=8, champions=2,
    agent_steps=0, agent_seeds=1,
)  # fmt: skip


class Little(NamedTuple):
    market: Any
    data: Path
    out: Path
    errors: str


@pytest.fixture(scope="module")
def little(study: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study of one market and two folds, by the program itself."""
    home = tmp_path_factory.mktemp("study")
    load_sample().head(1_600).to_frame().to_csv(home / "EURUSD.csv")
    market = study("markets").Market(
        name="tiny", title="Tiny", kind="FX", file="EURUSD.csv", rule=None, design=1_200, folds=2,
        costs={"commission": 0.00005}, told="little",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(study("markets").MARKETS, "tiny", market)
        patch.setitem(PROFILES, "quick", TINY)
        patch.setattr(study("figures"), "_RESAMPLES", 40)
        for name in study("walking").VARIANTS.keys() - KEPT:
            patch.delitem(study("walking").VARIANTS, name)
        for number in (1, 2):
            study("four_markets").study_fold(market, number, home, home / "out", TINY, 0)
        yield Little(market, home, home / "out", "")


def run(little: Little, study: Any, *more: str) -> int:
    code: int = study("four_markets").main(
        ["--data", str(little.data), "--out", str(little.out), "--markets", "tiny", "--profile", "quick", *more]
    )
    return code


def test_a_variant_is_walked_as_a_run_of_the_pipeline_walks(little: Little, study: Any) -> None:
    fold = study("markets").folds_of(little.market, study("markets").load(little.market, little.data))[0]
    settings = fold.settings(little.market, TINY, 0)
    kept = study("walking").RunFolder(little.out / "tiny" / "fold-1" / "walk")
    for variant, changes in (("all", {}), ("best_without_evolved", {"admit": "best", "without": ("evolved",)})):
        result = run_pipeline(
            fold.data, profile=TINY, seed=0, design_share=settings.design_share, commission=0.00005, **changes
        )
        walked = kept.read(variant)
        assert dict(walked["hashes"]) == {name: result.hashes[name] for name in walked["hashes"]}, variant
        assert {"decisions", "trades", "weights", "values"} == walked["hashes"].keys()


def test_what_is_not_walked_again_would_have_come_to_the_same(little: Little, study: Any) -> None:
    fold = study("markets").folds_of(little.market, study("markets").load(little.market, little.data))[0]
    home, walking = little.out / "tiny" / "fold-1", study("walking")
    settings = fold.settings(little.market, TINY, 0)
    searched = study("searching").search(fold, settings, home / "search", lambda words: None)
    assert not any(champion["passed"] for champion in searched.evolved["champions"])
    kept = walking.RunFolder(home / "walk")
    assert kept.read("without_rl")["same_as"] == walking.same_as("without_rl", searched) == "all"
    assert walking.same_as("without_evolved", searched) == "without_adaptation"
    assert walking.same_as("without_technical", searched) is None
    for one, other in (("rl", ()), ("evolved", ("adaptation",))):
        walked = [
            walking.walk_variant(fold, dataclasses.replace(settings, without=off), searched)[0]["hashes"]
            for off in ((one,), other)
        ]
        for name in ("trades", "weights", "values"):  # the decisions tell the votes, too, and who abstained
            assert walked[0][name] == walked[1][name], (one, name)
    passed = dataclasses.replace(
        searched, agent={**searched.agent, "passed": True}, evolved={"champions": [{"passed": True}]}
    )
    assert walking.same_as("without_rl", passed) is walking.same_as("without_evolved", passed) is None


def test_the_folds_follow_one_another_and_are_searched_on_the_past_alone(little: Little, study: Any) -> None:
    markets = study("markets")
    data = markets.load(little.market, little.data)
    folds = markets.folds_of(little.market, data)
    walked = np.concatenate([fold.data.times[fold.design :] for fold in folds])
    assert walked.tolist() == data.times[-400:].tolist()
    assert all(fold.design == little.market.design for fold in folds)
    for fold in folds:
        assert fold.settings(little.market, TINY, 0).design_share * len(fold.data) == pytest.approx(fold.design)


def test_a_study_is_told_resumed_and_not_overwritten(
    little: Little, study: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(little, study) == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    walk = little.out / "tiny" / "fold-2" / "walk"
    before = study("walking").RunFolder(walk).read("best")
    (walk / "best.json").unlink()
    assert run(little, study, "--resume", "--jobs", "1") == 0
    after = study("walking").RunFolder(walk).read("best")
    assert {**after, "cpu": 0} == {**before, "cpu": 0}
    told = capsys.readouterr()
    assert "tiny 2/2 is done: 2 of 2 folds" in told.err
    assert "- **Tiny**: AIStrategy " in told.out
    results = study("tables").read_results(little.out / "results")
    assert results["found"]["fold"].tolist() == [1, 2]
    assert (little.out / "study.png").stat().st_size > 20_000
    assert "nothing" in (little.out / "tables.md").read_text()
    homes = [little.out / "tiny" / f"fold-{number}" for number in (1, 2)]
    bars_per_year = study("markets").load(little.market, little.data).bars_per_year
    accounts = {"tiny": study("accounts").read_market(homes, bars_per_year)}
    study("tables").write_results(study("four_markets").results_of(accounts), little.out / "again")
    for name in study("tables").FILES:
        first, again = (pd.read_csv(little.out / folder / f"{name}.csv") for folder in ("results", "again"))
        pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_another_study_does_not_go_on_in_the_same_folder(little: Little, study: Any, tmp_path: Path) -> None:
    shutil.copytree(little.out, tmp_path / "out")
    with pytest.raises(AIBacktraderError, match="other data, profile, seed or costs; name another folder"):
        study("four_markets").study_fold(little.market, 1, little.data, tmp_path / "out", TINY, 1)
    (tmp_path / "out" / "tiny" / "fold-1" / "walk" / "all.json").unlink()
    with pytest.raises(AIBacktraderError, match="all is not done yet; go on with --resume"):
        study("accounts").read_market([tmp_path / "out" / "tiny" / "fold-1"], 8_760.0)


def test_missing_files_and_a_part_to_publish_are_refused(
    little: Little, study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = study("four_markets").main
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--markets", "sp500"]) == 2
    assert "has no SP500-1d-1999-2018.csv.gz: see studies/README.md" in capsys.readouterr().err
    assert run(little, study, "--resume", "--publish") == 2
    assert "--publish wants all markets and the standard profile" in capsys.readouterr().err
