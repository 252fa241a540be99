"""Every method whole, cut off anywhere and with trailing bytes; the generated file is current."""

import struct
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_methods import METHODS, Method, decode_method
from mansio.codec.amqp_values import CodecError

ROOT = Path(__file__).resolve().parent.parent.parent

# The wire form of each kind of argument list, written out by hand from the specification.
WIRE: list[tuple[Method, str]] = [
    (m.ConnectionStart(0, 9, {"a": True}, b"PLAIN AMQPLAIN", b"en_US"),
     "000a000a 0009 00000004 0161 7401 0000000e 504c41494e20414d51504c41494e 00000005 656e5f5553"),
    (m.ConnectionStartOk({}, "PLAIN", b"\0guest\0guest", "en_US"),
     "000a000b 00000000 05504c41494e 0000000c 006775657374006775657374 05656e5f5553"),
    (m.ConnectionSecure(b"\xff"), "000a0014 00000001 ff"),
    (m.ConnectionTune(2047, 131072, 60), "000a001e 07ff 00020000 003c"),
    (m.ConnectionTuneOk(1, 4096, 0), "000a001f 0001 00001000 0000"),
    (m.ConnectionOpen("/"), "000a0028 012f 00 00"),
    (m.ConnectionOpenOk(), "000a0029 00"),
    (m.ConnectionClose(320, "bye", 60, 40), "000a0032 0140 03627965 003c 0028"),
    (m.ConnectionCloseOk(), "000a0033"),
    (m.ConnectionBlocked("low"), "000a003c 036c6f77"),
    (m.ConnectionUpdateSecret(b"s", "r"), "000a0046 00000001 73 0172"),
    (m.ChannelOpen(), "0014000a 00"),
    (m.ChannelOpenOk(), "0014000b 00000000"),
    (m.ChannelFlow(True), "00140014 01"),
    (m.AccessRequest("/data", False, True, True, True, True), "001e000a 052f64617461 1e"),
    (m.ExchangeDeclare("x", "topic", False, True, False, False, True, {"k": None}),
     "0028000a 0000 0178 05746f706963 12 00000003 016b56"),
    (m.ExchangeDelete("x", True, False), "00280014 0000 0178 01"),
    (m.ExchangeBind("d", "s", "k", True, {}), "0028001e 0000 0164 0173 016b 01 00000000"),
    (m.ExchangeUnbindOk(), "00280033"),
    (m.QueueDeclare("q", False, True, False, False, False, {}), "0032000a 0000 0171 02 00000000"),
    (m.QueueDeclareOk("q", 7, 1), "0032000b 0171 00000007 00000001"),
    (m.QueueBind("q", "x", "k", False, {}), "00320014 0000 0171 0178 016b 00 00000000"),
    (m.QueuePurge("q", True), "0032001e 0000 0171 01"),
    (m.QueueDelete("q", True, True, True), "00320028 0000 0171 07"),
    (m.QueueUnbind("q", "x", "k", {}), "00320032 0000 0171 0178 016b 00000000"),
    (m.BasicQos(1, 2, True), "003c000a 00000001 0002 01"),
    (m.BasicConsume("q", "t", False, True, False, True, {}),
     "003c0014 0000 0171 0174 0a 00000000"),
    (m.BasicCancel("t", True), "003c001e 0174 01"),
    (m.BasicPublish("x", "k", True, True), "003c0028 0000 0178 016b 03"),
    (m.BasicReturn(312, "NO_ROUTE", "x", "k"), "003c0032 0138 084e4f5f524f555445 0178 016b"),
    (m.BasicDeliver("t", 1, True, "x", "k"), "003c003c 0174 0000000000000001 01 0178 016b"),
    (m.BasicGet("q", True), "003c0046 0000 0171 01"),
    (m.BasicGetOk(1, False, "x", "k", 9), "003c0047 0000000000000001 00 0178 016b 00000009"),
    (m.BasicGetEmpty(), "003c0048 00"),
    (m.BasicAck(1 << 63, True), "003c0050 8000000000000000 01"),
    (m.BasicReject(1, True), "003c005a 0000000000000001 01"),
    (m.BasicRecoverAsync(True), "003c0064 01"),
    (m.BasicNack(1, True, True), "003c0078 0000000000000001 03"),
    (m.ConfirmSelect(True), "0055000a 01"),
    (m.TxSelect(), "005a000a"),
]  # fmt: skip


