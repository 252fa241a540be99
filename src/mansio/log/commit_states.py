"""The states of group commit, and what leads from one to another.

State      what is going on                                   what the driver does next
OPEN       nothing in flight                                  take, when something is pending
IN_FLIGHT  entries were taken and are being appended          report appended or failed, or take more
UNKNOWN    the append failed, and its entry may have landed   read the log's tail, tail_read
RESEND     what is in flight did not land, it must be next    take gives the same bytes again
BLOCKED    the same, for want of room                         retry, after a while or after trim
FATAL      the log is not ours any more, or is damaged        take_failed, and stop

Event        call                what it means
ADD          add                 a turn had records
TAKE         take                it gave an entry (where it gives None, it is no event)
APPENDED     appended            the first append in flight returned
UNAVAILABLE  failed(Unavailable) its outcome is unknown, or the tail cannot be read yet
FULL         failed(Full)        no room, the entry did not land
REFUSED      failed(any other)   Fenced, Damaged, or an error that no engine should raise
LANDED       tail_read           the last entry of the log is one of those in flight
ABSENT       tail_read           nothing has landed since the last entry that we know
FOREIGN      tail_read           something else is behind the last entry that we know
RETRY        retry               there may be room again

`failed` is reported when the outcome of all appends in flight is there. What came behind one that
failed can only have landed if that one has: an engine refuses an entry that is not behind its last.

The table, where nothing else is in flight: otherwise APPENDED leads to IN_FLIGHT, LANDED to RESEND.
"-" is an error, a WrongEvent (a test reads this drawing and compares it with the code):

|           | ADD       | TAKE      | APPENDED | UNAVAILABLE | FULL    | REFUSED | LANDED | ABSENT | FOREIGN | RETRY  |
| OPEN      | OPEN      | IN_FLIGHT | -        | -           | -       | -       | -      | -      | -       | -      |
| IN_FLIGHT | IN_FLIGHT | IN_FLIGHT | OPEN     | UNKNOWN     | BLOCKED | FATAL   | -      | -      | -       | -      |
| UNKNOWN   | UNKNOWN   | -         | -        | UNKNOWN     | -       | FATAL   | OPEN   | RESEND | FATAL   | -      |
| RESEND    | RESEND    | IN_FLIGHT | -        | -           | -       | -       | -      | -      | -       | -      |
| BLOCKED   | BLOCKED   | -         | -        | -           | -       | -       | -      | -      | -       | RESEND |
| FATAL     | FATAL     | -         | -        | -           | -       | -       | -      | -      | -       | -      |

Why ABSENT leads to the same bytes and not to a fresh entry: the first attempt may still land,
late. Promise 4 in base.py makes the second attempt find it then, instead of a stranger.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """See the top of this file."""

    OPEN = 0
    IN_FLIGHT = 1
    UNKNOWN = 2
    RESEND = 3
    BLOCKED = 4
    FATAL = 5


class Event(IntEnum):
    """See the top of this file."""

    ADD = 0
    TAKE = 1
    APPENDED = 2
    UNAVAILABLE = 3
    FULL = 4
    REFUSED = 5
    LANDED = 6
    ABSENT = 7
    FOREIGN = 8
    RETRY = 9


OPEN, IN_FLIGHT, UNKNOWN, RESEND, BLOCKED, FATAL = State

NEXT: dict[State, dict[Event, State]] = {
    OPEN: {Event.ADD: OPEN, Event.TAKE: IN_FLIGHT},
    IN_FLIGHT: {
        Event.ADD: IN_FLIGHT,
        Event.TAKE: IN_FLIGHT,
        Event.APPENDED: OPEN,
        Event.UNAVAILABLE: UNKNOWN,
        Event.FULL: BLOCKED,
        Event.REFUSED: FATAL,
    },
    UNKNOWN: {
        Event.ADD: UNKNOWN,
        Event.UNAVAILABLE: UNKNOWN,
        Event.REFUSED: FATAL,
        Event.LANDED: OPEN,
        Event.ABSENT: RESEND,
        Event.FOREIGN: FATAL,
    },
    RESEND: {Event.ADD: RESEND, Event.TAKE: IN_FLIGHT},
    BLOCKED: {Event.ADD: BLOCKED, Event.RETRY: RESEND},
    FATAL: {Event.ADD: FATAL},
}


class WrongEvent(RuntimeError):
    """The driver reported something that cannot have happened in this state: a bug in it."""
