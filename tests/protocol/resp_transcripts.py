"""Transcripts of what a Redis server answers: reading, replaying and writing them. See testdata/redis/session.txt."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mansio.codec.resp import split_line
from tests.protocol.resp_talk import command

FOLDER = Path(__file__).resolve().parents[1] / "testdata/redis"
STEP = re.compile(r"([a-z])> (.*)")
HEARD = re.compile(r"([23])([a-z])< (.*)")

Heard = list[tuple[str, bytes]]
"""(client, what it heard behind one command)."""


class Section:
    """Commands of some clients: each with what was heard, by protocol."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.steps: list[tuple[str, str]] = []
        self.heard: dict[int, list[Heard]] = {2: [], 3: []}


def read(path: Path) -> list[Section]:
    """The sections of a transcript."""
    sections: list[Section] = []
    for line in path.read_text("ascii").splitlines():
        if line.startswith("---"):
            sections.append(Section(line[3:].strip()))
        elif (step := STEP.fullmatch(line)) is not None:
            sections[-1].steps.append((step[1], step[2]))
            for heard in sections[-1].heard.values():
                heard.append([])
        elif (said := HEARD.fullmatch(line)) is not None:
            sections[-1].heard[int(said[1])][-1].append((said[2], unescape(said[3])))
    return sections


def write(path: Path, sections: list[Section]) -> None:
    """Writes it anew; comments at its head stay."""
    lines = [line for line in path.read_text("ascii").splitlines() if line.startswith("#")]
    for section in sections:
        lines.append(f"--- {section.title}")
        for i, (client, words) in enumerate(section.steps):
            lines.append(f"{client}> {words}")
            for proto, heard in section.heard.items():
                lines += [f"{proto}{who}< {escape(data)}" for who, data in heard[i]]
    path.write_text("\n".join(lines) + "\n", "ascii")


def clients(section: Section) -> list[str]:
    """Their names, in order."""
    return sorted({client for client, _ in section.steps})


def octets(words: str) -> bytes:
    """The command of a line, in quotes and escapes as in redis-cli."""
    args = split_line(words.encode("ascii"))
    assert args, words
    return command(*args)


def escape(data: bytes) -> str:
    """On one line, in ASCII."""
    return data.decode("latin-1").encode("unicode_escape").decode("ascii")


def unescape(text: str) -> bytes:
    """The opposite of `escape`."""
    return text.encode("ascii").decode("unicode_escape").encode("latin-1")


def play(
    section: Section, send: Callable[[str, bytes], None], hear: Callable[[str], bytes]
) -> Iterator[tuple[int, Heard]]:
    """Sends step by step; answers the number of each and what all clients heard behind it."""
    for i, (client, words) in enumerate(section.steps):
        send(client, octets(words))
        heard = [(who, hear(who)) for who in clients(section)]
        yield i, [(who, data) for who, data in heard if data]