def example(number: int, method: type[Method]) -> Method:
    """An instance whose every field has a value of its own."""
    made = method()
    for place, item in enumerate(fields(method)):
        default = getattr(made, item.name)
        values: dict[type, object] = {
            bool: not default,
            int: number + place,
            str: f"{item.name}{place}é",
            bytes: item.name.encode() + b"\xff",
            dict: {"x": place, "y": [True, {"z": "text"}]},
        }
        setattr(made, item.name, values[type(default)])
    return made


EXAMPLES = [example(n, method) for n, method in enumerate(METHODS.values())]
NAMES = [method.NAME for method in METHODS.values()]


def refused(payload: bytes, code: int = 501) -> CodecError:
    with pytest.raises(CodecError) as caught:
        decode_method(payload)
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize(("method", "wire"), WIRE, ids=[method.NAME for method, _ in WIRE])
def test_wire_form(method: Method, wire: str) -> None:
    payload = bytes.fromhex(wire)
    assert method.encode() == payload
    assert decode_method(payload) == method


@pytest.mark.parametrize("method", EXAMPLES, ids=NAMES)
def test_each_method_comes_back_as_it_was(method: Method) -> None:
    payload = method.encode()
    assert decode_method(payload) == method
    assert type(method).decode(b"-" + payload, 5) == method
    assert payload[:4] == struct.pack(">I", method.ID)


@pytest.mark.parametrize("method", EXAMPLES, ids=NAMES)
def test_each_method_cut_off_anywhere_is_refused(method: Method) -> None:
    payload = method.encode()
    for size in range(4, len(payload)):
        error = refused(payload[:size])
        shown = ",".join(map(str, payload[4:size][:256]))
        assert (error.text, error.method) == (f"cannot decode <<{shown}>>", method.ID)


@pytest.mark.parametrize("method", EXAMPLES, ids=NAMES)
def test_each_method_with_trailing_bytes_is_refused(method: Method) -> None:
    for extra in (b"\0", b"\xce", bytes(300)):
        error = refused(method.encode() + extra)
        assert error.text.startswith("cannot decode <<")
        assert error.method == method.ID
        assert len(error.text) < 1100


ENDS_IN_BITS = [
    method
    for method in EXAMPLES
    if fields(method) and isinstance(getattr(method, fields(method)[-1].name), bool)
]


@pytest.mark.parametrize("method", ENDS_IN_BITS, ids=[method.NAME for method in ENDS_IN_BITS])
def test_bits_that_mean_nothing_are_ignored(method: Method) -> None:
    """As in RabbitMQ 3.10.8; no method has more than five in its last octet."""
    payload = method.encode()
    assert decode_method(payload[:-1] + bytes((payload[-1] | 0xE0,))) == method


def test_a_ticket_is_ignored() -> None:
    assert decode_method(bytes.fromhex("0032000a ffff 0171 00 00000000")) == m.QueueDeclare("q")


# Which short strings RabbitMQ 3.10.8 lets hold any bytes: those of the methods with content.
@pytest.mark.parametrize("method", METHODS.values(), ids=NAMES)
def test_text_that_is_not_utf_8(method: type[Method]) -> None:
    for item in fields(method):
        made = method()
        if not isinstance(getattr(made, item.name), str):
            continue
        setattr(made, item.name, "\udcff\udcfe")
        if method.CONTENT:
            assert decode_method(made.encode()) == made
        else:
            error = refused(made.encode())
            assert (error.text, error.method) == ("Malformed UTF-8 in shortstr", 0)


def test_a_wrong_length_comes_before_wrong_text() -> None:
    """As RabbitMQ 3.10.8: the whole is measured first."""
    assert refused(bytes.fromhex("0032000a 0000 02fffe 04 00000000 00")).text.startswith("cannot")
    assert refused(bytes.fromhex("0032000a 0000 02fffe 04 00000000")).text.startswith("Malformed")


def test_reserved_text_is_looked_at_too() -> None:
    assert refused(bytes.fromhex("0014000a 01ff")).text == "Malformed UTF-8 in shortstr"
    assert decode_method(bytes.fromhex("0014000a 0161")) == m.ChannelOpen()


