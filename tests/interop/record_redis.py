"""Writes the transcripts in tests/testdata/redis anew: what a redis-server on this machine answers.

python -m tests.interop.record_redis [FILE ...]
"""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.protocol import resp_transcripts as transcripts
from tests.protocol.resp_talk import command

QUIET_S = 0.05


class Server:
    """A redis-server of its own, without persistence."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        options = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        place = ["--port", str(self.port), "--dir", self._folder.name]
        self._process = subprocess.Popen(
            ["redis-server", *place, *options], stdout=subprocess.DEVNULL
        )

    def connect(self) -> socket.socket:
        """A client; waits until the server listens."""
        for _ in range(200):
            try:
                return socket.create_connection(("127.0.0.1", self.port), 5)
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise TimeoutError("redis-server does not listen")

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


def hear(client: socket.socket) -> bytes:
    """All that comes until nothing comes for a while."""
    client.settimeout(QUIET_S)
    data = b""
    try:
        while piece := client.recv(65_536):
            data += piece
    except (TimeoutError, ConnectionError):
        pass
    return data


def record(section: transcripts.Section, server: Server, proto: int) -> None:
    """Plays one section to the server."""
    sockets = {name: server.connect() for name in transcripts.clients(section)}
    for client in sockets.values():
        if proto == 3:
            client.sendall(command("HELLO", 3))
        hear(client)

    def send(who: str, data: bytes) -> None:
        try:
            sockets[who].sendall(data)
        except ConnectionError:
            pass

    for i, heard in transcripts.play(section, send, lambda who: hear(sockets[who])):
        section.heard[proto][i] = heard
    for client in sockets.values():
        client.close()


def record_file(path: Path) -> list[transcripts.Section]:
    """The sections of a transcript, with what a new server answers."""
    sections = transcripts.read(path)
    server = Server()
    try:
        for section in sections:
            for proto in (2, 3):
                record(section, server, proto)
    finally:
        server.stop()
    return sections


def main() -> None:
    for path in [Path(name) for name in sys.argv[1:]] or sorted(transcripts.FOLDER.glob("*.txt")):
        transcripts.write(path, record_file(path))


if __name__ == "__main__":
    main()
