"""Archives, checked against their published checksums, in a cache that a broken-off download goes on from.

An archive grows as ``NAME.zip.part`` and takes its name only when its SHA-256 is the published one; the checksum lies
beside it. So whatever stands under its own name is whole, after Ctrl-C and after a kill in any instant.
"""

from __future__ import annotations

import hashlib
import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from ai_backtrader.datafeeds.download.errors import DownloadError
from ai_backtrader.datafeeds.download.http import Client
from ai_backtrader.datafeeds.download.plan import Archive
from ai_backtrader.datafeeds.download.settings import ARCHIVE, DownloadSettings

__all__ = ["ArchiveCache", "fetch_all"]

_SHA256 = re.compile(rb"^([0-9a-fA-F]{64})(?:\s|$)")
_LIES = 3  # times that a file which contradicts its checksum is fetched


class ArchiveCache:
    """Gives an archive as a verified file, from the cache or from the server.

    Parameters
    ----------
    settings
        Where from, where to.
    client
        Who asks the server.
    """

    def __init__(self, settings: DownloadSettings, client: Client) -> None:
        self._settings, self._client = settings, client
        self._source = (settings.source or ARCHIVE).rstrip("/")

    def get(self, archive: Archive) -> Path | None:
        """Path of the archive; None where the server has none (404) or the settings skip it.

        Raises
        ------
        DownloadError
            If it cannot be had, has no checksum, or contradicts it each time.
        """
        if archive.name in self._settings.skip:
            return None
        path = self._settings.cache_folder / archive.path
        published = path.with_name(f"{path.name}.CHECKSUM")
        if path.exists() and self._still_good(archive, path, published):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        expected = found = ""
        for _ in range(min(_LIES, self._settings.attempts)):
            if not self._client.into(self._address(archive.path), part):
                return None
            expected = self._checksum(archive)
            found = _sha256(part)
            if found == expected:
                published.write_text(f"{expected}  {archive.name}\n", encoding="ascii")
                part.replace(path)
                return path
            part.unlink()
        raise DownloadError(
            f"{self._address(archive.path)}: fetched {min(_LIES, self._settings.attempts)} times, never what its "
            f"checksum says: expected SHA-256 {expected}, found {found}",
            f"Nothing was written. Try again later, or leave the file out with --skip {archive.name}",
        )

    def _still_good(self, archive: Archive, path: Path, published: Path) -> bool:
        # The cache is on a disk of the user's: it is read again, not believed.
        try:
            expected = _digest(published.read_bytes())
        except FileNotFoundError:
            return False
        if self._settings.refresh:
            expected = self._checksum(archive)
        return expected is not None and _sha256(path) == expected

    def _checksum(self, archive: Archive) -> str:
        address = self._address(archive.path) + ".CHECKSUM"
        body = self._client.small(address)
        if body is None:
            raise DownloadError(
                f"{address}: no checksum is published beside the archive",
                f"It cannot be verified; leave it out with --skip {archive.name}",
            )
        digest = _digest(body)
        if digest is None:
            raise DownloadError(
                f"{address}: no SHA-256 where one should be, but {body[:60]!r}",
                "Check --source, and that no proxy answers in its place",
            )
        return digest

    def _address(self, path: str) -> str:
        return f"{self._source}/{quote(path)}"


def fetch_all(
    archives: Sequence[Archive],
    get: Callable[[Archive], Path | None],
    *,
    connections: int,
    stop: threading.Event,
) -> Iterator[tuple[Archive, Path | None]]:
    """Archives with their paths as they come, fetched by several threads.

    The first error ends the others and is raised. Who stops iterating (Ctrl-C among them) stops the threads; one that
    hangs in a read ends by its timeout, and does not keep the process alive.
    """
    todo: queue.SimpleQueue[Archive] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Archive, Path | None, BaseException | None]] = queue.SimpleQueue()
    for archive in archives:
        todo.put(archive)

    def work() -> None:
        while not stop.is_set():
            try:
                archive = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((archive, get(archive), None))
            except BaseException as error:  # carried to the caller, whatever it is
                done.put((archive, None, error))

    threads = [
        threading.Thread(target=work, name="download", daemon=True) for _ in range(min(connections, len(archives)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in archives:
            archive, path, error = done.get()
            if error is not None:
                raise error
            yield archive, path
    except BaseException:
        stop.set()
        raise


def _digest(body: bytes) -> str | None:
    # `sha256sum` writes "HASH  NAME"; the name is not compared, it is the address that was asked.
    match = _SHA256.match(body)
    return None if match is None else match[1].decode("ascii").lower()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
