"""Plays a section of a transcript against a broker: to record it, or to compare."""

from __future__ import annotations

import difflib
import re
from collections import Counter

from tests.interop.listener import Heard
from tests.interop.place import Place
from tests.interop.session import Session
from tests.interop.transcript import Section, Step

ANSWER_SECONDS_MAX = 4.0
SLOW_SECONDS = 4.5  # RabbitMQ closes some connections after 3 s
RABBITMQ_PACE_SECONDS = 0.05
NEWER = re.compile(r' x-last-death-\w+=("[^"]*"|[^ }]*)')
"""Headers that Mansio writes and RabbitMQ has since 3.13; what they say is tested elsewhere."""


def play(
    section: Section, place: Place, on_mansio: bool, quiet_seconds: float | None = None
) -> list[list[str]]:
    """Play a section; the S lines that came back after each step.

    quiet_seconds None replays: each step waits until the lines that the transcript expects have
    arrived, and the play ends early when they do not come. Otherwise it records: each step waits
    until nothing came for so long. A line `S !! text` says that the script itself cannot go on.
    """
    session = Session(place)
    answers: list[list[str]] = []
    try:
        for step in section.steps:
            try:
                session.do(step.client)
            except (AssertionError, OSError) as error:
                answers.append([f"S !! {error}"])
                break
            if quiet_seconds is None:
                found, complete = hear_expected(session, step, on_mansio)
            else:
                slow = step.client.startswith("C~")
                found, complete = session.hear_all(SLOW_SECONDS if slow else quiet_seconds), True
            lines = [heard.line for heard in sorted(found, key=lambda heard: heard.place)]
            answers.append([NEWER.sub("", line) for line in lines])
            if not complete:
                break
    finally:
        late = session.finish()
    if answers:
        answers[-1] += [heard.line for heard in late]
    return answers


def hear_expected(session: Session, step: Step, on_mansio: bool) -> tuple[list[Heard], bool]:
    """Wait for as many lines per connection as expected, then take what else is there.

    Answers the lines, and whether as many came as were expected. On RabbitMQ a step that expects
    nothing waits a moment: its processes work in no fixed order.
    """
    expected = step.expected(on_mansio)
    labels = Counter(line.partition(" ")[0].partition(".")[2] for line in expected)
    found: list[Heard] = []
    for label, count in labels.items():
        found += session.hear(label, count, ANSWER_SECONDS_MAX)
    complete = len(found) >= len(expected)
    pace_seconds = 0.0 if on_mansio or expected else RABBITMQ_PACE_SECONDS
    return found + session.hear_all(pace_seconds), complete


def replay_section(section: Section, place: Place, on_mansio: bool) -> list[str]:
    """Unified diff between a section and what a broker answers now; empty when they agree."""
    answers = play(section, place, on_mansio)
    expected: list[str] = []
    actual: list[str] = []
    for index, step in enumerate(section.steps):
        expected += [step.client, *step.expected(on_mansio)]
        if index < len(answers):
            actual += [step.client, *answers[index]]
    if expected == actual:
        return []
    return list(difflib.unified_diff(expected, actual, "transcript", "broker", lineterm="", n=4))
