"""Where evaluations run: in this process, in processes of this machine, or on a Dask or Ray cluster (joblib).

It pays only for work that is large beside the transport. Measured with tasks of 5 ms, processor time over useful work
was 1.05 to 1.2 with local processes, 2.3 with Dask and 2.6 with Ray: send Cerebro runs and big populations, keep
compiled ones here, where threads share the data.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError

__all__ = ["EXECUTORS", "Map", "connected_cluster", "open_executor"]

T = TypeVar("T")
R = TypeVar("R")

EXECUTORS = ("local", "dask", "ray")
"""Names of the executors."""

_PACKAGE = "ai-backtrader"
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
        If the library is missing, no cluster is connected, or a Dask worker has not this version of the package; while
        results are made, if a Dask worker cannot load the function.
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
        _check_workers(_library("distributed", "executor 'dask'", "distributed"))
    elif name == "ray":
        _library("ray.util.joblib", "executor 'ray'", "ray").register_ray()
    with (
        joblib.parallel_config(backend="loky" if name == "local" else name, n_jobs=jobs if name == "local" else -1),
        # Only loky hands results over one by one.
        joblib.Parallel(return_as="generator" if name == "local" else "list") as parallel,
    ):
        carry = _carried if name == "dask" else _itself

        def apply(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
            work = joblib.delayed(carry(function))
            return iter(parallel(work(item) for item in items))

        yield apply


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


def _check_workers(distributed: Any) -> None:
    """A worker without the package would die over the first task, and so would those that take it over."""
    try:
        client = distributed.get_client()
    except ValueError as error:
        raise AIBacktraderError(
            "executor 'dask' needs a connected client; make one first: distributed.Client(address)"
        ) from error
    here = _version_here()
    for address, found in client.run(importlib.metadata.version, _PACKAGE, on_error="return").items():
        if found != here:
            there = f"version {found}" if isinstance(found, str) else f"none ({found!r})"
            raise AIBacktraderError(
                f"executor 'dask': {_PACKAGE} is {here} here and {there} on the worker {address}; "
                "install the same there"
            )


def _version_here() -> str:
    return importlib.metadata.version(_PACKAGE)


def _itself(function: Callable[[T], R]) -> Callable[[T], R]:
    return function


def _carried(function: Callable[[T], R]) -> Callable[[T], R]:
    """The function as bytes that are opened when it is called: a worker that cannot says so.

    Dask's workers open tasks outside of them; one that fails there is gone without a word, and the search waits for
    ever.
    """
    payload: bytes = _library("cloudpickle", "executor 'dask'", "distributed").dumps(function)
    return functools.partial(_call, payload)


def _call(payload: bytes, item: Any) -> Any:
    return _opened(payload)(item)


@functools.lru_cache(maxsize=4)
def _opened(payload: bytes) -> Callable[[Any], Any]:
    try:
        function: Callable[[Any], Any] = pickle.loads(payload)  # noqa: S301  # made by the search that this worker serves
    except Exception as error:  # whatever the loading of a user's function raises
        raise AIBacktraderError(
            f"a worker cannot load the function that it shall evaluate: {type(error).__name__}: {error}; install its "
            "module there, or define the function in the script that is run"
        ) from error
    return function


def _library(name: str, purpose: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AIBacktraderError(
            f"{purpose} need {name.split('.')[0]}, which is not installed: pip install 'ai-backtrader[{extra}]'"
        ) from error
