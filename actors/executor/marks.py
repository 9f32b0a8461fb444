"""Start marks: which claimed attempts had begun, readable after kill -9; and which may begin no more.

Claims run ahead of starts, in batches. When a node dies, whoever recovers must tell the attempts whose function was called
(`LOST`, or repeated) from those that never began (sent back, unspent). So before a function is called its mark is set: run and
fence, sixteen bytes in a memory-mapped file. That is a store to memory: no system call, no fsync, no release of the GIL. The
page belongs to the kernel, so it outlives the process; it does not outlive the machine's power, so a file is trusted only
within the boot and on the machine that wrote it.

    <folder>/<incarnation>.marks      header (128 bytes) · revoked (64) · slots of (run id, fence), native 64-bit integers
    <folder>/<incarnation>.1.marks    the next segment, made when all slots of the first are taken

A slot is written run first, fence last, each by one aligned store: a kill between them leaves the fence 0, which is a slot
without a mark, and truly the function had not been called. A slot is used again only after `forget`: its attempt's outcome
is durable. While an incarnation lives it holds a lock on its first file, so what the dead left can be told. A file is made
under another name, with its header and its checksum, and locked; then it gets its name. So nobody ever meets half a file,
nor a living one without a lock.

Worker processes map the same files, and set the mark in a slot that the parent reserved, just before they call.

Revoking

A node that is silent may be dead, or frozen and about to go on. What it was given and has not begun is to run elsewhere, so it
must not begin later. The first segment has one more word, outside the checksum: `revoked`, the greatest fence that may no
longer be begun. Fences grow for ever, through all reigns, so newer orders of the same incarnation are above it.

    who starts                            who revokes
    1  sets the mark                      1  raises `revoked`
    2  barrier                            2  barrier
    3  reads `revoked`: not above it?     3  reads the marks: not among them?
       takes the mark back, calls nothing    it will never be called

Whichever of the two comes first, the other sees it: both could miss only if a processor did step 3 before its step 1 was seen
by the others, and that is what the barrier forbids. It does not matter how long a starter is frozen between two steps. A mark
that was read just before it was taken back counts as begun: at worst a run is held for lost that could have been sent back.

The barrier. Processors may let a later load overtake an earlier store, also x86. A lock that is taken and let go stops that:
its atomic instructions are full barriers on x86, for all memory and whoever shares it. Elsewhere (ARMv8, RISC-V) taking it is
an acquire and letting go a release, which keep nothing from passing in between; but a release with an acquire after it does,
so there it is taken and let go twice. Nobody contends for anything: what orders the two processes is each one's own lock,
and so a frozen one holds nobody up. No compiler sees both steps at once, because each is a call into the interpreter.

Raising the word is a read and a write, and of two who revoke at once none may undo the other's: they take turns by a lock on
the folder. If its holder is frozen just then, the next one waits `REVOKING_S`, revokes nothing and calls the file not readable:
what was claimed counts as begun.

The dead begin nothing, but their worker processes outlive them by a moment; so whoever finds a lock free revokes everything
before he reads. For an incarnation's own use `hold` revokes what it was given, in its workers too.

A forked child would share the locks, and keep them when its parent dies; so it lets go of them (`forks.py`).
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import platform
import re
import shutil
import struct
import sys
import tempfile
import threading
import time
import weakref
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from ...file_lock import FileLock
from ...forks import register
from .machine import boot_id, machine_id
from .runner import Begun

MAGIC: Final = b"CallMark"
VERSION: Final = 2
SLOTS: Final = 65_536
"""In one segment: 1 MiB."""
MAX_SEGMENTS: Final = 1_024
"""A node with more unforgotten attempts than 67 million has lost its way."""

REVOKING_S: Final = 0.25
"""How long somebody who revokes waits for another who does so."""
UNNAMED_S: Final = 3_600
"""A file that did not get its name within this time (seconds) was left by somebody who was killed."""
ALL_FENCES: Final = (1 << 63) - 1

_IS_WEAK: Final = platform.machine().lower() not in {"x86_64", "amd64", "x64", "i386", "i486", "i586", "i686"}
"""Whether a lock that is taken and let go once is no full barrier here."""
_POLL_S: Final = 0.001
_HEADER: Final = struct.Struct("=8sHHI40s64sI")  # magic, version, segment, slots, boot, machine, checksum
_REVOKED_AT: Final = 128 // 8
"""The word `revoked`; it has a line of the processor's cache for itself, which stays where it is read."""
_HEADER_BYTES: Final = 192
_HEADER_WORDS: Final = _HEADER_BYTES // 8
_UNTOUCHED: Final = bytes(4_096)
"""A part of a segment in which no slot was ever used."""
_ORDER: Final = sys.byteorder.encode()


