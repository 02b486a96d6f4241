"""How a failed command ends: with one sentence on standard error, and an exit code."""

import os
import sys
import tempfile
import threading
import time
import traceback

from xfm.errors import XfmError

MISTAKE, FAULT, INTERRUPTED = 2, 1, 130  # exit codes: user or machine, xfm itself, Ctrl-C
SHOWN = "XFM_TRACEBACK"  # if set to 1, the traceback of a fault is printed instead of written to a file
PATIENCE = 2.0  # seconds that threads have to end after a failed command


def failed(error: BaseException) -> int:
    """Prints one sentence about the error that stopped a command; returns the exit code."""
    sentence, code = _explained(error)
    print("xfm:", " ".join(sentence.split()), file=sys.stderr, flush=True)
    give_up_output()
    return code


def give_up_output() -> None:
    """Discards output that cannot be written, as on a full disk, since Python would report it again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(code: int) -> int:
    """Returns `code`, or exits with it at once if other threads are still running after PATIENCE seconds.

    When Python exits it waits without limit for every thread that is not a daemon. Orbax has such threads; after a
    failed save they may wait minutes for each other or for another host, and then print tracebacks of an error that has
    already been reported.
    """
    end = time.monotonic() + PATIENCE
    while _left() and time.monotonic() < end:
        time.sleep(0.02)
    if _left():
        sys.stderr.flush()
        os._exit(code)
    return code


def _left() -> list[threading.Thread]:
    mine = threading.current_thread()
    return [one for one in threading.enumerate() if one is not mine and not one.daemon and one.is_alive()]


def _explained(error: BaseException) -> tuple[str, int]:
    """The sentence about an error, and the exit code."""
    if isinstance(error, XfmError):
        return str(error), MISTAKE
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror or _first_line(error)}", MISTAKE
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return (
            f"the memory is full ({_first_line(error)}); lower config.batch or data.length, or raise accumulate",
            MISTAKE,
        )
    return f"a fault of xfm itself, {type(error).__name__}: {_first_line(error)}; {_kept_traceback(error)}", FAULT


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _kept_traceback(error: BaseException) -> str:
    """Prints the traceback or writes it to a file; returns words that tell the user what to do with it."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get(SHOWN, "0") not in ("", "0"):
        print(text, file=sys.stderr, end="")
        return "please report it with the traceback above"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="xfm-fault-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError:  # such as a full disk
        return f"please report it with the traceback, which {SHOWN}=1 shows"
    return f"please report it with the traceback, which is in {file.name}"
