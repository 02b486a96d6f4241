"""The memory of this machine, by which arrays that cannot fit are refused before they are made."""

import ctypes
import os
import sys
from pathlib import Path

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # files with a container's limit

# glibc's malloc.h: M_ARENA_MAX, M_MMAP_MAX (no blocks of their own), M_TRIM_THRESHOLD (nothing is given back)
ONE_HEAP = ((-8, 1), (-4, 0), (-1, 2**31 - 1))


def host_memory() -> int:
    """The bytes of main memory that this process can use: the machine's, or its container's limit."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, LIMITS):
        text = file.read_text().strip() if file.is_file() else ""
        sizes += [int(text)] if text.isdecimal() else []
    return min(sizes)


def in_bytes(number: int) -> str:
    """A number of bytes in words, such as "1.5 GB" (powers of ten)."""
    for unit, size in (("PB", 10**15), ("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}" if number < 10**18 else f"{number / size:.1e} {unit}"
    return f"{number / 1000:.1f} kB"


def reuse_pages(most_cores: int = 8) -> bool:
    """Makes the C library keep what is freed for what is allocated next; returns whether it does so from now on.

    XLA allocates the temporaries of each call anew. By default glibc maps large blocks afresh each time, and the kernel
    fills every page with zeros: 24 % of the processor time of a training step of text/bert:tiny. One heap that is never
    trimmed reuses them. Threads then share one lock of the allocator, so machines of more than `most_cores` cores are
    left as they are. It must run before the first thread of XLA starts, and does nothing without glibc.
    """
    if not sys.platform.startswith("linux") or (os.cpu_count() or 1) > most_cores:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(option, value) for option, value in ONE_HEAP])
