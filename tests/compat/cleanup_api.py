"""The two calls of RabbitMQ's management API with which amqpstorm's AMQP tests clean up behind themselves.

`cleanup_api.py HTTP_PORT AMQP_PORT` serves DELETE /api/queues/<vhost>/<name> and DELETE /api/exchanges/<vhost>/<name>
by way of AMQP, until it is ended. Everything else is 404, as on a broker without a management API.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import unquote

import pika


class CleanUp(BaseHTTPRequestHandler):
    """One request."""

    amqp_port = 5672

    def do_DELETE(self) -> None:
        parts = [unquote(part) for part in self.path.strip("/").split("/")]
        if len(parts) != 4 or parts[1] not in ("queues", "exchanges"):
            self._answer(404)
            return
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.amqp_port))
        channel = connection.channel()
        if parts[1] == "queues":
            channel.queue_delete(parts[3])
        else:
            channel.exchange_delete(parts[3])
        connection.close()
        self._answer(204)

    def do_GET(self) -> None:
        self._answer(404)

    do_PUT = do_POST = do_GET

    def _answer(self, status: int) -> None:
        self.send_response(status)
        body = b'{"error":"Object Not Found","reason":"Not Found"}' if status == 404 else b""
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the suite's log is what counts."""


if __name__ == "__main__":
    CleanUp.amqp_port = int(sys.argv[2])
    HTTPServer(("127.0.0.1", int(sys.argv[1])), CleanUp).serve_forever()
