"""Majordomo (7/MDP, 18/MDP) on one connection: clients, workers, mmi (8/MMI) and Titanic (9/TSP), told apart by frames.

A service is the queue of its name. So workers of all protocols take from it, and clients of all protocols put there.
Majordomo has no errors: a request that cannot be taken is answered with a status of three digits and a text, as the
broker's own services do it.
"""

from functools import partial
from typing import TYPE_CHECKING

from mansio.core.errors import BrokerError
from mansio.protocol.zmtp import majordomo_frames as frames
from mansio.protocol.zmtp.majordomo_calls import MajordomoCalls
from mansio.protocol.zmtp.majordomo_frames import CLIENT_2, MMI, WORKER_1, WORKER_2, Asked
from mansio.protocol.zmtp.majordomo_worker import MajordomoWorker, State
from mansio.protocol.zmtp.putting import Putting
from mansio.protocol.zmtp.replying import words
from mansio.protocol.zmtp.requests import Requests
from mansio.protocol.zmtp.statuses import ILL_FORMED, Refused, refusal
from mansio.protocol.zmtp.targets import Targets
from mansio.protocol.zmtp.titanic import SERVICES, Titanic

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection


class Majordomo:
    """What it needs of its connection's role: messages, deliveries to consumers whose `wire` is in here, ticks."""

    def __init__(self, connection: "ZmtpConnection", targets: Targets, putting: Putting) -> None:
        self._connection = connection
        self._targets = targets
        requests = Requests(connection, targets, putting)
        self._calls = MajordomoCalls(connection, requests)
        self._titanic = Titanic(connection, requests)
        self._workers: dict[tuple[bytes, ...], MajordomoWorker] = {}  # by prefix
        self._number = 0

    def receive(self, message: list[bytes], at: int) -> None:
        """A message whose header stands at `at`. MustWait: it is to be shown again later."""
        prefix, header, rest = message[:at], message[at], message[at + 1 :]
        if header in (WORKER_1, WORKER_2):
            self._hear_worker(prefix, header, rest)
        else:
            self._hear_client(prefix, header, rest)

    def cancelled(self, consumer_tag: str) -> None:
        """See `Role`."""
        for key, worker in list(self._workers.items()):
            if worker.tag == consumer_tag:
                worker.lose()
                del self._workers[key]

    def tick(self, now_ns: int) -> None:
        """A few times a second."""
        for key, worker in list(self._workers.items()):
            worker.tick(now_ns)
            if worker.state is State.ABSENT:
                del self._workers[key]
        self._calls.tick()

    def go_on(self) -> None:
        """See `Role`."""
        for worker in self._workers.values():
            worker.go_on()

    # -- workers

    def _hear_worker(self, prefix: list[bytes], header: bytes, rest: list[bytes]) -> None:
        key = tuple(prefix)
        worker = self._workers.get(key)
        if worker is None:
            self._number += 1
            worker = MajordomoWorker(self._connection, self._targets, prefix, header, self._number)
        worker.hear(rest)
        if worker.state is State.ABSENT:
            self._workers.pop(key, None)
        else:
            self._workers[key] = worker

    # -- clients

    def _hear_client(self, prefix: list[bytes], header: bytes, rest: list[bytes]) -> None:
        asked = frames.parse_request(header, rest)
        if asked is None:
            service = b"".join(rest[1:2] if header == CLIENT_2 else rest[:1])
            text = b"a request has a service and a body"
            self._answer(prefix, header, service, [b"%d" % ILL_FORMED, text])
            return
        answer = partial(self._answer, prefix, header, asked.service)
        if asked.service.startswith(MMI):
            answer([self._manage(asked)])
        elif asked.service in SERVICES and not self._offered(asked.service):
            self._titanic.serve(asked.service, asked.body, answer)
        else:
            try:
                self._calls.ask(prefix, header, asked)
            except (Refused, BrokerError) as error:
                refused = error if isinstance(error, Refused) else refusal(error)
                answer([b"%d" % refused.status, *words(refused.text)])

    def _answer(
        self, prefix: list[bytes], header: bytes, service: bytes, body: list[bytes]
    ) -> None:
        self._connection.send([*prefix, *frames.reply(header, service, body)])

    def _manage(self, asked: Asked) -> bytes:
        """8/MMI: whether somebody works for a service, over whichever protocol."""
        if asked.service != b"mmi.service":
            return b"501"
        name = asked.body[-1]
        return b"200" if name in SERVICES or self._offered(name) else b"404"

    def _offered(self, service: bytes) -> bool:
        """Whether there is somebody who waits for requests of this service. Services that the broker has by itself are
        theirs who offer them: so Titanic may be run as a worker, too."""
        connection = self._connection
        assert connection.session is not None
        queues = connection.broker.vhosts[connection.session.vhost].queues
        queue = queues.get(service.decode("utf-8", "surrogateescape"))
        return queue is not None and (bool(queue.consumers) or queue.waiters is not None)
