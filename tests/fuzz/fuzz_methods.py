"""Fuzzes decode_method: CodecError, or a method whose encoding decodes to the same."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mansio.codec.amqp_methods import METHODS, BasicPublish, Method, QueueDeclare, decode_method
from mansio.codec.amqp_values import CodecError
from tests.fuzz import harness

NAME = "methods"


def seeds() -> list[bytes]:
    full: list[Method] = [
        QueueDeclare("queue", durable=True, arguments={"x-max-length": 10, "x": [{}]}),
        BasicPublish("exchange", "routing.key", mandatory=True),
    ]
    return [method().encode() for method in METHODS.values()] + [one.encode() for one in full]


def run(data: bytes) -> None:
    try:
        method = decode_method(data)
    except CodecError as error:
        assert error.code in (501, 502, 540), error
        assert error.text.isascii() and len(error.text) < 1200
        assert error.method in (0, int.from_bytes(data[:4], "big"))
        return
    again = method.encode()
    assert decode_method(again) == method
    assert again[:4] == data[:4]
    assert len(again) <= 5 * len(data)  # the dearest: 'f' becomes 'd', 'b' becomes 'I'
    assert method.ID in METHODS and type(method) is METHODS[method.ID]


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
