"""Records transcripts from RabbitMQ: plays the C lines of each file and rewrites its S lines.

    python -m tests.interop.record                    all files, from a RabbitMQ of its own
    python -m tests.interop.record queue.txt          some of them
    python -m tests.interop.record --port 5672 ...    from a RabbitMQ that is running
    python -m tests.interop.record --diff --port N    replay on a running Mansio, show differences
    python -m tests.interop.record --deliberate       list the differences that are meant, and why

Comments, C lines and M lines stay as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.interop.peer import HOST, rabbitmq
from tests.interop.place import Place, Sockets
from tests.interop.replay import play, replay_section
from tests.interop.transcript import FOLDER, all_files, differences, parse

QUIET_SECONDS = 0.2


def record_file(path: Path, place: Place, quiet_seconds: float) -> int:
    """Rewrite the S lines of one file; how many sections could not be played to their end."""
    transcript = parse(path.read_text())
    failed = 0
    for section in transcript.sections:
        answers = play(section, place, on_mansio=False, quiet_seconds=quiet_seconds)
        for step, answer in zip(section.steps, answers, strict=False):
            step.server = answer
            if any(line.startswith("S !!") for line in answer):
                failed += 1
                print(f"{path.name}: {section.title}: {step.client}: {answer}", file=sys.stderr)
    path.write_text(transcript.text())
    return failed


def compare_file(path: Path, place: Place) -> int:
    """Print how a running Mansio differs from one file; in how many sections it does."""
    differing = 0
    for section in parse(path.read_text()).sections:
        if section.absent is not None:
            continue
        diff = replay_section(section, place, on_mansio=True)
        if diff:
            differing += 1
            print(f"#### {path.name}: {section.title}", *diff[2:], sep="\n", end="\n\n")
    return differing


def list_deliberate(paths: list[Path]) -> None:
    """Print why Mansio differs, and in which sections, as a Markdown list."""
    reasons: dict[str, list[str]] = {}
    for path in paths:
        for title, why in differences(parse(path.read_text())):
            places = reasons.setdefault(why, [])
            if f"{path.stem}: {title}" not in places:
                places.append(f"{path.stem}: {title}")
    for why, places in reasons.items():
        print(f"- {why}", *(f"  - {place}" for place in places), sep="\n")


@contextlib.contextmanager
def broker_at(port: int, management_port: int) -> Iterator[Place]:
    """A broker that is running, or a RabbitMQ of our own for port 0."""
    if port:
        yield Sockets(HOST, port, management_port)
    else:
        with rabbitmq() as peer:
            yield Sockets(peer.host, peer.port, peer.management_port)


def main() -> int:
    """Command line."""
    usage = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    usage.add_argument("files", nargs="*", help="names of files in tests/testdata/amqp")
    usage.add_argument("--port", type=int, default=0)
    usage.add_argument("--management-port", type=int, default=0, help="of RabbitMQ's HTTP API")
    usage.add_argument("--quiet", type=float, default=QUIET_SECONDS, help="silence per step, in s")
    usage.add_argument("--diff", action="store_true", help="replay on Mansio, write nothing")
    usage.add_argument("--deliberate", action="store_true", help="list deliberate differences")
    given = usage.parse_args()
    files = [FOLDER / name for name in given.files] or all_files()
    if given.deliberate:
        list_deliberate(files)
        return 0
    with broker_at(given.port, given.management_port) as place:
        if given.diff:
            count = sum(compare_file(path, place) for path in files)
            print(f"{count} sections differ")
        else:
            count = sum(record_file(path, place, given.quiet) for path in files)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
