"""Records what libzmq says when its sockets shake hands: `python -m tests.interop.record_zmtp` writes `TRANSCRIPTS`.

A pair of sockets with a program between them that writes down the bytes of both ways; the one that binds is of the type
that the broker is to such a peer.
"""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

TRANSCRIPTS = Path(__file__).resolve().parents[1] / "testdata/zmtp/handshakes.json"
PAIRS = {
    "REQ": "ROUTER",
    "DEALER": "ROUTER",
    "PUSH": "PULL",
    "PULL": "PUSH",
    "SUB": "XPUB",
    "XSUB": "XPUB",
    "PUB": "XSUB",
    "XPUB": "XSUB",
    "REP": "DEALER",
    "ROUTER": "DEALER",
}
USERS = {"guest": "guest"}
END = {zmq.Event.HANDSHAKE_SUCCEEDED, zmq.Event.HANDSHAKE_FAILED_AUTH}
SILENCE_MS = 500
"""Behind which nothing more is said: a server does not report that it has refused a client."""


class Wire:
    """Forwards one connection to `port` and keeps what went by."""

    def __init__(self, port: int) -> None:
        self.client = bytearray()
        self.server = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._target = port
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        for source, sink, kept in ((near, far, self.client), (far, near, self.server)):
            threading.Thread(target=self._pump, args=(source, sink, kept), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        try:
            while data := source.recv(65_536):
                kept += data
                sink.sendall(data)
        except OSError:
            pass


def record(context: "zmq.Context[Any]", kind: str, password: str | None) -> dict[str, str]:
    """One handshake of a socket of this type. `password`: with PLAIN."""
    with (
        context.socket(getattr(zmq, PAIRS[kind])) as server,
        context.socket(getattr(zmq, kind)) as client,
    ):
        server.linger = client.linger = 0
        if password is not None:
            server.plain_server = True
            client.plain_username, client.plain_password = b"guest", password.encode()
        client.setsockopt(zmq.METADATA, b"X-Queue:jobs")
        wire = Wire(server.bind_to_random_port("tcp://127.0.0.1"))
        monitors = [server.get_monitor_socket(), client.get_monitor_socket()]
        client.connect(f"tcp://127.0.0.1:{wire.port}")
        for monitor in monitors:
            while monitor.poll(SILENCE_MS):
                if zmq.Event(recv_monitor_message(monitor)["event"]) in END:
                    break
        return {
            "socket": kind,
            "mechanism": "NULL" if password is None else "PLAIN",
            "password": password or "",
            "client": wire.client.hex(),
            "server": wire.server.hex(),
        }


def main() -> None:
    context: zmq.Context[Any] = zmq.Context()
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_plain(domain="*", passwords=USERS)
    found = [
        record(context, kind, password) for kind in PAIRS for password in (None, "guest", "wrong")
    ]
    authenticator.stop()
    document = {"libzmq": zmq.zmq_version(), "handshakes": found}
    TRANSCRIPTS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
