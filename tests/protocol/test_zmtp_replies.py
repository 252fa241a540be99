"""Whatever REQ and DEALER peers ask for, each request has one reply behind its envelope; the broker stays whole."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.zmtp_talk import World, ZmtpPeer

WAITS_MS = 3000
"""The longest wait and the longest call of these requests."""

words = st.sampled_from(
    [b"", b"q", b"r", b"1", b"0", b"3000", b"x", b"TAG", b"\xff", b"{}", b"amq.x", b"TASK"]
)
props = st.sampled_from(
    [
        b"",
        b"{",
        b'{"priority": 1}',
        b'{"delivery_mode": 1}',
        b'{"delay": 500}',
        b'{"expiration": 100}',
        b'{"message_id": "m"}',
        b'{"reply_to": "r", "headers": {"x-receipt": true}}',
        b'{"headers": {"CC": ["r", "q"]}}',
    ]
)
bodies = st.lists(st.sampled_from([b"", b"x", b"PUT", b"y" * 300]), max_size=2)
verbs = st.one_of(
    st.tuples(st.just(b"PUT"), words, words, props).map(list),
    st.builds(lambda queue, some: [b"PUT", queue, b"x", b"", *some], words, bodies),
    st.builds(lambda some: [b"CALL", b"q", b"3000", b"x", b"", *some], bodies),
    st.tuples(st.just(b"CALL"), words, words, words).map(list),
    st.tuples(st.just(b"GET"), words).map(list),
    st.tuples(st.just(b"GET"), words, st.sampled_from([b"1000", b"3000"])).map(list),
    st.builds(lambda some: [b"ACK", b"TAG", *some], bodies),
    st.tuples(st.just(b"NACK"), st.just(b"TAG"), words).map(list),
    st.tuples(st.just(b"EXTEND"), st.just(b"TAG"), words).map(list),
    st.tuples(st.just(b"LEN"), words).map(list),
    st.tuples(st.just(b"PUB"), words, words).map(list),
    st.lists(words, min_size=1, max_size=4),
)
values = st.sampled_from([None, 1, True, "q", "x", "TAG", [], {"n": 1}, 3000, -1, "eA=="])
ops = st.dictionaries(
    st.sampled_from(
        ["queue", "body", "body_base64", "props", "tag", "result", "wait_ms", "ms", "timeout_ms"]
    ),
    values,
    max_size=4,
)
names = st.sampled_from(["put", "call", "get", "ack", "nack", "extend", "len", "pub", "ping", "x"])
objects = st.builds(lambda op, rest: [json.dumps({"op": op, **rest}).encode()], names, ops)
requests = st.one_of(verbs, verbs, objects)


def send(world: World, peer: ZmtpPeer, batch: list[list[bytes]], tag: bytes, first: int) -> None:
    """Requests in one read, each with a number as its envelope."""
    told = [[tag if word == b"TAG" else word for word in request] for request in batch]
    told = [[word.replace(b'"TAG"', b'"%b"' % tag) for word in request] for request in told]
    peer.send(*([b"#%d" % n, b"", *request] for n, request in enumerate(told, first)))
    world.turn()


def tag_in(replies: list[list[bytes]]) -> bytes:
    """The last tag among these, if there is one."""
    for reply in reversed(replies):
        if len(reply) > 4 and reply[2] == b"200" and reply[3].startswith(b"token"):
            return reply[3]
    return b"token1-1"


@settings(max_examples=150)
@given(st.lists(st.tuples(st.booleans(), st.lists(requests, min_size=1, max_size=6)), max_size=12))
def test_each_request_has_one_reply(batches: list[tuple[bool, list[list[bytes]]]]) -> None:
    world = World()
    amqp = world.client()
    session: Any = amqp.front.session
    once = {"x-message-deduplication": True, "x-max-length": 3, "x-overflow": "reject-publish"}
    world.broker.definitions.declare_queue(session, "r", True, False, False, once)
    peers = [world.peer("DEALER"), world.peer("DEALER", {"X-Queue": b"q", "X-Mode": b"call"})]
    sent = [0, 0]
    heard: list[list[list[bytes]]] = [[], []]
    tag = b"token1-1"
    for which, batch in batches:
        send(world, peers[which], batch, tag, sent[which])
        sent[which] += len(batch)
        for n, peer in enumerate(peers):
            replies = peer.hear()
            heard[n] += replies
            tag = tag_in(replies) if n == which else tag
    for _ in range(4):
        world.pass_ms(WAITS_MS)
        world.pass_ms(30_000)
    for n, peer in enumerate(peers):
        heard[n] += peer.hear()
        assert not peer.closed
        assert all(reply[1] == b"" for reply in heard[n])
        numbers = sorted(int(reply[0][1:]) for reply in heard[n])
        assert numbers == list(range(sent[n])), (sent[n], heard[n])
        peer.eof()
    world.turn()
    assert all(not queue.in_flight for queue in world.broker.vhosts["/"].queues.values())
