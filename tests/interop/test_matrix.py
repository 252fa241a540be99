"""Every producer meets every worker: pika, redis-py and pyzmq at one broker, a queue for each pair."""

import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import BrokerStarter
from tests.interop.matrix import (
    PRODUCERS,
    WAIT_MS,
    WORKERS,
    Call,
    Frames,
    HastyCall,
    MajordomoReq,
    Place,
    Producer,
    Worker,
)

pytestmark = pytest.mark.timeout(60)

ALL_BYTES = bytes(range(256))
LARGE = ALL_BYTES * 800  # more than a frame of AMQP
MESSAGES: dict[str, Frames] = {
    "one": [LARGE],
    "several": [ALL_BYTES, b"", LARGE, b"\r\n"],
}
HEARING = [each for each in PRODUCERS if each.hears]
SILENT = [each for each in WORKERS if not each.answers]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    starter = BrokerStarter()
    place = Place(starter(redis=True, zmq=True))
    yield place
    place.context.destroy(linger=0)
    starter.close()


@pytest.fixture
def queue(place: Place) -> str:
    """A durable one of its own."""
    name = f"matrix-{next(_numbers)}"
    channel = place.channel()
    channel.queue_declare(name, durable=True)
    channel.connection.close()
    return name


def eventually(look: Callable[[], bool]) -> None:
    """Until it is so."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not look():
        assert time.monotonic() < deadline, "time is up"


@pytest.mark.parametrize("order", ["stored", "waiting"])
@pytest.mark.parametrize("what", MESSAGES)
@pytest.mark.parametrize("worker_kind", WORKERS)
@pytest.mark.parametrize("producer_kind", PRODUCERS)
def test_a_producer_and_a_worker(
    place: Place,
    queue: str,
    producer_kind: type[Producer],
    worker_kind: type[Worker],
    what: str,
    order: str,
) -> None:
    """The message arrives as it was, once; where both sides have results, that of the worker comes back."""
    message = MESSAGES[what]
    if len(message) > 1 and not producer_kind.frames:
        message = [b"".join(message)]
    waits = order == "waiting"
    if waits:
        worker = worker_kind(place, queue)
        eventually(worker.waits)
    producer = producer_kind(place, queue)
    producer.send(message)
    if not waits:
        eventually(lambda: place.depth(queue) == (1, 0, 0))
        worker = worker_kind(place, queue)
    seen = message if worker.frames else [b"".join(message)]
    assert worker.take() == seen
    result = [b"done", *seen]
    worker.done(result)
    if producer.hears and worker.answers:
        assert producer.result() == result
    worker.close()
    eventually(lambda: place.depth(queue) == (0, 0, 0))
    producer.close()


@pytest.mark.parametrize("worker_kind", SILENT)
@pytest.mark.parametrize("producer_kind", HEARING)
def test_a_worker_that_cannot_answer(
    place: Place, queue: str, producer_kind: type[Producer], worker_kind: type[Worker]
) -> None:
    """It leaves a caller to its timeout; who has none hears nothing."""
    producer = (HastyCall if producer_kind is Call else producer_kind)(place, queue)
    worker = worker_kind(place, queue)
    eventually(worker.waits)
    producer.send([b"task"])
    assert worker.take() == [b"task"]
    worker.done([b"done"])
    worker.close()
    eventually(lambda: place.depth(queue) == (0, 0, 0))
    if producer_kind is not MajordomoReq:  # it can ask for nothing else
        assert producer.hears_nothing()
    producer.close()
