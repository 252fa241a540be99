"""Titanic: requests that outlive their client and the broker (9/TSP, https://rfc.zeromq.org/spec/9).

    titanic.request  service body…   200 UUID     the request is in the log when this is heard
    titanic.reply    UUID            200 body…    300: not executed yet; 400: no such request
    titanic.close    UUID            200          also where there is none

A status may have a text behind it, in a frame of its own. What the broker cannot do now is a 500: ask again.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from mansio.core.errors import BrokerError
from mansio.core.queue import Queue
from mansio.core.run import Run
from mansio.protocol.zmtp import titanic_store
from mansio.protocol.zmtp.messages import frames_of
from mansio.protocol.zmtp.replying import words
from mansio.protocol.zmtp.requests import Requests
from mansio.protocol.zmtp.statuses import Refused, refusal

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

OK: Final = b"200"
PENDING: Final = b"300"
UNKNOWN: Final = b"400"
ERROR: Final = b"500"

Answer = Callable[[list[bytes]], None]


class Titanic:
    """The three services, for one connection."""

    def __init__(self, connection: "ZmtpConnection", requests: Requests) -> None:
        self._connection = connection
        self._requests = requests

    def serve(self, service: bytes, body: list[bytes], answer: Answer) -> None:
        """Does what one of `SERVICES` is asked for; `answer` is called now, or when a reply has been read from the
        log. MustWait: nothing is done yet."""
        SERVICES[service](self, body, answer)

    def _request(self, body: list[bytes], answer: Answer) -> None:
        if len(body) < 2 or not body[0] or is_own(body[0]):
            answer([UNKNOWN, b"a request has a service and a body"])
            return
        connection = self._connection
        uuid = blake2b(connection.token().encode(), digest_size=16).hexdigest()
        ttl_ms = connection.settings.titanic_ttl_ms
        name = titanic_store.PREFIX + uuid
        try:
            self._requests.put(body[0], body[1:], name, uuid, ttl_ms)
        except (Refused, BrokerError) as error:
            refused = error if isinstance(error, Refused) else refusal(error)
            answer([UNKNOWN if refused.status < 500 else ERROR, *words(refused.text)])
            return
        titanic_store.open_request(connection, uuid, ttl_ms)
        answer([OK, uuid.encode()])

    def _reply(self, body: list[bytes], answer: Answer) -> None:
        uuid = titanic_store.uuid_of(body[0])
        queue = titanic_store.find(self._connection, uuid) if uuid is not None else None
        if queue is None:
            answer([UNKNOWN])
        elif not queue.ready_count:
            answer([PENDING])
        elif (run := queue.ready[0].run).data:
            if queue.lease is not None:
                queue.lease.used()
            self._wait_for(queue, run)
            answer([OK, *frames_of(run, queue.ready[0].start)])
        else:
            self._read(run, body, answer)

    def _wait_for(self, queue: Queue, run: Run) -> None:
        """What is said from here on waits until the reply is in the log: who has heard it may rely on that."""
        connection = self._connection
        if run.persistent and queue.logged and run.bucket is None:
            assert connection.session is not None
            connection.broker.confirms.changed(connection.session)

    def _read(self, run: Run, body: list[bytes], answer: Answer) -> None:
        """The reply is in the log only."""
        loading = self._connection.broker.paging.loading

        def back(run: Run) -> None:
            if self._connection.closed:
                return
            if run in loading.unreadable:
                answer([ERROR, b"the reply cannot be read: damaged"])
            else:
                self._reply(body, answer)

        loading.call(run, back)

    def _close(self, body: list[bytes], answer: Answer) -> None:
        uuid = titanic_store.uuid_of(body[0])
        if uuid is not None:
            titanic_store.close_request(self._connection, uuid)
        answer([OK])


SERVICES: Final = {
    b"titanic.request": Titanic._request,
    b"titanic.reply": Titanic._reply,
    b"titanic.close": Titanic._close,
}


def is_own(service: bytes) -> bool:
    """Whether the broker answers by itself, so that nothing can be queued for it."""
    return service in SERVICES or service.startswith(b"mmi.")
