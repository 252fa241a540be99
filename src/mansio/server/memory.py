"""Memory of the process: how much there may be, how much there is, and when it goes back.

glibc gives the top of its heap back to the kernel whenever 128 KiB of it are free, and takes it
again at the next burst; in a broker that cost a factor of 2 to 3. `tune_allocator` makes it keep
the heap, and `Trimmer` gives it back when the broker is idle after much was freed.
"""

import ctypes
import sys
from pathlib import Path
from typing import ClassVar, Final

MIB: Final = 1 << 20

# mallopt(3); 32 MiB is the highest threshold that glibc accepts on 64 bits.
_MALLOPT: Final = {
    -3: 32 * MIB,  # M_MMAP_THRESHOLD: smaller blocks come from the heap, without a system call
    -1: 64 * MIB,  # M_TRIM_THRESHOLD: free memory at the top of the heap that is kept
    -2: 1 * MIB,  # M_TOP_PAD: by how much more than needed the heap grows
}

TRIM_GROWTH_BYTES: Final = 16 * MIB
"""Idle trimming starts when the process has grown by this much since the last one."""
TRIM_FREE_BYTES: Final = 16 * MIB
"""… and at least this much lies free in the heap."""
IDLE_SHARE_MAX: Final = 0.05
"""A process that used less than this share of one core since the last look is idle."""


_MALLINFO2: Final = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd",
    "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


class _Mallinfo2(ctypes.Structure):
    """struct mallinfo2 of mallinfo(3), glibc 2.33 and newer."""

    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in _MALLINFO2]


def _glibc() -> ctypes.CDLL | None:
    """The C library if it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def tune_allocator() -> bool:
    """Set glibc's thresholds; False where there is another C library."""
    library = _glibc()
    return library is not None and all(library.mallopt(*option) for option in _MALLOPT.items())


def resident_bytes() -> int:
    """Memory of this process that lies in RAM; 0 where the system does not say (no /proc)."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        return 0
    return int(pages) * _PAGE_BYTES


def _page_bytes() -> int:
    import resource

    return resource.getpagesize()


_PAGE_BYTES: Final = _page_bytes()


def available_bytes(root: str = "/") -> int:
    """Memory that this machine has, or this process's container if it is allowed less.

    Reads /proc/meminfo and the limits of control groups, versions 2 and 1; `root` is for tests.
    Where nothing says, 1 GiB is assumed.
    """
    found = []
    for line in _lines(Path(root, "proc/meminfo")):
        if line.startswith("MemTotal:"):
            found.append(int(line.split()[1]) * 1024)
    for line in _lines(Path(root, "proc/self/cgroup")):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            base, name = Path(root, "sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            base, name = Path(root, "sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        group = base / path.strip().lstrip("/")
        # A limit of an outer group holds too; inside a container the path may lead nowhere.
        for folder in {base, group, *(p for p in group.parents if p.is_relative_to(base))}:
            found += [int(text) for text in _lines(folder / name) if text.strip().isdigit()]
    return min(found, default=1 << 30)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def watermark_bytes(setting: float | int) -> int:
    """`memory_high_watermark` in bytes: a float is a fraction of what is available."""
    return int(setting * available_bytes()) if isinstance(setting, float) else setting


class Trimmer:
    """Gives freed memory back to the kernel (malloc_trim): at once what starting has left, the rest when the broker is
    idle."""

    def __init__(self) -> None:
        library = _glibc()
        self._library = library if library is not None and hasattr(library, "mallinfo2") else None
        if self._library is not None:
            self._library.mallinfo2.restype = _Mallinfo2
            self._library.malloc_trim(0)
        self._kept_bytes = resident_bytes()
        self._seen_ns = self._seen_cpu_ns = 0

    def tick(self, now_ns: int, cpu_ns: int) -> bool:
        """Trim if due; True if it was done. `cpu_ns` is the process's CPU time so far."""
        elapsed, used = now_ns - self._seen_ns, cpu_ns - self._seen_cpu_ns
        self._seen_ns, self._seen_cpu_ns = now_ns, cpu_ns
        if self._library is None or used > elapsed * IDLE_SHARE_MAX:
            return False
        resident = resident_bytes()
        self._kept_bytes = min(self._kept_bytes, resident)
        if resident < self._kept_bytes + TRIM_GROWTH_BYTES:
            return False
        if self._library.mallinfo2().fordblks < TRIM_FREE_BYTES:
            return False
        self._library.malloc_trim(0)
        self._kept_bytes = resident_bytes()
        return True
