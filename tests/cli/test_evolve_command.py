"""``ai-backtrader evolve``: what it prints, writes and leaves behind."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ai_backtrader.cli import main
from ai_backtrader.cli.evolve import progress_words
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.strategies import run_in_cerebro
from ai_backtrader.strategy_evolver import Generation, evolve


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: str | Path, cwd: Path) -> Done:
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["ai-backtrader", "evolve", *map(str, arguments)]
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "EURUSD.csv"
    load_sample().head(900).to_frame().to_csv(path)
    return path


SEARCH = ("--generations", "3", "--population", "12", "--seed", "4", "--champions", "2", "--commission", "0.00005")


def test_a_search_prints_champions_proves_them_and_writes_files(bars: Path, tmp_path: Path) -> None:
    done = call(bars, *SEARCH, "--plot", "search.png", "--export", "best.py", "--checkpoint", "s.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of 2 passed the sealed test" in done.stdout
    assert done.stdout.count("equal to the last bit") == 2
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "s.json").exists()
    # The file alone, as a module that knows nothing of us, holds the best strategy.
    source = (tmp_path / "best.py").read_text()
    assert "ai_backtrader" not in source
    spec = importlib.util.spec_from_file_location("best", tmp_path / "best.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_json_is_one_object_and_repeats_itself_on_any_number_of_jobs(bars: Path, tmp_path: Path) -> None:
    one = call(bars, *SEARCH, "--json", cwd=tmp_path)
    two = call(bars, *SEARCH, "--json", "--jobs", "2", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    assert one.stdout == two.stdout
    document = json.loads(one.stdout)
    assert document["evaluations"] == 12 + 2 * 8
    assert [champion["proof"]["equal"] for champion in document["champions"]] == [True, True]
    assert document["run"]["seed"] == 4


def test_the_command_finds_what_the_function_finds(bars: Path, tmp_path: Path) -> None:
    document = json.loads(call(bars, *SEARCH, "--json", cwd=tmp_path).stdout)
    result = evolve(load_sample().head(900), n_generations=3, population=12, seed=4, champions=2, commission=0.00005)
    assert [c["fingerprint"] for c in document["champions"]] == [c.chromosome.fingerprint for c in result.champions]
    # And the proof is of the broker that was asked for.
    best = result.champions[0]
    fills = len(run_in_cerebro(load_sample().head(900), best.chromosome, commission=0.00005).fills)
    assert document["champions"][0]["proof"]["fills"] == fills


def test_resume_continues_and_refuses_another_search(bars: Path, tmp_path: Path) -> None:
    whole = json.loads(call(bars, *SEARCH, "--json", cwd=tmp_path).stdout)
    shorter = [*SEARCH]
    shorter[1] = "2"
    call(bars, *shorter, "--checkpoint", "s.json", cwd=tmp_path)
    resumed = json.loads(call(bars, *SEARCH, "--checkpoint", "s.json", "--resume", "--json", cwd=tmp_path).stdout)
    assert resumed["history"] == whole["history"]
    assert resumed["examinations"] == 2
    other = call(bars, *SEARCH, "--seed", "5", "--checkpoint", "s.json", "--resume", cwd=tmp_path)
    assert other.returncode == 1
    assert "seed was 4, is 5" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--generations", "0"), "n_generations must be at least 1"),
        (("--population", "1"), "population must be at least 4"),
        (("--resume",), "resume needs the checkpoint"),
        (("--checkpoint", "no/such/folder.json"), "give a path in a folder that exists"),
        (("--checkpoint", "none.json", "--resume"), "start without resume"),
        (("--commission", "-1"), "commission must be between"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_1(
    bars: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = call(bars, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_short_data_say_how_many_bars_are_needed(tmp_path: Path) -> None:
    load_sample().head(300).to_frame().to_csv(tmp_path / "short.csv")
    done = call("short.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert "the data have 300 bars" in done.stderr


def test_ctrl_c_says_how_to_go_on(bars: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "s.json"
    command = [sys.executable, "-m", "ai_backtrader", "evolve", str(bars), "--generations", "100000"]
    with subprocess.Popen(
        [*command, "--checkpoint", str(checkpoint)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell that runs the tests in its background has children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 300  # the first run ever compiles the kernels
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert checkpoint.exists(), "no generation was finished in time"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        try:
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, stderr
    assert "Stopped after generation" in stderr
    assert "the same command with --resume goes on" in stderr


def test_progress_tells_best_median_diversity_and_speed() -> None:
    generation = Generation(
        number=3, best=1.234, median=-0.5, diversity=0.94, evaluations=188, evaluated=46, immigrants=0
    )
    assert progress_words(generation, 12_345.6) == "best 1.23  median -0.50  diversity 94%  12,346 evaluations/s"


def test_a_cluster_started_by_the_command_finds_what_one_process_finds(bars: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    alone = call(bars, *SEARCH, "--json", cwd=tmp_path)
    cluster = ("--json", "--executor", "dask", "--jobs", "2")
    together = subprocess.run(
        [sys.executable, "-m", "ai_backtrader", "evolve", str(bars), *SEARCH, *cluster],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert together.returncode == 0, together.stderr
    found, expected = json.loads(together.stdout), json.loads(alone.stdout)
    assert found["champions"] == expected["champions"]


def test_an_executor_that_is_not_known_is_refused(bars: Path, tmp_path: Path) -> None:
    unknown = call(bars, *SEARCH, "--executor", "mesos", cwd=tmp_path)
    assert unknown.returncode == 1
    assert "executor must be one of" in unknown.stderr
