"""Workers that say READY: the guide's load balancing, Simple and Paranoid Pirate."""

import pytest

from mansio.core.rights import Permission
from mansio.protocol.zmtp.settings import ZmtpSettings
from tests.protocol.zmtp_talk import World, ZmtpPeer

CALLS = ZmtpSettings(default_mode="call")
BEAT = [b"\x02"]


def queue_of(world: World, name: str = "tasks") -> tuple[int, int, int]:
    """Consumers of a queue, messages that are ready, and in flight."""
    queue = world.broker.vhosts["/"].queues[name]
    return len(queue.consumers), queue.ready_count, queue.in_flight


def ask(world: World, body: bytes, metadata: dict[str, bytes] | None = None) -> ZmtpPeer:
    """A client as in the guide: a REQ that sends one frame and waits for the answer."""
    client = world.peer("REQ", metadata, settings=CALLS)
    client.send([b"", body])
    world.turn()
    return client


def look(world: World, peer: ZmtpPeer) -> None:
    """A second passes, and the connection is looked at."""
    world.pass_ms(1000)
    peer.front.tick(world.now_ns)
    world.turn()


@pytest.mark.parametrize("word", [b"READY", b"\x01"])
def test_a_req_that_is_ready_gets_requests_in_envelopes(word: bytes) -> None:
    world = World()
    worker = world.peer("REQ")
    worker.send([b"", word])
    world.turn()
    assert worker.hear() == []
    assert queue_of(world) == (1, 0, 0)
    first, second = ask(world, b"HELLO"), ask(world, b"AGAIN")
    ((empty, address, delimiter, body),) = worker.hear()
    assert (empty, delimiter, body) == (b"", b"", b"HELLO")
    assert queue_of(world) == (1, 1, 1)
    worker.send([b"", address, b"", b"OK"])
    world.turn()
    assert first.hear() == [[b"", b"OK"]]
    ((empty, other, delimiter, body),) = worker.hear()
    assert body == b"AGAIN" and other != address
    worker.send([b"", other, b"", b"a", b"b"])
    world.turn()
    assert second.hear() == [[b"", b"a", b"b"]]
    assert queue_of(world) == (1, 0, 0)


def test_the_queue_is_that_of_the_worker_metadata() -> None:
    world = World()
    worker = world.peer("REQ", {"X-Queue": b"resize"})
    worker.send([b"", b"READY"])
    ask(world, b"cat", {"X-Queue": b"resize"})
    ((*_, body),) = worker.hear()
    assert body == b"cat"


@pytest.mark.parametrize("kind", ["REQ", "DEALER"])
def test_a_late_reply_over_the_next_connection_means_ready(kind: str) -> None:
    """As libzmq sends it, whose sockets do not know that they were disconnected."""
    world = World()
    prefix = [b""] if kind == "REQ" else []
    worker = world.peer(kind)
    worker.send([*prefix, b"\x01"])
    client = ask(world, b"one")
    late = worker.hear()[-1][-3]
    worker.eof()
    again = world.peer(kind)
    again.send([*prefix, late, b"", b"of one"])
    world.turn()
    (request,) = again.hear()
    assert request == [*prefix, request[-3], b"", b"one"] and request[-3] != late
    again.send([*prefix, late, b"", b"of one"])
    world.turn()
    assert (client.hear(), queue_of(world)) == ([], (1, 0, 1))
    again.send([*prefix, request[-3], b"", b"ONE"])
    world.turn()
    assert (client.hear(), queue_of(world)) == ([[b"", b"ONE"]], (1, 0, 0))


def test_a_heartbeat_over_the_next_connection_means_ready() -> None:
    world = World()
    worker = world.peer("DEALER")
    worker.send(BEAT)
    world.turn()
    assert queue_of(world) == (1, 0, 0)


def test_what_the_worker_leaves_goes_to_another_one() -> None:
    world = World()
    worker = world.peer("REQ")
    worker.send([b"", b"READY"])
    client = ask(world, b"x")
    assert len(worker.hear()) == 1
    worker.eof()
    world.turn()
    assert queue_of(world) == (0, 1, 0)
    other = world.peer("REQ")
    other.send([b"", b"READY"])
    world.turn()
    ((_, address, *_),) = other.hear()
    other.send([b"", address, b"", b"y"])
    world.turn()
    assert client.hear() == [[b"", b"y"]]


