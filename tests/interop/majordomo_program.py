"""A Majordomo worker of its own process, to be killed: python -m tests.interop.majordomo_program PORT SERVICE [hold]

It shouts what it is asked, sends heartbeats, and opens a new connection when it is told to. With `hold` it prints
"holding" when it has a request, and keeps it.
"""

import sys
import time

import zmq

READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"
HEAD = [b"", b"MDPW01"]
PERIOD_S = 0.2


def connect(port: str, service: bytes) -> "zmq.Socket[bytes]":
    """A socket that has said READY."""
    worker = zmq.Context.instance().socket(zmq.DEALER)
    worker.linger = 0
    worker.connect(f"tcp://127.0.0.1:{port}")
    worker.send_multipart([*HEAD, READY, service])
    return worker


def main() -> None:
    """Works until it is killed."""
    port, service, hold = sys.argv[1], sys.argv[2].encode(), "hold" in sys.argv[3:]
    worker = connect(port, service)
    print("ready", flush=True)
    beat_s = time.monotonic()
    while True:
        if worker.poll(int(PERIOD_S * 500)):
            _, _, command, *rest = worker.recv_multipart()
            if command == DISCONNECT:
                worker.close()
                worker = connect(port, service)
                print("again", flush=True)
            elif command == REQUEST and hold:
                print("holding", flush=True)
            elif command == REQUEST:
                address, empty, *body = rest
                shouted = [frame.upper() for frame in body]
                worker.send_multipart([*HEAD, REPLY, address, empty, *shouted])
        if time.monotonic() - beat_s > PERIOD_S:
            beat_s = time.monotonic()
            worker.send_multipart([*HEAD, HEARTBEAT])


if __name__ == "__main__":
    main()
