"""One run at a time in a workdir: a lock file that names its holder and shows that the holder is alive.

The file is made with O_EXCL, which is atomic on local and on network file systems. Its holder renews the file's time
every few seconds. A lock is left over if its process is gone, which is known at once on the same machine, or if its
time has not been renewed for a while, whatever the machine; a lock that is left over is taken over.
"""

import contextlib
import dataclasses
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path

import jax

from xfm.errors import XfmError

FILE = "run.lock"
RENEWED, STALE = 15.0, 120.0  # seconds between two renewals, and without one until a lock is left over


@dataclasses.dataclass(frozen=True)
class Holder:
    """host: its name.  pid: of the process.  born: what tells it from a later process of the same number.

    space: in which processes are numbered; containers on one host number theirs each for itself.  since: date and
    time.  token: of this lock, unlike any other.
    """

    host: str
    pid: int
    born: str
    space: str
    since: str
    token: str

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        pid, since = os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(socket.gethostname(), pid, _born(pid), _space(), since, uuid.uuid4().hex)

    def gone(self) -> bool:
        """Whether the process is known to have ended; False where it cannot be known from here."""
        if (self.host, self.space) != (socket.gethostname(), _space()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False  # it is there, of another user
        return self.born != _born(self.pid)


class Lock:
    """`with Lock(workdir) as lock:`, held by process 0 of a run; `lock.check()` after each step.

    Raises XfmError, which names the holder, where another run holds the workdir.
    """

    def __init__(self, workdir: Path):
        self.path = Path(workdir) / FILE
        self._own: Holder | None = None
        self._lost: str | None = None
        self._end = threading.Event()

    def __enter__(self) -> "Lock":
        if jax.process_index() != 0:
            return self
        own = Holder.here()
        while not self._made(own):
            self._clear()
        self._own = own
        threading.Thread(target=self._renew, name="xfm lock", daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        if self._own is not None and _read(self.path) == self._own:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._own = None

    def check(self) -> None:
        """Raises XfmError where another run has taken the workdir over, as when this process was asleep for long."""
        if self._lost is not None:
            raise XfmError(f"this run has lost its workdir {self.path.parent} {self._lost}; nothing more is written")

    def _made(self, own: Holder) -> bool:
        """Whether the file could be made, which only one process can."""
        try:
            file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except OSError as error:
            raise XfmError(
                f"cannot write to the workdir {self.path.parent}: {error.strerror}; choose another"
            ) from None
        try:
            with open(file, "w") as text:
                text.write(json.dumps(dataclasses.asdict(own)))
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise XfmError(f"cannot write to the workdir {self.path.parent}: {error.strerror}; make room") from None
        return True

    def _clear(self) -> None:
        """Moves a lock that is left over out of the way; XfmError where its holder may be at work."""
        holder, age = _read(self.path), self._age()
        if age is None:
            return  # removed just now
        if age < STALE and not (holder is not None and holder.gone()):
            who = "another run" if holder is None else f"process {holder.pid} on {holder.host} since {holder.since}"
            raise XfmError(
                f"{self.path.parent} is in use by {who} (its last sign of life was {age:.0f} s ago): wait for it to "
                f"end, or take another workdir; if that process is gone, remove {self.path}, which is otherwise taken "
                f"over {STALE:.0f} s after the last sign of life"
            )
        # Another run may find the same lock and be faster: then what is moved is its lock, and is put back.
        aside = self.path.with_name(f".{FILE}.{uuid.uuid4().hex}")
        if _read(self.path) != holder:
            return
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, aside)
            if _read(aside) != holder:
                with contextlib.suppress(OSError):
                    os.link(aside, self.path)
            aside.unlink()

    def _age(self) -> float | None:
        """Seconds since the lock's last renewal, by the clock of the file system; None if it is not there."""
        probe = self.path.with_name(f".{FILE}.{uuid.uuid4().hex}")
        try:
            probe.touch()
            return max(probe.stat().st_mtime - self.path.stat().st_mtime, 0.0)
        except FileNotFoundError:
            return None
        finally:
            probe.unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._end.wait(RENEWED):
            holder = _read(self.path)
            if holder is not None and holder != self._own and not self._end.is_set():
                self._lost = f"to process {holder.pid} on {holder.host}"
                return
            with contextlib.suppress(OSError):  # a file system that is away for a while, or a lock removed by hand
                os.utime(self.path)


def _read(path: Path) -> Holder | None:
    """Who holds a lock; None for a file that is absent, being written or damaged."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _born(pid: int) -> str:
    """When a process started, as Linux counts it; empty where that is not known."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # a name may hold blanks
        return "ended" if state in "ZX" else f"{boot}/{rest[18]}"  # a zombie has ended, and is only not buried
    return ""


def _space() -> str:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""