class Segment:
    """One mapped file of slots; `words` are its 64-bit integers, the header's included."""

    def __init__(self, path: Path, file: int, length: int) -> None:
        if length % 8:
            raise ValueError("torn")
        self.path = path
        self._map = mmap.mmap(file, length)
        self.words = memoryview(self._map).cast("q")
        self._alive: FileLock | None = None

    @classmethod
    def create(cls, path: Path, number: int, *, locked: bool = False) -> Segment:
        """Make a segment; `locked`, it holds the lock on its file until it is closed.

        Its room on the disk is taken now, because a store into a hole of a full disk kills the process.
        """
        length = _HEADER_BYTES + SLOTS * 16
        unnamed = path.with_name(f"{path.name}.{os.getpid()}.new")
        file = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(file, length)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, length)
            segment = cls(path, file, length)
            segment._map[: _HEADER.size] = _header(number)
            if locked:
                segment._alive = FileLock.on(unnamed)
                assert segment._alive is not None, "nobody else knows this file"
            unnamed.rename(path)
        except BaseException:
            unnamed.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        return segment

    @classmethod
    def attach(cls, path: Path) -> Segment:
        """Map a segment that another process made.

        Raises:
            OSError: it is not there, or may not be written.
            ValueError: it is empty.
        """
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return cls(path, file, os.fstat(file).st_size)
        finally:
            os.close(file)

    def check(self, number: int) -> None:
        """See that what stands in it can be trusted.

        Raises:
            ValueError: it is torn, or not of this boot of this machine.
        """
        if self._map[: _HEADER.size] != _header(number) or not boot_id():
            raise ValueError("not written in this boot of this machine")
        if len(self._map) != _HEADER_BYTES + SLOTS * 16:
            raise ValueError("torn")

    def read(self, number: int) -> set[int]:
        """Answer the fences in it.

        Most of it was never touched. To pass over that takes a tenth of the time of looking at each slot, in which the next
        leader could do nothing else.

        Raises:
            ValueError: it is torn, or not of this boot of this machine.
        """
        self.check(number)
        fences: set[int] = set()
        for at in range(_HEADER_BYTES, len(self._map), len(_UNTOUCHED)):
            if self._map[at : at + len(_UNTOUCHED)] != _UNTOUCHED:
                with self.words[at // 8 + 1 : (at + len(_UNTOUCHED)) // 8 : 2] as part:
                    fences.update(part.tolist())
        return fences - {0}

    def spoil(self) -> None:
        """Make it unreadable for all."""
        self._map[: len(MAGIC)] = bytes(len(MAGIC))

    def close(self) -> None:
        """Unmap it, and let go of its lock."""
        self.words.release()
        self._map.close()
        if self._alive is not None:
            self._alive.close()


class Marks:
    """The marks of this node's incarnation. Safe to use from any thread.

    `folder` None puts the file into a private temporary folder that `close` removes: for a store that does not outlive the process.
    """

    def __init__(self, folder: Path | None, incarnation: str) -> None:
        self.incarnation = incarnation
        self._cleanup: weakref.finalize[..., Marks] | None = None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="callsheet-marks-"))
            self._cleanup = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.Lock()
        self._barrier = threading.Lock()
        self._segments = [Segment.create(segment_path(folder, incarnation, 0), 0, locked=True)]
        self._words = [self._segments[0].words]
        self._free: list[int] = []
        self._fresh = itertools.count()
        self._taken: dict[int, int] = {}
        register(self)

    def set(self, run_id: int, fence: int) -> bool:
        """Record that the function of this attempt is about to be called; false if it must not be, because it was revoked."""
        index = self.reserve(fence)
        words = self._words[index // SLOTS]
        at = _HEADER_WORDS + 2 * (index % SLOTS)
        words[at] = run_id
        words[at + 1] = fence
        with self._barrier:
            pass
        if _IS_WEAK:
            with self._barrier:
                pass
        if fence > self._words[0][_REVOKED_AT]:
            return True
        self.forget((fence,))
        return False

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
            for segment in reversed(self._segments):  # the first, and with it the lock, goes last
                segment.close()
            self._segments = []
        if self._cleanup is not None:
            self._cleanup()

    def let_go(self) -> None:
        """In a forked child: the private folder is the parent's."""
        if self._cleanup is not None:
            self._cleanup.detach()

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
        self._barrier = threading.Lock()
        self._words: dict[int, memoryview[int]] = {}
        self._segments: list[Segment] = []

    def set(self, index: int, run_id: int, fence: int) -> bool:
        """Set the mark in a slot that the parent reserved; false if the function must not be called, because it was revoked."""
        words = self._words.get(index // SLOTS)
        if words is None:
            self._map(0)
            words = self._map(index // SLOTS)
        at = _HEADER_WORDS + 2 * (index % SLOTS)
        words[at] = run_id
        words[at + 1] = fence
        with self._barrier:
            pass
        if _IS_WEAK:
            with self._barrier:
                pass
        if fence > self._words[0][_REVOKED_AT]:
            return True
        words[at + 1] = 0
        return False

    def _map(self, number: int) -> memoryview[int]:
        if number not in self._words:
            self._segments.append(Segment.attach(segment_path(self._folder, self._incarnation, number)))
            self._words[number] = self._segments[-1].words
        return self._words[number]


def read_begun(folder: Path | None, incarnation: str) -> Begun:
    """Read what an incarnation has marked; not readable if it is of another boot or machine, torn, or not there."""
    return revoke(folder, incarnation, 0)


def revoke(folder: Path | None, incarnation: str, fence: int) -> Begun:
    """See to it that an incarnation begins nothing under a fence up to this one (nothing at all if it is dead), and read its marks.

    Where they are not readable nothing was revoked. A lower fence than before takes nothing back.
    """
    try:
        if folder is not None:
            with contextlib.closing(Segment.attach(segment_path(folder, incarnation, 0))) as first:
                return _revoke(folder, incarnation, fence, first)
    except (OSError, ValueError):
        pass
    return Begun(incarnation, readable=False, fences=frozenset())


def _revoke(folder: Path, incarnation: str, fence: int, first: Segment) -> Begun:
    first.check(0)
    with _shared(first.path) as dead:
        if dead:
            fence = ALL_FENCES
        if fence > first.words[_REVOKED_AT]:
            with _revoking(folder):
                first.words[_REVOKED_AT] = max(fence, first.words[_REVOKED_AT])
        revoked = first.words[_REVOKED_AT]
        barrier = threading.Lock()
        for _ in range(2):
            with barrier:
                pass
        fences: set[int] = set()
        for number, path in enumerate(segment_paths(folder, incarnation)[1:], 1):
            with contextlib.closing(Segment.attach(path)) as segment:
                fences.update(segment.read(number))
        fences.update(first.read(0))  # last: a sweep spoils it before it removes the others
    return Begun(incarnation, readable=True, fences=frozenset(fences), dead=dead, revoked=revoked)


def remove_marks(folder: Path, incarnation: str) -> None:
    """Remove the files of an incarnation; none is no error.

    The first is spoiled first and goes last: a rest is neither read as a whole nor forgotten.
    """
    with (
        contextlib.suppress(OSError, ValueError),
        contextlib.closing(Segment.attach(segment_path(folder, incarnation, 0))) as first,
    ):
        first.spoil()
    for path in reversed(segment_paths(folder, incarnation)):
        path.unlink(missing_ok=True)


def left_marks(folder: Path | None) -> list[str]:
    """Answer which incarnations are dead and have left marks, by name. Who lives holds a lock on its first file."""
    if folder is None:
        return []
    left = []
    for path in sorted(folder.glob("*.marks")):
        incarnation = unquote(path.name.removesuffix(".marks"))
        if path != segment_path(folder, incarnation, 0) or re.search(r"\.\d+$", incarnation):
            continue
        with _shared(path) as dead:
            if dead:
                left.append(incarnation)
    return left


def sweep_marks(folder: Path | None, incarnations: Iterable[str]) -> None:
    """Remove what those of these incarnations left that are dead, and old files that never got their names."""
    if folder is None:
        return
    for incarnation in incarnations:
        lock = FileLock.on(segment_path(folder, incarnation, 0))
        if lock is not None:
            remove_marks(folder, incarnation)
            lock.close()
    for path in folder.glob("*.marks.*.new"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - UNNAMED_S:
                path.unlink()


@contextlib.contextmanager
def _shared(path: Path) -> Iterator[bool]:
    """Answer whether nobody holds the lock on a file; then it is neither locked nor swept in here."""
    lock = FileLock.on(path, shared=True)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.close()


@contextlib.contextmanager
def _revoking(folder: Path) -> Iterator[None]:
    """Be the only one who revokes in this folder.

    Raises:
        TimeoutError: somebody else is at it, and does not end.
    """
    deadline = time.monotonic() + REVOKING_S
    while (lock := FileLock.on(folder)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{folder}: somebody else has been revoking for {REVOKING_S} s")
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        lock.close()


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


def _fence_at(index: int) -> int:
    return _HEADER_WORDS + 2 * (index % SLOTS) + 1


def _header(number: int) -> bytes:
    fields = (MAGIC, VERSION, number, SLOTS, boot_id().encode()[:40], _machine())
    checksum = zlib.crc32(_HEADER.pack(*fields, 0))
    return _HEADER.pack(*fields, checksum)


def _machine() -> bytes:
    return (machine_id().encode()[:56] + b" " + _ORDER)[:64]
