"""Start marks: which claimed attempts had begun, readable after kill -9.

Claims run ahead of starts, in batches. When a node dies, whoever recovers must tell the attempts whose function was called
(`LOST`, or repeated) from those that never began (sent back, unspent). So before a function is called its mark is set: run and
fence, sixteen bytes in a memory-mapped file. That is a store to memory: no system call, no fsync, no release of the GIL. The
page belongs to the kernel, so it outlives the process; it does not outlive the machine's power, so a file is trusted only
within the boot and on the machine that wrote it.

    <folder>/<incarnation>.marks      header (128 bytes) · slots of (run id, fence), two native 64-bit integers each
    <folder>/<incarnation>.1.marks    the next segment, made when all slots of the first are taken

A slot is written run first, fence last, each by one aligned store: a kill between them leaves the fence 0, which is a slot
without a mark, and truly the function had not been called. A slot is used again only after `forget`: its attempt's outcome
is durable. While an incarnation lives it holds a lock on its first file, so what the dead left can be told. The header is written, with its checksum, before the first mark; a file without a whole one is not readable.

Worker processes map the same file, and set the mark in a slot that the parent reserved, just before they call.
"""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import re
import struct
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from .machine import boot_id, machine_id
from .runner import Begun

MAGIC: Final = b"CallMark"
VERSION: Final = 1
SLOTS: Final = 65_536
"""In one segment: 1 MiB."""
MAX_SEGMENTS: Final = 1_024
"""A node with more unforgotten attempts than 67 million has lost its way."""

_HEADER: Final = struct.Struct("=8sHHI40s64sI")  # magic, version, segment, slots, boot, machine, checksum
_HEADER_BYTES: Final = 128
_HEADER_WORDS: Final = _HEADER_BYTES // 8
_ORDER: Final = sys.byteorder.encode()


class Segment:
    """One mapped file of slots; `words` are its 64-bit integers, the header's included."""

    def __init__(self, path: Path, file: int, length: int) -> None:
        self.path = path
        self._map = mmap.mmap(file, length)
        self.words = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, path: Path, number: int) -> Segment:
        """Make a segment; its room on the disk is taken now, because a store into a hole of a full disk kills the process."""
        length = _HEADER_BYTES + SLOTS * 16
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(file, length)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, length)
            segment = cls(path, file, length)
        finally:
            os.close(file)
        segment._map[: _HEADER.size] = _header(number)
        return segment

    @classmethod
    def attach(cls, path: Path) -> Segment:
        """Map a segment that another process made."""
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return cls(path, file, os.fstat(file).st_size)
        finally:
            os.close(file)

    def close(self) -> None:
        """Unmap it."""
        self.words.release()
        self._map.close()


