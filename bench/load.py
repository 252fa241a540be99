"""Builds the load generators and runs them against a peer."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "amqpload"
NATS_PROGRAM = HERE / "natsload"
REDIS_PROGRAM = HERE / "redisload"
SHARED = HERE / "loadgen.h"
WITH_TLS = ("-DWITH_TLS", "-lssl", "-lcrypto")
RUN_LIMIT_S = 300.0
IDLE_LIMIT_S = 60  # a broker that pages a deep backlog out may be silent for long

Result = dict[str, Any]  # a generator's JSON object


class LoadError(Exception):
    """A generator cannot be built, or a run gave no result."""


def build() -> None:
    """Compile what is older than its source. Errors: LoadError with the reason."""
    for program in (PROGRAM, NATS_PROGRAM, REDIS_PROGRAM):
        _build(program, program.with_suffix(".c"))


def _build(program: Path, source: Path) -> None:
    newest = max(path.stat().st_mtime for path in (source, SHARED))
    if program.exists() and program.stat().st_mtime >= newest:
        return
    wanted = (os.environ.get("CC"), "cc", "gcc", "clang")
    compiler = next((path for name in wanted if name and (path := shutil.which(name))), None)
    if compiler is None:
        raise LoadError(
            "the load generator needs a C compiler and there is none "
            "(Debian, Ubuntu: apt install gcc libc6-dev; or set CC)"
        )
    line = [compiler, "-O2", "-g", "-std=gnu11", "-Wall", "-o", str(program), str(source)]
    for more in ([*WITH_TLS], []):  # OpenSSL's headers may be missing
        done = subprocess.run([*line, *more], capture_output=True, text=True, check=False)
        if not done.returncode:
            break
    else:
        raise LoadError(f"{' '.join(line)} failed:\n{done.stderr.strip()}")


def command(
    port: int, pids: Sequence[int], arguments: Sequence[str], program: Path = PROGRAM
) -> list[str]:
    """The command line of one run; CPU time is counted for `pids`."""
    counted = ["--pid", ",".join(map(str, pids))] if pids else []
    limit = ["--idle-timeout", str(IDLE_LIMIT_S)]
    return [str(program), "--port", str(port), *counted, *limit, *arguments]


def result_of(line: Sequence[str]) -> Result:
    """Run a command whose output is a generator's; its checks are in `ok` and `stalled`.

    Errors: LoadError when it gave no result (refused, closed by the server, time limit).
    """
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


def run(port: int, pids: Sequence[int], arguments: Sequence[str]) -> Result:
    """One run of amqpload. Errors: LoadError, as of result_of()."""
    return result_of(command(port, pids, arguments))
