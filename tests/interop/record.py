"""Records transcripts from RabbitMQ: plays the C lines of each file and rewrites its S lines.

    python -m tests.interop.record                    all files, from a RabbitMQ of its own
    python -m tests.interop.record queue.txt          some of them
    python -m tests.interop.record --port 5672 ...    from a broker that is running
    python -m tests.interop.record --diff --port N    replay on a running Mansio and show the differences

Comments, C lines and M lines stay as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.interop.peer import HOST, rabbitmq
from tests.interop.session import play
from tests.interop.transcript import FOLDER, Section, all_files, parse

QUIET_SECONDS = 0.12


def record_file(path: Path, host: str, port: int, quiet_seconds: float) -> None:
    """Rewrite the S lines of one file."""
    transcript = parse(path.read_text())
    for section in transcript.sections:
        answers = play(section, host, port, on_mansio=False, quiet_seconds=quiet_seconds)
        for step, answer in zip(section.steps, answers, strict=False):
            step.server = answer
            if any(line.startswith("S !!") for line in answer):
                print(f"{path.name}: {section.title}: {step.client}: {answer}", file=sys.stderr)
    path.write_text(transcript.text())


def replay_section(section: Section, host: str, port: int, on_mansio: bool) -> list[str]:
    """Unified diff between a section and what a broker answers now; empty when they agree."""
    answers = play(section, host, port, on_mansio)
    expected: list[str] = []
    actual: list[str] = []
    for index, step in enumerate(section.steps):
        expected += [step.client, *step.expected(on_mansio)]
        if index < len(answers):
            actual += [step.client, *answers[index]]
    if expected == actual:
        return []
    return list(difflib.unified_diff(expected, actual, "transcript", "broker", lineterm="", n=4))


@contextlib.contextmanager
def broker_at(port: int) -> Iterator[tuple[str, int]]:
    """A broker that is running, or a RabbitMQ of our own for port 0."""
    if port:
        yield HOST, port
    else:
        with rabbitmq() as peer:
            yield peer.host, peer.port


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--quiet", type=float, default=QUIET_SECONDS, help="seconds of silence per step")
    parser.add_argument("--diff", action="store_true", help="replay on Mansio, write nothing")
    parser.add_argument("--rabbitmq", action="store_true", help="with --diff: replay on RabbitMQ")
    given = parser.parse_args()
    files = [FOLDER / name for name in given.files] or all_files()
    count = 0
    with broker_at(given.port) as (host, port):
        for path in files:
            if not given.diff:
                record_file(path, host, port, given.quiet)
                continue
            for section in parse(path.read_text()).sections:
                if section.absent is not None and not given.rabbitmq:
                    continue
                diff = replay_section(section, host, port, on_mansio=not given.rabbitmq)
                count += bool(diff)
                if diff:
                    print(f"#### {path.name}: {section.title}", *diff[2:], sep="\n", end="\n\n")
    if given.diff:
        print(f"{count} sections differ")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
