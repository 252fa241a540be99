"""What Linux knows about processes: trees, memory, CPU time (proc(5))."""

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; empty if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    fields = _stat_fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def tree(root: int) -> list[int]:
    """The process and all its running descendants, the root first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat_fields(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found = [root] if is_running(root) else []
    for pid in found:
        found += [child for child in children.get(pid, ()) if is_running(child)]
    return found


def _status_kib(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(key + ":")), 0)


def rss_mib(pids: list[int]) -> float:
    """Resident memory of the processes together, in MiB."""
    return sum(_status_kib(pid, "VmRSS") for pid in pids) / 1024


def peak_rss_mib(pids: list[int]) -> float:
    """Highest resident memory of each process so far, added up, in MiB."""
    return sum(_status_kib(pid, "VmHWM") for pid in pids) / 1024


def cpu_s(pids: list[int]) -> float:
    """User and system time of the processes together, in seconds (10 ms steps)."""
    ticks = 0
    for pid in pids:
        if fields := _stat_fields(pid):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def machine_s() -> float:
    """What all processors together were busy or taken away since the start of the machine, in seconds."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split(None, 9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def yield_to_others() -> None:
    """Let this process have only what others leave of the cores (sched(7), SCHED_IDLE).

    For clients that stand for other machines: what is measured is the broker, not the scheduler.
    """
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
