"""One run at a time in a workdir: a lock file that names its holder and shows that the holder is alive.

The file is made with O_EXCL, which is atomic on local and on network file systems. Its holder renews the file's time
every few seconds. A lock is left over if its process is gone, which is known at once on the same machine, or if its
time has not been renewed for a while, whatever the machine; such a lock is taken over. Of several runs that find it so,
the one that makes a second file with O_EXCL, the claim, replaces the lock by its own. The lock is never absent in
between, so nobody else can make it.
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
    """The process that holds a lock.

    host: the name of its machine.  pid: its number.  born: what distinguishes it from a later process of that number.
    space: the namespace of process numbers; each container on a machine has its own.  since: date and time.
    token: a text that no other lock has.
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
            return False  # it exists and belongs to another user
        return self.born != _born(self.pid)


class Lock:
    """The lock of a workdir, held by process 0 of a run: `with Lock(workdir) as lock:`, `lock.check()` after each step.

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
        while not (self._made(own) or self._taken_over(own)):
            time.sleep(0.01)  # another one is taking the lock over, or has just removed it
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
        """Raises XfmError where another run has taken the workdir over, as it may if this process was suspended."""
        if self._lost is not None:
            raise XfmError(f"this run has lost its workdir {self.path.parent} {self._lost}; nothing more is written")

    def _made(self, own: Holder) -> bool:
        """Whether the file could be made, which only one process can."""
        try:
            file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._unwritable(error, "choose another") from None
        try:
            with open(file, "w") as text:
                text.write(json.dumps(dataclasses.asdict(own)))
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise self._unwritable(error, "make room") from None
        return True

    def _taken_over(self, own: Holder) -> bool:
        """Whether a lock that is left over could be replaced by one's own; XfmError where its holder may be at work."""
        holder = self._left_over()
        if holder is None:
            return False
        claim = self.path.with_name(f".{FILE}.claim")
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            if (age := self._age(claim)) is not None and age >= STALE:  # its maker ended before removing it
                claim.unlink(missing_ok=True)
            return False
        except OSError as error:
            raise self._unwritable(error, "choose another") from None
        try:
            if self._left_over() != holder:  # by now another one has taken it over
                return False
            draft = self.path.with_name(f".{FILE}.{own.token}")
            try:
                draft.write_text(json.dumps(dataclasses.asdict(own)))
                os.replace(draft, self.path)
            except OSError as error:
                draft.unlink(missing_ok=True)
                raise self._unwritable(error, "make room") from None
            return True
        finally:
            claim.unlink(missing_ok=True)

    def _left_over(self) -> tuple[Holder | None] | None:
        """(holder,) of a lock that is left over, (None,) where its file is damaged; None where there is no lock.

        Raises XfmError where the lock's holder may be at work.
        """
        holder, age = _read(self.path), self._age(self.path)
        if age is None:
            return None
        if age >= STALE or (holder is not None and holder.gone()):
            return (holder,)
        who = "another run" if holder is None else f"process {holder.pid} on {holder.host} since {holder.since}"
        raise XfmError(
            f"{self.path.parent} is in use by {who} (its last sign of life was {age:.0f} s ago): wait for it to "
            f"end, or take another workdir; if that process is gone, remove {self.path}, which is otherwise taken "
            f"over {STALE:.0f} s after the last sign of life"
        )

    def _unwritable(self, error: OSError, advice: str) -> XfmError:
        return XfmError(f"cannot write to the workdir {self.path.parent}: {error.strerror}; {advice}")

    def _age(self, file: Path) -> float | None:
        """Seconds since a file's last renewal, by the clock of the file system; None if it is not there."""
        probe = self.path.with_name(f".{FILE}.{uuid.uuid4().hex}")
        try:
            probe.touch()
            return max(probe.stat().st_mtime - file.stat().st_mtime, 0.0)
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
            with contextlib.suppress(OSError):  # not there for a while, or removed by hand
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
        return "ended" if state in "ZX" else f"{boot}/{rest[18]}"  # a zombie has ended, unnoticed by its parent
    return ""


def _space() -> str:
    """The namespace in which this process is numbered; empty where that is not known."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""