class Marks:
    """The marks of this node's incarnation. Safe to use from any thread.

    `folder` None puts the file into a private temporary folder that `close` removes: for a store that does not outlive the process.
    """

    def __init__(self, folder: Path | None, incarnation: str) -> None:
        self.incarnation = incarnation
        self._private = tempfile.TemporaryDirectory(prefix="callsheet-marks-") if folder is None else None
        self.folder = Path(self._private.name) if self._private is not None else _existing(folder)
        self._lock = threading.Lock()
        self._segments = [Segment.create(segment_path(self.folder, incarnation, 0), 0)]
        self._alive = _lock(self._segments[0].path)
        self._words = [self._segments[0].words]
        self._free: list[int] = []
        self._fresh = itertools.count()
        self._taken: dict[int, int] = {}

    def set(self, run_id: int, fence: int) -> None:
        """Record that the function of this attempt is about to be called."""
        index = self.reserve(fence)
        words = self._words[index // SLOTS]
        at = _HEADER_WORDS + 2 * (index % SLOTS)
        words[at] = run_id
        words[at + 1] = fence

    def reserve(self, fence: int) -> int:
        """Answer the number of a slot that a worker process will set for this fence."""
        try:
            index = self._free.pop()
        except IndexError:
            index = next(self._fresh)
            if index >= SLOTS * len(self._words):
                self._grow(index)
        self._taken[fence] = index
        return index

    def is_set(self, fence: int) -> bool:
        """Whether the function of this attempt was called."""
        index = self._taken.get(fence)
        return index is not None and self._words[index // SLOTS][_fence_at(index)] == fence

    def forget(self, fences: Iterable[int]) -> None:
        """Give the slots of these back; those that have none are no error."""
        for fence in fences:
            index = self._taken.pop(fence, None)
            if index is not None:
                self._words[index // SLOTS][_fence_at(index)] = 0
                self._free.append(index)

    def fences(self) -> frozenset[int]:
        """The fences whose marks are set."""
        return frozenset(fence for fence in list(self._taken) if self.is_set(fence))

    def close(self) -> None:
        """Unmap the file. It stays for whoever recovers, unless the folder was private."""
        with self._lock:
            self._words = []
            for segment in self._segments:
                segment.close()
            self._segments = []
            if self._alive is not None:
                os.close(self._alive)
                self._alive = None
        if self._private is not None:
            self._private.cleanup()

    def _grow(self, index: int) -> None:
        with self._lock:
            while index >= SLOTS * len(self._words):
                number = len(self._segments)
                assert number < MAX_SEGMENTS, "outcomes are never forgotten: the marks have outgrown their limit"
                self._segments.append(Segment.create(segment_path(self.folder, self.incarnation, number), number))
                self._words.append(self._segments[-1].words)


class AttachedMarks:
    """The marks as a worker process sees them: segments are mapped when a slot in them is first set."""

    def __init__(self, folder: Path, incarnation: str) -> None:
        self._folder = folder
        self._incarnation = incarnation
        self._words: dict[int, memoryview[int]] = {}
        self._segments: list[Segment] = []

    def set(self, index: int, run_id: int, fence: int) -> None:
        """Set the mark in a slot that the parent reserved."""
        words = self._words.get(index // SLOTS)
        if words is None:
            words = self._map(index // SLOTS)
        at = _HEADER_WORDS + 2 * (index % SLOTS)
        words[at] = run_id
        words[at + 1] = fence

    def _map(self, number: int) -> memoryview[int]:
        self._segments.append(Segment.attach(segment_path(self._folder, self._incarnation, number)))
        self._words[number] = self._segments[-1].words
        return self._words[number]


def read_begun(folder: Path | None, incarnation: str) -> Begun:
    """Read what a dead incarnation left; not readable if it is of another boot or machine, torn, or not there."""
    paths = segment_paths(folder, incarnation)
    fences: set[int] = set()
    try:
        for number, path in enumerate(paths):
            fences.update(_read_segment(path.read_bytes(), number))
    except (OSError, ValueError):
        return Begun(incarnation, readable=False, fences=frozenset())
    return Begun(incarnation, readable=bool(paths), fences=frozenset(fences))


def remove_marks(folder: Path | None, incarnation: str) -> None:
    """Remove the files of an incarnation; none is no error. The first segment goes last, so that a rest is never read as a whole."""
    for path in reversed(segment_paths(folder, incarnation)):
        path.unlink(missing_ok=True)


def sweep_marks(folder: Path | None, keep: Iterable[str]) -> None:
    """Remove what dead incarnations left, but for those to `keep`. Who lives holds a lock on its first file."""
    if folder is None:
        return
    kept = {segment_path(folder, incarnation, 0) for incarnation in keep}
    for path in sorted(folder.glob("*.marks")):
        incarnation = unquote(path.name.removesuffix(".marks"))
        if path in kept or path != segment_path(folder, incarnation, 0) or re.search(r"\.\d+$", incarnation):
            continue
        lock = _lock(path)
        if lock is not None:
            remove_marks(folder, incarnation)
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Take the lock on a file that says that its incarnation lives; None when somebody has it, or the file is gone."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def segment_paths(folder: Path | None, incarnation: str) -> Sequence[Path]:
    """The files that an incarnation left, in order."""
    if folder is None:
        return []
    paths = (segment_path(folder, incarnation, number) for number in range(MAX_SEGMENTS))
    return list(itertools.takewhile(Path.exists, paths))


def segment_path(folder: Path, incarnation: str, number: int) -> Path:
    """The file of a segment."""
    safe = quote(incarnation, safe="")
    return folder / (f"{safe}.{number}.marks" if number else f"{safe}.marks")


def _existing(folder: Path | None) -> Path:
    assert folder is not None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _fence_at(index: int) -> int:
    return _HEADER_WORDS + 2 * (index % SLOTS) + 1


def _header(number: int) -> bytes:
    fields = (MAGIC, VERSION, number, SLOTS, boot_id().encode()[:40], _machine())
    checksum = zlib.crc32(_HEADER.pack(*fields, 0))
    return _HEADER.pack(*fields, checksum)


def _machine() -> bytes:
    return (machine_id().encode()[:56] + b" " + _ORDER)[:64]


def _read_segment(content: bytes, number: int) -> set[int]:
    """Answer the fences in a segment.

    Raises:
        ValueError: it is torn, or not of this boot of this machine.
    """
    if content[: _HEADER.size] != _header(number) or not boot_id():
        raise ValueError("not written in this boot of this machine")
    if len(content) != _HEADER_BYTES + SLOTS * 16:
        raise ValueError("torn")
    words = memoryview(content)[_HEADER_BYTES:].cast("q")
    return set(words[1::2].tolist()) - {0}
