"""Builds amqpload and runs it against a peer."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "amqpload.c"
PROGRAM = HERE / "amqpload"
RUN_LIMIT_S = 300.0
IDLE_LIMIT_S = 60  # a broker that pages a deep backlog out may be silent for long

Result = dict[str, Any]  # amqpload's JSON object


class LoadError(Exception):
    """amqpload cannot be built, or a run gave no result."""


def build() -> None:
    """Compile amqpload unless it is newer than its source. Errors: LoadError with the reason."""
    if PROGRAM.exists() and PROGRAM.stat().st_mtime >= SOURCE.stat().st_mtime:
        return
    wanted = (os.environ.get("CC"), "cc", "gcc", "clang")
    compiler = next((path for name in wanted if name and (path := shutil.which(name))), None)
    if compiler is None:
        raise LoadError(
            "the load generator needs a C compiler and there is none "
            "(Debian, Ubuntu: apt install gcc libc6-dev; or set CC)"
        )
    command = [compiler, "-O2", "-g", "-std=gnu11", "-Wall", "-o", str(PROGRAM), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")


def command(port: int, pids: Sequence[int], arguments: Sequence[str]) -> list[str]:
    """The command line of one run; CPU time is counted for `pids`."""
    counted = ["--pid", ",".join(map(str, pids))] if pids else []
    limit = ["--idle-timeout", str(IDLE_LIMIT_S)]
    return [str(PROGRAM), "--port", str(port), *counted, *limit, *arguments]


def run(port: int, pids: Sequence[int], arguments: Sequence[str]) -> Result:
    """One run of amqpload; its checks are in `ok` and `stalled` of the result.

    Errors: LoadError when it gave no result (refused, closed by the server, time limit).
    """
    line = command(port, pids, arguments)
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise LoadError(f"no end after {RUN_LIMIT_S:.0f} s: {' '.join(line)}") from None
    if done.returncode not in (0, 2, 3):
        raise LoadError(f"{done.stderr.strip()[:500]} ({' '.join(line)})")
    result: Result = json.loads(done.stdout)
    return result
