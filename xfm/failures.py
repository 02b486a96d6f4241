"""How a command of `xfm` that failed ends: one sentence on standard error, and an exit code."""

import os
import sys
import tempfile
import threading
import time
import traceback

from xfm.errors import XfmError

MISTAKE, FAULT, INTERRUPTED = 2, 1, 130  # of the user or the machine; of xfm itself; by Ctrl-C
SHOWN = "XFM_TRACEBACK"  # set to 1, the traceback of a fault is shown rather than written to a file
PATIENCE = 2.0  # seconds that threads of a failed command have to end


def failed(error: BaseException) -> int:
    """Says in one sentence what stopped a command; gives the exit code."""
    sentence, code = _explained(error)
    print("xfm:", " ".join(sentence.split()), file=sys.stderr, flush=True)
    give_up_output()
    return code


def give_up_output() -> None:
    """Drops what standard output no longer takes, as on a full disk, which Python would else complain of at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(code: int) -> int:
    """Ends the program with `code` at once if threads are left that would keep it; else returns `code`.

    Python waits at its end for every thread that is not a daemon, without limit. Orbax makes such threads; after a save
    that failed some may wait minutes for each other or for another host, and then print tracebacks of what has been
    reported. Nothing else is cut off: files are closed, what was said is flushed.
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
    """The sentence and the exit code."""
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
    """Shows the traceback, or writes it to a file, and says what to do with it."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get(SHOWN, "0") not in ("", "0"):
        print(text, file=sys.stderr, end="")
        return "please report it with the traceback above"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="xfm-fault-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError:  # a full disk, say
        return f"please report it with the traceback, which {SHOWN}=1 shows"
    return f"please report it with the traceback, which is in {file.name}"
