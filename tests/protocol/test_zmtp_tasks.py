"""What newcomers see: plain tasks, envelopes, modes, and JSON."""

import json
from typing import Any

import pytest

from mansio.protocol.zmtp.settings import ZmtpSettings
from tests.protocol.zmtp_talk import World, ZmtpPeer


@pytest.fixture
def world() -> World:
    return World()


def ask_json(peer: ZmtpPeer, **request: Any) -> Any:
    (reply,) = peer.ask(json.dumps(request).encode())
    return json.loads(reply)


# -- plain tasks


def test_a_plain_task_goes_to_the_default_queue(world: World) -> None:
    peer = world.peer()
    assert peer.ask(b"resize cat.jpg") == [b"200 0"]
    assert peer.ask(b"") == [b"200 1"]
    assert peer.ask(b"a", b"task", b"of four", b"") == [b"200 2"]
    worker = world.peer()
    assert worker.ask(b"GET", b"tasks")[3] == b"resize cat.jpg"
    assert worker.ask(b"GET", b"")[3] == b""
    assert worker.ask(b"GET", b"tasks")[3:] == [
        b"a",
        b'{"delivery_mode": 2}',
        b"task",
        b"of four",
        b"",
    ]


def test_a_peer_may_name_its_queue_and_mode(world: World) -> None:
    peer = world.peer(metadata={"X-Queue": b"images"})
    assert peer.ask(b"x") == [b"200 0"]
    assert peer.ask(b"LEN", b"")[1] == b"1"
    assert world.broker.vhosts["/"].queues["images"].ready_count == 1
    peer = world.peer(metadata={"X-Mode": b"CALL"})
    peer.send([b"", b"x"])
    world.turn()
    assert peer.hear() == []
    peer = world.peer(metadata={"X-Mode": b"ask"})
    assert peer.ask(b"x") == [b"400 X-Mode is put or call, not 'ask'"]


def test_without_any_queue_there_is_none(world: World) -> None:
    peer = world.peer(settings=ZmtpSettings(default_queue=""))
    assert peer.ask(b"x")[0].startswith(b"400 ")
    assert peer.ask(b"GET", b"")[0] == b"400"
    assert peer.ask(b"PUT", b"", b"x")[0] == b"400"


def test_a_slip_of_the_pen_is_no_task(world: World) -> None:
    peer = world.peer()
    status, text = peer.ask(b"PUTT", b"q", b"x")
    assert status == b"400" and text.startswith(b"there is no verb PUTT")
    assert peer.ask(b"putt", b"q", b"x") == [b"200 0"]
    assert peer.ask(b"PUTT") == [b"200 1"]
    assert world.peer(metadata={"X-Queue": b"q"}).ask(b"PUTT", b"q") == [b"200 0"]


def test_an_empty_request_is_answered(world: World) -> None:
    dealer = world.peer("DEALER")
    assert dealer.call(b"") == [b"", b"400", b"there is nothing in this request"]
    assert dealer.call(b"id", b"") == [b"id", b"", b"400", b"there is nothing in this request"]


# -- envelopes


@pytest.mark.parametrize("envelope", [[], [b""], [b"id", b""], [b"a", b"b", b"c", b""]])
def test_a_dealers_envelope_comes_back(world: World, envelope: list[bytes]) -> None:
    dealer = world.peer("DEALER")
    assert dealer.call(*envelope, b"PING") == [*envelope, b"200", b"PONG"]
    assert dealer.call(*envelope, b"PUT", b"q", b"x") == [*envelope, b"200", b"0"]
    assert dealer.call(*envelope, b"PUT", b"q", b"x", b'{"type": "t"}')[-2:] == [b"200", b"1"]
    assert dealer.call(*envelope, b"NACK")[: len(envelope) + 1] == [*envelope, b"400"]
    if envelope:
        assert dealer.call(*envelope, b"hello") == [*envelope, b"200 0"]
        assert dealer.call(*envelope, b"PUT", b"q", b"") == [*envelope, b"200", b"2"]
    else:
        assert dealer.call(b"hello") == [b"200 0"]
        assert dealer.call(b"PUT", b"q", b"") == [b"200", b"2"]


def test_a_req_that_numbers_its_requests_is_understood(world: World) -> None:
    req = world.peer("REQ")
    assert req.call(b"PING", b"", b"PUT", b"q", b"x") == [b"PING", b"", b"200", b"0"]


# -- calls


def test_a_plain_call_is_answered_with_what_the_worker_says(world: World) -> None:
    client = world.peer(metadata={"X-Mode": b"call"})
    worker = world.peer()
    for result in ([b"done"], [b"two", b"frames"], [b""]):
        client.send([b"", b"work"])
        world.turn()
        tag = worker.ask(b"GET", b"tasks")[1]
        assert client.hear() == []
        assert worker.ask(b"ACK", tag, *result) == [b"200"]
        world.turn()
        assert client.hear() == [[b"", *result]]


def test_a_plain_call_that_fails_is_one_frame(world: World) -> None:
    client = world.peer(metadata={"X-Mode": b"call"}, settings=ZmtpSettings(call_timeout_ms=500))
    client.send([b"", b"work"])
    world.pass_ms(500)
    assert client.hear() == [[b"", b"408 nobody has answered in time"]]
    client.send([b"", b'{"n": 1}'])
    world.pass_ms(500)
    ((_, reply),) = client.hear()
    assert json.loads(reply) == {"status": 408, "text": "nobody has answered in time"}


