"""What ZeroMQ peers were told holds over a crash, and what is paged out is read for them."""

from typing import Any

from mansio.core.check import check
from tests.protocol import zmtp_talk
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.zmtp_talk import ZmtpPeer


class LastingZmtpWorld(LastingRedisWorld, zmtp_talk.World):
    """See both."""

    def restarted(self, parts: int | None = None, **limits: Any) -> "LastingZmtpWorld":
        world = LastingZmtpWorld([list(part) for part in self.parts[:parts]], **limits)
        world.broker.now_ms = self.broker.now_ms
        return world


def drain(peer: ZmtpPeer, queue: bytes) -> list[bytes]:
    """The bodies of all that is in a queue."""
    found: list[bytes] = []
    while (reply := peer.ask(b"GET", queue))[0] == b"200":
        found.append(reply[3])
    return found


def test_what_was_answered_is_there() -> None:
    world = LastingZmtpWorld()
    peer = world.peer("DEALER")
    peer.call(b"PUT", b"q", b"0")
    peer.send([b"PUT", b"q", b"1"], [b"PUT", b"q", b"2", b'{"priority": 1}'])
    peer.send([b"", b"PUT", b"q", b"3", b"", b"4"])
    world.turn()
    assert [reply[-1] for reply in peer.hear()] == [b"1", b"2", b"3"]
    assert drain(world.restarted().peer(), b"q") == [b"0", b"1", b"2", b"3"]


def test_what_was_acknowledged_does_not_come_again() -> None:
    world = LastingZmtpWorld()
    peer = world.peer()
    for body in (b"0", b"1"):
        peer.ask(b"PUT", b"q", body)
    tag = peer.ask(b"NEXT", b"q")[1]
    assert peer.ask(b"ACK", tag) == [b"200"]
    assert drain(world.restarted().peer(), b"q") == [b"1"]


def test_a_result_is_there_if_and_only_if_its_task_is_done() -> None:
    world = LastingZmtpWorld()
    peer = world.peer()
    peer.ask(b"PUT", b"results", b"first")
    peer.ask(b"PUT", b"q", b"work", b'{"reply_to": "results"}')
    tag = peer.ask(b"GET", b"q")[1]
    before = len(world.parts)
    peer.ask(b"ACK", tag, b"done")
    assert len(world.parts) > before
    seen = set()
    for parts in range(before, len(world.parts) + 1):
        after = world.restarted(parts)
        check(after.broker)
        left = drain(after.peer(), b"q"), drain(after.peer(), b"results")
        seen.add((len(left[0]), len(left[1])))
    assert seen == {(1, 1), (0, 2)}


def test_tasks_are_read_from_the_log() -> None:
    world = LastingZmtpWorld(page_bytes=20_000)
    peer, worker = world.peer(), world.peer()
    bodies = [b"%d" % n + b"x" * 3000 for n in range(40)]
    for body in bodies:
        assert peer.ask(b"PUT", b"q", body)[0] == b"200"
    runs = [span.run for span in world.broker.vhosts["/"].queues["q"].ready]
    assert sum(not run.data for run in runs) > 20
    assert drain(peer, b"q")[:20] == bodies[:20]
    peer.eof()
    world.turn()
    tag, got = b"", []
    for _ in bodies:
        _, tag, redelivered, body, _ = worker.ask(b"NEXT", b"q", tag)
        got.append(body)
    assert got == bodies
    assert redelivered == b"1"
    assert worker.ask(b"ACK", tag) == [b"200"]
