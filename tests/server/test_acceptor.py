"""What sockets of accepted connections are set to."""

import socket

from mansio.server.acceptor import KEEPALIVE, tune


def test_a_machine_that_is_cut_off_is_noticed_and_nothing_waits_for_more() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        tune(client)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        idle = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        assert idle == KEEPALIVE["TCP_KEEPIDLE"]