# -- JSON


def test_json_tasks_are_answered_in_json(world: World) -> None:
    peer = world.peer()
    assert json.loads(peer.ask(b'{"n": 1}')[0]) == {"status": 200, "id": 0}
    assert json.loads(peer.ask(b"[1, 2]")[0]) == {"status": 200, "id": 1}
    assert json.loads(peer.ask(b'{"n": "\\"op\\""}')[0]) == {"status": 200, "id": 2}
    assert json.loads(peer.ask(b'{"a": "op", "op"')[0]) == {"status": 200, "id": 3}


def test_what_json_says_amqp_hears(world: World) -> None:
    peer = world.peer()
    bodies = {
        b'{"n": [1, null]}': {"body": {"n": [1, None]}},
        b"text": {"body": "text"},
        b"\xff\x00": {"body_base64": "/wA="},
        b"null": {"body": None},
        b"": {"body": ""},
    }
    for number, body in enumerate(bodies.values()):
        assert ask_json(peer, op="put", queue="q", **body) == {"status": 200, "id": number}
    queue = world.broker.vhosts["/"].queues["q"]
    runs = [span.run for span in queue.ready]
    assert [world.broker.letters.bodies(run, 0, 1)[0] for run in runs] == list(bodies)
    for body in bodies.values():
        got = ask_json(peer, op="GET", queue="q")
        assert {key: got[key] for key in body} == body
        assert (got["status"], got["redelivered"]) == (200, False)


def test_frames_and_properties_in_json(world: World) -> None:
    peer = world.peer()
    props = {"headers": {"n": 1}, "priority": 3, "type": "t"}
    ask_json(peer, op="put", queue="q", parts_base64=["YQ==", "Yg=="], props=props)
    got = ask_json(peer, op="get", queue="q")
    assert got["parts_base64"] == ["YQ==", "Yg=="]
    assert got["props"] == props | {"delivery_mode": 2}
    peer.ask(b"PUT", b"q", b"no json", b'{"content_type": "application/json"}')
    assert ask_json(peer, op="get", queue="q")["body"] == "no json"


def test_a_worker_in_json(world: World) -> None:
    client, worker = world.peer(), world.peer()
    client.send([b"", json.dumps({"op": "call", "queue": "q", "body": {"a": 2}}).encode()])
    world.turn()
    got = ask_json(worker, op="next", queue="q")
    assert got["body"] == {"a": 2}
    worker.send(
        [
            b"",
            json.dumps(
                {"op": "next", "tag": got["tag"], "queue": "q", "result": {"b": 4}, "wait_ms": 9}
            ).encode(),
        ]
    )
    world.turn()
    world.turn()
    assert json.loads(client.hear()[0][1]) == {"status": 200, "body": {"b": 4}}
    world.pass_ms(9)
    assert json.loads(worker.hear()[0][1]) == {"status": 204}
    ask_json(client, op="put", queue="q", body="x")
    got = ask_json(worker, op="get", queue="q", wait_ms=100)
    assert ask_json(worker, op="extend", tag=got["tag"], ms=1000) == {"status": 200}
    assert ask_json(worker, op="nack", tag=got["tag"]) == {"status": 200}
    got = ask_json(worker, op="get", queue="q")
    assert got["redelivered"] is True
    length = {"status": 200, "ready": 0, "in_flight": 1, "consumers": 0}
    assert ask_json(worker, op="len", queue="q") == length
    assert ask_json(worker, op="ack", tag=got["tag"], result_base64="AA==") == {"status": 200}
    assert ask_json(worker, op="ping") == {"status": 200, "pong": "PONG"}
    assert ask_json(worker, op="pub", topic="t", body="x") == {"status": 200}


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "putt"},
        {"op": None},
        {"op": ["put"]},
        {"op": "put", "queue": "q"},
        {"op": "put", "queue": 1, "body": "x"},
        {"op": "put", "queue": "q", "body": "x", "colour": "red"},
        {"op": "put", "queue": "q", "body": "x", "props": [1]},
        {"op": "put", "queue": "q", "body_base64": "*"},
        {"op": "put", "queue": "q", "body_base64": 1},
        {"op": "put", "queue": "q", "parts_base64": "YQ=="},
        {"op": "put", "queue": "q", "body": "\ud800"},
        {"op": "put", "queue": "\ud800", "body": "x"},
        {"op": "call", "queue": "q", "body": "x", "timeout_ms": "1"},
        {"op": "call", "queue": "q", "body": "x", "timeout_ms": 0},
        {"op": "get", "queue": "q", "wait_ms": -1},
        {"op": "nack", "tag": "x", "requeue": "no"},
        {"op": "extend", "tag": "x"},
        {"op": "pub", "topic": "t"},
        {"op": "pub", "body": "t"},
    ],
)
def test_json_requests_that_are_none(world: World, request_: dict[str, Any]) -> None:
    reply = ask_json(world.peer(), **request_)
    assert reply["status"] == 400 and reply["text"]
    assert (
        "q" not in world.broker.vhosts["/"].queues
        or not world.broker.vhosts["/"].queues["q"].ready_count
    )
