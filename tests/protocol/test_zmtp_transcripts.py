"""What libzmq said when its sockets shook hands with each other (tests/interop/record_zmtp.py), said to the broker."""

import json
from pathlib import Path
from typing import Any

import pytest

from mansio.protocol.zmtp.metadata import decode_metadata
from tests.protocol.zmtp_talk import World

DOCUMENT = json.loads(
    (Path(__file__).resolve().parents[1] / "testdata/zmtp/handshakes.json").read_text()
)
HANDSHAKES = DOCUMENT["handshakes"]
NAMES = [" ".join((each["socket"], each["mechanism"], each["password"])) for each in HANDSHAKES]
PADDING = slice(1, 9)
"""Of the signature: means nothing."""
AS_SERVER = 32
"""libzmq 4.3.5 says 0 also where it is the server; nobody looks at it."""


def commands(data: bytes) -> list[tuple[bytes, Any]]:
    """Names and data, metadata as what they say but for an identity that is empty; all are short."""
    found: list[tuple[bytes, Any]] = []
    while data:
        assert data[0] == 4
        body, data = data[2 : 2 + data[1]], data[2 + data[1] :]
        if body.startswith(b"^"):  # see `encode_misspelt_error`
            found.append((b"^RROR", body))
            continue
        name, said = body[1 : 1 + body[0]], body[1 + body[0] :]
        metadata = decode_metadata(said) if name == b"READY" else None
        if metadata is not None:
            metadata.pop("identity", None)
        found.append((name, said if metadata is None else metadata))
    return found


@pytest.mark.parametrize("size", [0, 1, 13])
@pytest.mark.parametrize("handshake", HANDSHAKES, ids=NAMES)
def test_the_broker_says_what_libzmq_said(handshake: dict[str, str], size: int) -> None:
    peer = World().socket(handshake["socket"])
    peer.send_bytes(bytes.fromhex(handshake["client"]), size)
    ours = bytearray(peer.raw())
    theirs = bytearray(bytes.fromhex(handshake["server"]))
    for said in (ours, theirs):
        said[PADDING] = bytes(8)
        said[AS_SERVER] = 0
    assert ours[:64] == theirs[:64]
    said_by_us = [each for each in commands(bytes(ours[64:])) if each[0] != b"SUBSCRIBE"]
    assert said_by_us == commands(bytes(theirs[64:]))
    assert peer.closed == (handshake["password"] == "wrong")
    if not peer.closed:
        assert peer.front.metadata["x-queue"] == b"jobs" and peer.front.queue_name == "jobs"
