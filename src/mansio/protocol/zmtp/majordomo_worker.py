"""One Majordomo worker: registered for a service, which is a queue, and given one request of it at a time.

    absent ──READY──► idle ──request──► busy ──FINAL──► idle
      ▲                 │                 │
      └─────────────────┴─────────────────┴── DISCONNECT of either side, silence, the end of its connection:
                                              what it was busy with goes back to the queue, for another worker

    input        absent        refused       idle          busy
    READY        begin         ignore        dismiss       dismiss
    PARTIAL      send away     ignore        dismiss       pass on
    FINAL        send away     ignore        dismiss       answer
    HEARTBEAT    send away     ignore        note          note
    DISCONNECT   ignore        leave         leave         leave
    invalid      ignore        ignore        dismiss       dismiss
    (request)                                give
    (silence)                                leave         leave
    (cancelled)                              dismiss       dismiss
    (a period)                 send away

To *dismiss* is to send DISCONNECT and to let the worker leave: it then opens a new connection and says READY there,
which is how workers get over a restart of the broker. To *send away* is a DISCONNECT to somebody who is no worker. One
that may not work for its service hears it a heartbeat later: it would come again at once, and so for ever.

A worker is silent when nothing was heard of it for `liveness` heartbeats. One that is busy may be so for as long as it
likes unless it has sent a heartbeat while it was busy before: the worker's part of the guide (mdwrkapi) is one thread,
sends none while it works, and the guide's broker expires idle workers only. Its process and its network are watched by
the connection in any case, and acknowledgement timeouts of queues hold for workers, too.
"""

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from mansio.core.errors import AccessRefused, BrokerError
from mansio.protocol.zmtp import majordomo_frames as frames
from mansio.protocol.zmtp.majordomo_frames import MMI, Said, Word
from mansio.protocol.zmtp.statuses import Refused
from mansio.protocol.zmtp.targets import Targets
from mansio.protocol.zmtp.workplace import Workplace, note

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection


class State(Enum):
    """See above."""

    ABSENT = "absent"
    REFUSED = "refused"
    IDLE = "idle"
    BUSY = "busy"


class Event(Enum):
    """What happens to a worker beside its own words."""

    SILENCE = "silence"
    CANCELLED = "cancelled"


