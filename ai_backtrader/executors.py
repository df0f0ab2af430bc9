"""Where evaluations run: in this process, in processes of this machine, or on a Dask or Ray cluster (joblib).

It pays only for work that is large beside the transport. Measured with tasks of 5 ms, processor time over useful work
was 1.05 to 1.2 with local processes, 2.3 with Dask and 2.6 with Ray: send Cerebro runs and big populations, keep
compiled ones here, where threads share the data.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError

__all__ = ["EXECUTORS", "Map", "connected_cluster", "open_executor"]

T = TypeVar("T")
R = TypeVar("R")

EXECUTORS = ("local", "dask", "ray")
"""Names of the executors."""

_CLUSTERS = {"dask": "distributed", "ray": "ray"}  # by library, of which each is an extra of its own name


class Map(Protocol):
    """Applies a function to every item and gives the results in the order of the items, each as soon as it is there."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T], /) -> Iterator[R]:
        """Results, one for each item."""


@contextlib.contextmanager
def open_executor(name: str = "local", *, jobs: int = 1) -> Iterator[Map]:
    """A way to evaluate many items, open for the time of a search.

    Parameters
    ----------
    name
        ``"local"``: this process with one job, processes of this machine (joblib's loky) with more. ``"dask"``: the
        cluster of the ``distributed.Client`` that is connected; what a worker that dies had not finished, others do
        again. ``"ray"``: the cluster that ``ray.init`` joined. The last two need the extra ``[distributed]`` or
        ``[ray]``.
    jobs
        Processes of ``"local"``; clusters use all the workers they have.

    Raises
    ------
    SettingsError
        If the name is unknown or jobs is not a whole number above 0.
    AIBacktraderError
        If the library is missing or no cluster is connected.
    """
    faults = Faults("executor")
    faults.one_of("executor", name, EXECUTORS)
    faults.whole("jobs", jobs, low=1)
    faults.raise_if_any()
    if name == "local" and jobs == 1:
        yield lambda function, items: (function(item) for item in items)
        return
    joblib = _library("joblib", f"{jobs} jobs", "distributed")
    if name == "dask":
        _check_client(_library("distributed", "executor 'dask'", "distributed"))
    elif name == "ray":
        _library("ray.util.joblib", "executor 'ray'", "ray").register_ray()
    with (
        joblib.parallel_config(backend="loky" if name == "local" else name, n_jobs=jobs if name == "local" else -1),
        # Only loky hands results over one by one.
        joblib.Parallel(return_as="generator" if name == "local" else "list") as parallel,
    ):
        yield lambda function, items: iter(parallel(joblib.delayed(function)(item) for item in items))


@contextlib.contextmanager
def connected_cluster(name: str, *, address: str | None = None, workers: int = 1) -> Iterator[None]:
    """A connection for :func:`open_executor`, for who has none yet; nothing to connect for ``"local"``.

    Parameters
    ----------
    name
        As of :func:`open_executor`.
    address
        Of the cluster: ``tcp://host:8786`` of a Dask scheduler, the address of a Ray head. None starts one on this
        machine and stops it at the end.
    workers
        Processes of a cluster that is started here.

    Raises
    ------
    SettingsError
        If the name is unknown, or workers is not a whole number above 0.
    AIBacktraderError
        If the library is missing or nothing answers at the address.
    """
    faults = Faults("executor")
    faults.one_of("executor", name, EXECUTORS)
    faults.whole("workers", workers, low=1)
    faults.raise_if_any()
    if name == "local":
        yield
        return
    library = _library(_CLUSTERS[name], f"executor {name!r}", _CLUSTERS[name])
    with contextlib.ExitStack() as opened:
        try:
            if name == "ray":
                library.init(address=address, num_cpus=None if address else workers, include_dashboard=False)
                opened.callback(library.shutdown)
            elif address:
                opened.enter_context(library.Client(address))
            else:
                opened.enter_context(library.Client(n_workers=workers, threads_per_worker=1, dashboard_address=None))
        except (OSError, ValueError, RuntimeError) as error:  # a timeout is an OSError
            where = address or "this machine"
            raise AIBacktraderError(
                f"executor {name!r}: no cluster at {where} ({error}); give the address of one that runs"
            ) from error
        yield


def _check_client(distributed: Any) -> None:
    try:
        distributed.get_client()
    except ValueError as error:
        raise AIBacktraderError(
            "executor 'dask' needs a connected client; make one first: distributed.Client(address)"
        ) from error


def _library(name: str, purpose: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AIBacktraderError(
            f"{purpose} need {name.split('.')[0]}, which is not installed: pip install 'ai-backtrader[{extra}]'"
        ) from error
