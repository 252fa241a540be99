"""Messages that the broker publishes by itself: routed one by one, put into queues as few runs as they make.

begin(vhost, exchange) ──► add(letter) … ──► end      letters with the same key and queues become one run
"""

from typing import TYPE_CHECKING

from mansio.core.letters import Letter
from mansio.core.marks import UNROUTED, Marks
from mansio.core.routing import Exchange, Route
from mansio.core.run import Run, make_run

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.topology import VHost

_Kind = tuple[str, "tuple[Queue, ...]", int, int | None]
"""(routing key, queues, priority, expiration): letters that are alike in these may share a run."""


_HEAD_BYTES = 7
"""Of a frame, up to its payload."""
_COPIES = b"CCA"
"""In the header frame of every message with CC or BCC keys: the end of the header's name, and the type of an array."""
_RECEIPT = b"x-receipt"
"""In the header frame of every message that asks for a receipt."""


class Forwarding:
    """Publishes letters to an exchange. One that does not exist drops them, and nobody is told, as in RabbitMQ."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._host: VHost | None = None
        self._exchange: Exchange | None = None
        self._persistent = False
        self._routes: dict[
            tuple[str, ...], tuple[Queue, ...]
        ] = {}  # by keys, where headers do not count
        self._by_key: dict[str, tuple[Queue, ...] | None] = {}  # of messages without copies
        self._kind: _Kind | None = None  # of the letters that are gathered
        self._frames: list[bytes] = []
        self._marks: Marks | None = None  # of the only one that is gathered

    def begin(self, vhost: str, exchange: str, persistent: bool) -> None:
        """What follows is for this exchange."""
        self._host = self._broker.vhosts[vhost]
        self._exchange = self._host.exchanges.get(exchange)
        self._persistent = persistent

    def add(
        self,
        letter: Letter,
        refused: frozenset[str] | None = None,
        marks: Marks | None = None,
    ) -> None:
        """Routes a letter; `refused`: names of queues that it does not go to; `marks`: of the message before."""
        queues = self._route(letter) if self._exchange is not None else ()
        if refused:
            queues = tuple(queue for queue in queues if queue.name not in refused)
        if not queues or queues[0].hidden:  # what an exchange remembers comes last
            self._tell_unrouted(letter, marks)
        if not queues:
            if self._exchange is not None:
                self._broker.counts.dropped += 1
            return
        if (marks is None or marks.id is None) and any(queue.dedup is not None for queue in queues):
            marks = self._identify(letter, marks)  # nobody before these has looked at it
        self._gather(
            letter.frames, (letter.keys[0], queues, letter.priority, letter.expiration_ms), marks
        )

    def _identify(self, letter: Letter, marks: Marks | None) -> Marks | None:
        """The marks of a letter with the id that it has, if it has one."""
        run = make_run([letter.frames], Route("", letter.keys[0], ()), self._persistent)
        found = self._broker.letters.marks(run, 0)
        if found is None or found.id is None:
            return marks
        if marks is None:
            return found.only_id()
        return Marks(found.id, found.ttl_ms, marks.reply_to, marks.correlation)

    def _gather(self, frames: bytes, kind: _Kind, marks: Marks | None = None) -> None:
        if kind != self._kind or marks is not None:
            self._flush()
            self._kind = kind
        self._frames.append(frames)
        if marks is not None:
            self._marks = marks.copy()
            self._flush()

    def send(self, run: Run, i: int) -> None:
        """A message as it was published before: it is taken apart only if its headers count."""
        message = run.content(i)
        key = run.route(i).routing_key
        queues = self._by_key[key] if key in self._by_key else self._look_up(key)
        stop = _HEAD_BYTES + int.from_bytes(message[3:_HEAD_BYTES], "big")
        copied = message.find(_COPIES, 0, stop) >= 0
        if queues is None or copied or message.find(_RECEIPT, 0, stop) >= 0:
            letters = self._broker.letters
            self.add(letters.again(run, i), None, letters.marks(run, i))
        elif queues:
            self._gather(message, (key, queues, run.priority, run.expiration_ms))
        elif self._exchange is not None:
            self._broker.counts.dropped += 1

    def _look_up(self, key: str) -> "tuple[Queue, ...] | None":
        """Where messages with this key go; None if their headers count."""
        queues: tuple[Queue, ...] | None = ()
        if self._exchange is not None and self._host is not None:
            found, by_content = self._host.route(self._exchange, [key], None)
            if by_content or any(queue.dedup is not None for queue in found):
                queues = None
            else:
                queues = tuple(found)
        self._by_key[key] = queues
        return queues

    def _tell_unrouted(self, letter: Letter, marks: Marks | None) -> None:
        """No queue takes the letter: who wants to know hears of it."""
        if marks is not None and self._host is not None:
            run = Run(letter.frames, 1, len(letter.frames), None, (), None, self._persistent)
            run.marks = marks
            self._broker.receipts.send(self._host.name, run, UNROUTED)

    def end(self) -> None:
        """Everything that was added is in its queues."""
        self._flush()
        self._routes.clear()
        self._by_key.clear()
        self._host = self._exchange = None

    def _route(self, letter: Letter) -> "tuple[Queue, ...]":
        host, exchange = self._host, self._exchange
        assert host is not None and exchange is not None
        keys = tuple(letter.keys)
        known = self._routes.get(keys)
        if known is not None:
            return known
        found, by_content = host.route(exchange, letter.keys, None)
        if by_content:
            view = self._broker.letters.view(letter.frames, exchange.name, letter.keys[0])
            found, _ = host.route(exchange, letter.keys, view)
            return tuple(found)
        queues = self._routes[keys] = tuple(found)
        return queues

    def _flush(self) -> None:
        if self._kind is None or self._exchange is None:
            return
        key, queues, priority, expiration_ms = self._kind
        frames, self._frames, self._kind = self._frames, [], None
        route = Route(self._exchange.name, key, queues)
        route.frame_max = self._broker.letters.frame_max
        run = make_run(frames, route, self._persistent)
        run.priority, run.expiration_ms = priority, expiration_ms
        run.marks, self._marks = self._marks, None
        self._broker.intake.put(run, queues)
