"""Transcripts: what a client sends and what the broker answers, as text that a user could read.

    == Declaring a queue twice with other flags
    C login ch1
    C ch1 queue.declare queue=q1
    S ch1 queue.declare-ok queue=q1 message_count=0 consumer_count=0
    C ch1 queue.declare queue=q1 durable=1
    S ch1 channel.close 406 "PRECONDITION_FAILED - inequivalent arg ..." (queue.declare)

A line `== title` starts a section; each section starts with no connection and leaves no queue behind.
C lines are sent, S lines are what came back before the next C line. `C.B` and `S.B` are a second connection.

    C connect                      open TCP and send nothing
    C connect until=start          open TCP and do the handshake until connection.start (or tune) has come
    C login ch1 ch2 heartbeat=10   open TCP, do the whole handshake, open channels; options as in wire.Wire.login
    C ch1 METHOD field=value ...   a method; fields not given are zero or empty; `_ticket=1` sets a reserved one
    C ch1 METHOD ... | body=x p=v  a method, its content header with properties, and its body
    C ch1 header size=5 p=v ...    a content header frame alone (class=60 weight=0)
    C ch1 body text                a body frame alone
    C ch1 heartbeat                a heartbeat frame
    C ch1 frame type=9 payload=text [end=0]     any frame
    C raw 414d5150                 any bytes
    C ch1 sync                     a harmless request and its answer, so that all before it has been read; not shown
    C ch1 reopen                   channel.close-ok and channel.open after the broker closed a channel
    C ch1 drain                    basic.get of all messages of all queues of this section, shown as one line
    C ch1 confirms 3-8             wait for these confirms, however the broker groups them, shown as one line
    C ctl add_user alice secret    a command of rabbitmqctl (control.py); what it has made goes with the section
    C wait 50                      wait milliseconds (for things that expire); on Mansio a virtual clock is moved on
    C close                        close the socket
    C+ ...                         as C, but sent in one write together with the next C line
    C~ ...                         as C; RabbitMQ answers after seconds

    S ch1 METHOD field=value ... | body=... properties, and frames=3 when the body came in several frames
    S ch1 channel.close CODE "TEXT" (method that failed, or 0.0)
    S raw 414d5150                 bytes that are no frame
    S closed                       the broker closed the connection (not shown behind a connection.close of its own
                                   that nobody answered: whether it waits for the answer is its own affair)

Within one step, S lines are in order per channel and sorted by connection and channel. Names that the broker makes
up are shown as $gen1 (amq.gen-...), $ctag1 (amq.ctag-...), $reply1 (direct reply-to), $any (text of its own choice)
and are used like that in C lines; the time in an x-death header is shown as T:$now, and a C line may say T:$now or
T:$now-5 for the broker's time in seconds. Where Mansio differs on purpose,
the step says why, and what Mansio answers:

    # differs on Mansio: why
    M ch1 ...

A section that Mansio cannot play yet says so before its first step, or a file on top for all of its sections:

    # not on Mansio: why

On Mansio, the sections of a file that says on top `# one turn per step on Mansio`, and all that wait or are operated
on, are played without sockets (virtual.py): what follows from a step has happened before the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

DIFFERS = "# differs on Mansio:"
ABSENT = "# not on Mansio:"
TURNS = "# one turn per step on Mansio"
FOLDER = Path(__file__).resolve().parent.parent / "testdata" / "amqp"


@dataclass(slots=True)
class Step:
    """One C line, with the comments before it and the lines after it (each as written, `S ...` or `M ...`)."""

    before: list[str]
    client: str
    server: list[str] = field(default_factory=list)
    differs: str | None = None
    mansio: list[str] = field(default_factory=list)

    def expected(self, on_mansio: bool) -> list[str]:
        """The S lines to be expected from RabbitMQ or from Mansio."""
        if on_mansio and self.differs is not None:
            return ["S" + line[1:] for line in self.mansio]
        return self.server

    def lines(self) -> list[str]:
        """The step as it stands in the file."""
        differs = [] if self.differs is None else [self.differs]
        return [*self.before, self.client, *self.server, *differs, *self.mansio]


@dataclass(slots=True)
class Section:
    """A title, its steps and the comments behind the last step."""

    title: str
    steps: list[Step] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)  # comments on top of the file

    @property
    def absent(self) -> str | None:
        """Why this section is not replayed on Mansio, or None."""
        comments = [*(self.steps[0].before if self.steps else []), *self.head]
        reasons = [line[len(ABSENT) :].strip() for line in comments if line.startswith(ABSENT)]
        return reasons[0] if reasons else None

    @property
    def virtual(self) -> bool:
        """Whether it is played on Mansio without sockets."""
        waits = any(step.client.split()[1] in ("wait", "ctl") for step in self.steps)
        return waits or TURNS in self.head

    def lines(self) -> list[str]:
        """The section as it stands in the file."""
        steps = [line for step in self.steps for line in step.lines()]
        return [f"== {self.title}", *steps, *self.after]


@dataclass(slots=True)
class Transcript:
    """A file: its head (comments) and its sections."""

    head: list[str]
    sections: list[Section]

    def text(self) -> str:
        """The file's text."""
        lines = [*self.head, *(line for section in self.sections for line in section.lines())]
        return "\n".join(lines) + "\n"


def parse(text: str) -> Transcript:
    """Read a transcript; raises ValueError with the line number for a line that is none of the known kinds."""
    transcript = Transcript([], [])
    loose = transcript.head
    step: Step | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("== "):
            if transcript.sections:
                transcript.sections[-1].after = loose
            transcript.sections.append(Section(line[3:], head=transcript.head))
            step, loose = None, []
        elif re.match(r"C[+~]?(\.[A-Z])? ", line) and transcript.sections:
            step = Step(loose, line)
            transcript.sections[-1].steps.append(step)
            loose = []
        elif line.startswith(DIFFERS) and step is not None:
            step.differs = line
        elif re.match(r"[SM](\.[A-Z])? ", line) and step is not None:
            (step.server if line[0] == "S" else step.mansio).append(line)
        elif not line or line.startswith("#"):
            loose.append(line)
        else:
            raise ValueError(f"line {number} is not a transcript line: {line}")
    if transcript.sections:
        transcript.sections[-1].after = loose
    return transcript


def differences(transcript: Transcript) -> list[tuple[str, str]]:
    """(section title, why) of every deliberate difference in a transcript, for the documentation."""
    found = [(s.title, s.absent) for s in transcript.sections if s.absent is not None]
    for section in transcript.sections:
        for step in section.steps:
            if step.differs is not None:
                found.append((section.title, step.differs[len(DIFFERS) :].strip()))
    return found


def all_files() -> list[Path]:
    """Every transcript, in order of name."""
    return sorted(FOLDER.glob("*.txt"))