def test_a_worker_that_is_ready_again_gives_back_what_it_has() -> None:
    world = World()
    worker = world.peer("REQ")
    worker.send([b"", b"READY"])
    ask(world, b"x")
    ((*_, first, _, _),) = worker.hear()
    worker.send([b"", b"READY"])
    world.turn()
    ((_, second, _, body),) = worker.hear()
    assert body == b"x" and second != first


@pytest.mark.parametrize(
    "message", [[b"", b"7777", b"", b"y"], [b"", b"y"], [b"", b"7", b"x", b"y"], [b"y"]]
)
def test_what_is_no_reply_ends_the_connection(message: list[bytes]) -> None:
    world = World()
    worker = world.peer("REQ")
    worker.send([b"", b"READY"])
    ask(world, b"x")
    worker.send(message)
    world.turn()
    assert worker.closed and worker.reason
    assert queue_of(world) == (0, 1, 0)


def test_ready_is_a_task_behind_another_message_or_of_a_client() -> None:
    world = World()
    second = world.peer("DEALER", {"X-Queue": b"q"})
    second.send([b"", b"first"], [b"", b"READY"], [b"\x01"])
    world.turn()
    assert queue_of(world, "q") == (0, 3, 0)
    client = world.peer("REQ", {"X-Queue": b"q", "X-Role": b"client"})
    client.send([b"", b"READY"])
    world.turn()
    assert queue_of(world, "q") == (0, 4, 0)


def test_a_paranoid_pirate_works_without_an_empty_frame_in_front() -> None:
    world = World()
    worker = world.peer("DEALER")
    worker.send([b"\x01"])
    world.turn()
    client = ask(world, b"x")
    ((address, empty, body),) = worker.hear()
    assert (empty, body) == (b"", b"x")
    worker.send([b"\x02"])
    worker.send([address, b"", b"y"])
    world.turn()
    assert client.hear() == [[b"", b"y"]]
    assert queue_of(world) == (1, 0, 0)


def test_paranoid_pirates_and_the_broker_send_heartbeats() -> None:
    world = World()
    worker = world.peer("DEALER")
    worker.send([b"\x01"])
    for _ in range(5):
        look(world, worker)
        worker.send([b"\x02"])
    assert worker.hear() == [BEAT] * 5
    assert queue_of(world)[0] == 1


def test_a_paranoid_pirate_that_is_silent_gets_nothing_until_it_says_something() -> None:
    world = World()
    worker = world.peer("DEALER")
    worker.send([b"\x01"])
    for _ in range(4):
        look(world, worker)
    assert queue_of(world)[0] == 0
    worker.hear()
    ask(world, b"x")
    assert worker.hear() == []
    worker.send([b"\x02"])
    world.turn()
    assert queue_of(world) == (1, 0, 1)
    ((*_, body),) = worker.hear()
    assert body == b"x"


def test_a_paranoid_pirate_that_is_busy_may_be_silent() -> None:
    world = World()
    worker = world.peer("DEALER")
    worker.send([b"\x01"])
    ask(world, b"x")
    for _ in range(10):
        look(world, worker)
    assert queue_of(world) == (1, 0, 1)


def test_who_may_not_read_the_queue_is_no_worker() -> None:
    world = World()
    world.broker.administration.permit("guest", "/", Permission(".*", ".*", "^other$"))
    worker = world.peer("REQ")
    worker.send([b"", b"READY"])
    world.turn()
    assert worker.closed and "refused" in worker.reason


def test_a_worker_ends_with_its_queue() -> None:
    world = World()
    worker = world.peer("REQ")
    worker.send([b"", b"READY"])
    world.turn()
    world.broker.definitions.drop_queue(world.broker.vhosts["/"].queues["tasks"])
    world.turn()
    assert worker.closed and "queue" in worker.reason