class MajordomoWorker:
    """The broker's side of one worker."""

    def __init__(
        self,
        connection: "ZmtpConnection",
        targets: Targets,
        prefix: list[bytes],
        header: bytes,
        number: int,
    ) -> None:
        """`number`: another one for each worker of the connection."""
        self.state = State.ABSENT
        self._connection = connection
        self._prefix = prefix
        self._header = header
        self.tag = f"majordomo-{number}"
        """Of its consumer."""
        self._place = Workplace(connection, targets, self.tag, self)
        self._heard_ns = self._said_ns = connection.now_ns
        self._late = False  # it was silent for too long when this was last looked at
        self._beats_busy = False  # it has sent a heartbeat while it was busy

    def hear(self, rest: list[bytes]) -> None:
        """A command of the worker: the frames behind its header."""
        said = frames.parse_command(self._header, rest)
        self._heard_ns = self._connection.now_ns
        self._late = False
        TABLE[self.state, said.word](self, said)

    def tick(self, now_ns: int) -> None:
        """Heartbeats of both sides, a few times a second."""
        if self.state is State.ABSENT:
            return
        settings = self._connection.settings
        period_ns = settings.majordomo_heartbeat_ms * 1_000_000
        if self.state is State.REFUSED:
            if now_ns - self._said_ns >= period_ns:
                self._dismiss(_NOTHING)
            return
        expected = self.state is State.IDLE or self._beats_busy
        if not expected or self._connection.waiting:
            self._heard_ns = now_ns
        elif now_ns - self._heard_ns >= period_ns * settings.majordomo_liveness:
            # Between two looks it would have been read what had arrived while the loop was busy.
            if self._late:
                TABLE[self.state, Event.SILENCE](self, _NOTHING)
                return
            self._late = True
        if now_ns - self._said_ns >= period_ns:
            self._say(frames.command(self._header, Word.HEARTBEAT))

    def lose(self) -> None:
        """Its queue is gone, or it was too late."""
        self._place.lost()
        TABLE[self.state, Event.CANCELLED](self, _NOTHING)

    def go_on(self) -> None:
        """See `Workplace`."""
        self._place.go_on()

    # -- what its place at the queue tells

    def give(self, address: bytes, body: list[bytes]) -> None:
        """See `Hands`."""
        self.state = State.BUSY
        self._heard_ns = self._connection.now_ns
        self._say(frames.request(self._header, address, body))

    # -- the steps of the table

    def _begin(self, said: Said) -> None:
        try:
            if said.name.startswith(MMI):
                raise AccessRefused("services mmi.… are the broker's own")
            self._place.open(said.name)
        except (BrokerError, Refused) as error:
            note(self._connection, f"it is not let in: {error.text}")
            self.state = State.REFUSED
            self._said_ns = self._connection.now_ns
        else:
            self.state = State.IDLE

    def _pass_on(self, said: Said) -> None:
        if not self._place.answer(said.name, said.body, partial=True):
            self._dismiss(said)

    def _answer(self, said: Said) -> None:
        if self._place.answer(said.name, said.body):
            self.state = State.IDLE
        else:
            self._dismiss(said)

    def _note(self, said: Said) -> None:
        if self.state is State.BUSY:
            self._beats_busy = True

    def _dismiss(self, said: Said) -> None:
        self._say(frames.command(self._header, Word.DISCONNECT))
        self._leave(said)

    def _send_away(self, said: Said) -> None:
        self._say(frames.command(self._header, Word.DISCONNECT))

    def _leave(self, said: Said) -> None:
        self.state = State.ABSENT
        self._place.leave()

    def _ignore(self, said: Said) -> None:
        pass

    def _say(self, message: list[bytes]) -> None:
        self._said_ns = self._connection.now_ns
        self._connection.send([*self._prefix, *message])


_NOTHING: Final = Said(Word.INVALID)

_W = MajordomoWorker
TABLE: Final[dict[tuple[State, Word | Event], Any]] = {
    (State.ABSENT, Word.READY): _W._begin,
    (State.ABSENT, Word.PARTIAL): _W._send_away,
    (State.ABSENT, Word.FINAL): _W._send_away,
    (State.ABSENT, Word.HEARTBEAT): _W._send_away,
    (State.ABSENT, Word.DISCONNECT): _W._ignore,
    (State.ABSENT, Word.INVALID): _W._ignore,
    (State.REFUSED, Word.READY): _W._ignore,
    (State.REFUSED, Word.PARTIAL): _W._ignore,
    (State.REFUSED, Word.FINAL): _W._ignore,
    (State.REFUSED, Word.HEARTBEAT): _W._ignore,
    (State.REFUSED, Word.DISCONNECT): _W._leave,
    (State.REFUSED, Word.INVALID): _W._ignore,
    (State.IDLE, Word.READY): _W._dismiss,
    (State.IDLE, Word.PARTIAL): _W._dismiss,
    (State.IDLE, Word.FINAL): _W._dismiss,
    (State.IDLE, Word.HEARTBEAT): _W._note,
    (State.IDLE, Word.DISCONNECT): _W._leave,
    (State.IDLE, Word.INVALID): _W._dismiss,
    (State.IDLE, Event.SILENCE): _W._leave,
    (State.IDLE, Event.CANCELLED): _W._dismiss,
    (State.BUSY, Word.READY): _W._dismiss,
    (State.BUSY, Word.PARTIAL): _W._pass_on,
    (State.BUSY, Word.FINAL): _W._answer,
    (State.BUSY, Word.HEARTBEAT): _W._note,
    (State.BUSY, Word.DISCONNECT): _W._leave,
    (State.BUSY, Word.INVALID): _W._dismiss,
    (State.BUSY, Event.SILENCE): _W._leave,
    (State.BUSY, Event.CANCELLED): _W._dismiss,
}