@pytest.mark.parametrize("table", ["00000003 016b5a", "00000002 016b", "00000001 05"])
def test_a_malformed_table_names_its_method(table: str) -> None:
    error = refused(bytes.fromhex("0032000a 0000 00 00" + table), 502)
    assert error.method == m.QueueDeclare.ID


@pytest.mark.parametrize("claimed", ["00000001", "7fffffff", "80000000", "ffffffff"])
def test_a_claimed_table_length_is_not_believed(claimed: str) -> None:
    error = refused(bytes.fromhex("0032000a 0000 00 00" + claimed))
    assert error.text.startswith("cannot decode <<0,0,0,0,")


@pytest.mark.parametrize("ident", [0, 0x003C0063, 0x0063000A, 0x003C00C8, 0xFFFFFFFF])
def test_an_unknown_method(ident: int) -> None:
    error = refused(struct.pack(">I", ident) + b"anything", 540)
    assert error.method == ident
    assert error.text == f"unknown method: class {ident >> 16}, method {ident & 0xFFFF}"


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\x3c\0"])
def test_a_payload_without_ids(payload: bytes) -> None:
    shown = ",".join(map(str, payload))
    assert refused(payload).text == f"type 1, all octets = <<{shown}>>: unknown_frame"


def test_the_table_of_methods() -> None:
    assert len(METHODS) == 66
    assert len({method.NAME for method in METHODS.values()}) == 66
    for ident, method in METHODS.items():
        assert ident == method.ID
        words = method.NAME.replace(".", "-").split("-")
        assert method.__name__ == "".join(word.capitalize() for word in words)
    with_content = {method.NAME for method in METHODS.values() if method.CONTENT}
    assert with_content == {"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}


def test_defaults_are_those_of_the_specification() -> None:
    assert m.QueueDeclare(queue="x") == m.QueueDeclare("x", False, False, False, False, False, {})
    assert m.ExchangeDeclare().type == "direct"
    assert m.ConnectionOpen().virtual_host == "/"
    assert m.BasicReject().requeue and m.BasicNack().requeue
    assert not m.BasicRecover().requeue
    first, second = m.QueueDeclare(), m.QueueDeclare()
    assert first.arguments is not second.arguments


@pytest.mark.parametrize(
    "method",
    [m.BasicAck(-1), m.BasicAck(1 << 64), m.QueueDeclareOk("q" * 256), m.ConnectionTune(1 << 16)],
)
def test_what_does_not_fit_is_an_error_of_the_caller(method: Method) -> None:
    with pytest.raises((ValueError, struct.error)):
        method.encode()


def test_frames() -> None:
    assert m.frame(8, 0, b"") == bytes.fromhex("08 0000 00000000 ce")
    assert m.frame(3, 65535, b"ab") == bytes.fromhex("03 ffff 00000002 6162 ce")
    assert m.method_frame(1, m.TxSelect()) == bytes.fromhex("01 0001 00000004 005a000a ce")
    assert m.method_frame(2, m.BasicQosOk()) == m.frame(1, 2, m.BasicQosOk().encode())
    kinds = (m.FRAME_METHOD, m.FRAME_HEADER, m.FRAME_BODY, m.FRAME_HEARTBEAT, m.FRAME_END)
    assert kinds == (1, 2, 3, 8, 0xCE)


@given(st.sampled_from(EXAMPLES), st.data())
def test_damage_raises_nothing_else(method: Method, data: st.DataObject) -> None:
    payload = bytearray(method.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_method(bytes(payload))
    except CodecError:
        return
    assert decode_method(found.encode()) == found


@given(st.sampled_from(list(METHODS)), st.binary(max_size=64))
def test_any_arguments_raise_nothing_else(ident: int, raw: bytes) -> None:
    try:
        found = decode_method(struct.pack(">I", ident) + raw)
    except CodecError:
        return
    assert decode_method(found.encode()) == found


@given(st.integers(0, (1 << 64) - 1), st.booleans(), st.booleans())
def test_settlements(tag: int, multiple: bool, requeue: bool) -> None:
    nack = m.BasicNack(tag, multiple, requeue)
    assert decode_method(nack.encode()) == nack
    ack = m.BasicAck(tag, multiple)
    assert decode_method(ack.encode()) == ack


def test_the_generated_file_is_current() -> None:
    tool = [sys.executable, str(ROOT / "tools/gen_amqp_methods.py"), "--check"]
    assert subprocess.run(tool, check=False).returncode == 0
