"""Commands out of receive buffers: whole, byte by byte, with bytes behind, compiled and pure. Texts and rules are those
that redis-server 7.0.15 was seen to follow."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.codec import resp
from tests.codec.resp_reading import CODECS, NAMES, PURE, Reader, read

every_form = pytest.mark.parametrize("codec", CODECS, ids=NAMES)
every_size = pytest.mark.parametrize("size", [0, 1, 3])


def command(*args: bytes) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args)


@every_form
@every_size
@pytest.mark.parametrize(
    ("data", "commands"),
    [
        (command(b"GET", b"a\r\nb"), [[b"GET", b"a\r\nb"]]),
        (command(b"ECHO", b""), [[b"ECHO", b""]]),
        (command(b""), [[b""]]),
        (b"*-1\r\n*0\r\nPING\r\n", [[b"PING"]]),
        (b"*1\rX$4\rXPINGxxPING\n", [[b"PING"], [b"PING"]]),  # only \r is looked at
        (b"\r\n\n  \r\nPING\r\n", [[b"PING"]]),
        (b'PING "a\\x41\\n\'\\q" \r\n', [[b"PING", b"aA\n'q"]]),
        (b"PING 'a\\'b\\x41'\n", [[b"PING", b"a'b\\x41"]]),
        (b'"PING" a"b"\n', [[b"PING", b"ab"]]),
        (b"PING ''\r\n", [[b"PING", b""]]),
        (b'"\\r\\t\\b\\a\\xzz\\\\"\n', [[b"\r\t\b\axzz\\"]]),
        (b"PING a\x0bb\n", [[b"PING", b"a\x0bb"]]),
        (b"\x0c\x0bPING a\tb\n", [[b"PING", b"a", b"b"]]),
        (b"PING \0x\n", [[b"PING"]]),
    ],
)
def test_commands(codec: Any, size: int, data: bytes, commands: list[list[bytes]]) -> None:
    for junk in (b"", b"*1\r\n$1\r\n"):
        reader = read(codec, data, size, junk=junk)
        assert reader.commands == commands
        assert not reader.fault and not reader.tail


@every_form
@every_size
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"*abc\r\n", "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*99999999999999999999999\r\n", "invalid multibulk length"),
        (b"*-99999999999999999999999\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*-\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
        (b"*1\r\n\x80abc\r\n", "expected '$', got '\udc80'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$10000000000\r\n", "invalid bulk length"),
        (b'PING "a"b\r\n', "unbalanced quotes in request"),
        (b'PING "a\r\n', "unbalanced quotes in request"),
        (b"PING 'a\\'\r\n", "unbalanced quotes in request"),
        (b'P"IN"G\n', "unbalanced quotes in request"),
        (b'"\\', None),
        (b'"\\\n', "unbalanced quotes in request"),
    ],
)
def test_bytes_that_are_no_command(codec: Any, size: int, data: bytes, text: str | None) -> None:
    reader = read(codec, b"PING\r\n" + data, size)
    assert reader.commands == [[b"PING"]]
    assert reader.fault == (f"Protocol error: {text}" if text else "")


@every_form
@pytest.mark.parametrize("size", [0, 1000])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"PING " + b"a" * 65_536, "too big inline request"),
        (b"PING " + b"a" * 65_536 + b"\n", "too big inline request"),
        (b"*" + b"1" * 65_536, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 65_536, "too big bulk count string"),
    ],
)
def test_lines_have_limits(codec: Any, size: int, data: bytes, text: str) -> None:
    assert read(codec, data, size).fault == f"Protocol error: {text}"


@every_form
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"*11\r\n", "unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
    ],
)
def test_limits_before_a_login(codec: Any, data: bytes, text: str) -> None:
    assert read(codec, data, trusted=False).fault == f"Protocol error: {text}"
    assert not read(codec, data).fault
    most = command(*[b"a"] * 9, b"b" * 16_384)
    assert len(read(codec, most, trusted=False).commands) == 1


@every_form
def test_before_a_login_commands_come_one_by_one(codec: Any) -> None:
    """The first may be the login, and then other limits hold for the second."""
    scan = codec.Scan()
    scan.trusted = False
    buf, out = bytearray(b"PING\n" * 3), []
    assert scan.scan(buf, 0, 15, out) == 5
    assert out == [[b"PING"]]


@every_form
def test_the_same_command_again_is_one_item(codec: Any) -> None:
    data = command(b"RPOP", b"q") * 3 + command(b"GET", b"k") + b"PING\r\n" * 2
    reader = read(codec, data)
    assert reader.items == [
        ([b"RPOP", b"q"], 3, None, None),
        [b"GET", b"k"],
        ([b"PING"], 2, None, None),
    ]


@every_form
def test_pushes_to_one_key_are_one_item(codec: Any) -> None:
    push = [b"LPUSH", b"q"]
    data = command(*push, b"a") * 2 + command(*push, b"bb") + command(*push, b"c") * 2
    assert read(codec, data).items == [
        ([*push, b"a"], 5, [b"a", b"a", b"bb", b"c", b"c"], None),
    ]
    data = command(*push, b"a") + command(*push, b"b", b"c") * 2 + command(*push, b"d")
    assert read(codec, data).items == [
        ([*push, b"a"], 4, [b"a", b"b", b"c", b"b", b"c", b"d"], [1, 2, 2, 1]),
    ]
    assert read(codec, command(*push, b"a", b"b") * 2).items == [
        ([*push, b"a", b"b"], 2, [b"a", b"b", b"a", b"b"], [2, 2]),
    ]
    other = command(*push, b"a") + command(b"LPUSH", b"r", b"a") + command(b"RPUSH", b"r", b"a")
    assert len(read(codec, other).items) == 3
    assert read(codec, command(*push) * 2).items == [(push, 2, None, None)]
    assert read(codec, command(*push, b"a")).items == [[*push, b"a"]]


words = st.sampled_from([b"a", b"bb", b"", b"\r\n", b"$1", b"x" * 40, b"LPUSH", b"RPUSH", b"lpush"])
some = st.one_of(
    st.lists(words, min_size=1, max_size=4).map(lambda args: command(*args)),
    st.tuples(st.sampled_from([b"LPUSH", b"lpush"]), st.lists(words, min_size=1, max_size=3)).map(
        lambda push: command(push[0], b"q", *push[1])
    ),
    st.sampled_from([b"PING\r\n", b"\r\n", b"*0\r\n"]),
)
rows = st.lists(st.tuples(some, st.integers(1, 4)), max_size=8)


@given(rows, st.integers(0, 30))
def test_rows_are_the_commands_that_were_sent(found: list[tuple[bytes, int]], size: int) -> None:
    expected: list[list[bytes]] = []
    for data, times in found:
        for _ in range(times):
            one = Reader(PURE)
            one.receive(data)
            expected += one.commands
    whole = b"".join(data * times for data, times in found)
    for codec in CODECS:
        assert read(codec, whole, size).commands == expected
    assert read(resp, whole).items == read(PURE, whole).items


@every_form
@pytest.mark.parametrize("size", [4096, 65_536])
def test_large_commands_are_put_together(codec: Any, size: int) -> None:
    big = bytes(range(256)) * 4000
    data = command(b"SET", b"k", big) + command(b"MSET", *[b"%d" % i for i in range(50_000)])
    reader = read(codec, data + b"PING\n", size)
    assert [len(args) for args in reader.commands] == [3, 50_001, 1]
    assert reader.commands[0][2] == big
    assert reader.commands[1][-1] == b"49999"
    assert not reader.scan.assembling


@every_form
def test_faults_in_large_commands(codec: Any) -> None:
    data = b"*3\r\n" + command(b"a" * 40_000)[4:] + b"+1\r\n"
    for size in (0, 1000, 40_000):
        assert read(codec, data, size).fault == "Protocol error: expected '$', got '+'"


@every_form
@pytest.mark.parametrize("head", [b"*1000000\r\n$1\r\na\r\n", b"*1\r\n$536870912\r\nab"])
def test_announced_sizes_cost_nothing(codec: Any, head: bytes) -> None:
    tracemalloc.start()
    try:
        reader = read(codec, head + b"x" * 20_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500_000
    assert not reader.fault and not reader.commands


@every_form
def test_a_long_line_that_is_no_size_yet(codec: Any) -> None:
    data = b"*1\r\n$" + b"x" * 20_000 + b"\r"
    assert not read(codec, data).fault
    assert read(codec, data + b"\n").fault == "Protocol error: invalid bulk length"
    assert read(codec, data + b"\n", len(data)).fault == "Protocol error: invalid bulk length"


@every_form
def test_what_is_put_together_is_copied_once(codec: Any) -> None:
    """Each read adds what it brought; the bytes before are not read again, and are no part of what is left."""
    scan = codec.Scan()
    head = bytearray(b"*2\r\n$3\r\nSET\r\n$500000\r\n" + b"x" * 100_000)
    assert scan.scan(head, 0, len(head), []) == len(head)
    more = bytearray(b"y" * 100_000)
    assert scan.scan(more, 0, len(more), []) == len(more)
    assert scan.assembling


WHOLE = [
    command(b"PING"),
    command(b"LPUSH", b"list", bytes(3000)),
    command(b"ECHO", b""),
    command(*[b"word"] * 64),
]


@every_form
@pytest.mark.parametrize("data", WHOLE)
def test_one_whole_command_is_taken_at_once(codec: Any, data: bytes) -> None:
    scan = codec.Scan()
    for junk in (b"", b"*1\r\n", data):
        assert scan.one(bytearray(data + junk), len(data)) == read(codec, data).commands[0]


@every_form
@pytest.mark.parametrize(
    "data",
    [
        *(data + data for data in WHOLE),
        *(data[:-1] for data in WHOLE),
        *(data + b"*" for data in WHOLE),
        *(data + b"\r\n" for data in WHOLE),
        b"",
        b"*",
        b"*0\r\n",
        b"*-1\r\n",
        b"PING\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n+4\r\nPING\r\n",
        b"*2\r\n$4\r\nPING\r\n",
        b"*1\r\n$20000\r\n" + bytes(10_000),
    ],
)
def test_all_else_is_left_as_it_is(codec: Any, data: bytes) -> None:
    reader = Reader(codec)
    assert reader.scan.one(bytearray(data), len(data)) is None
    reader.receive(data)
    other = read(codec, data)
    assert (reader.items, reader.fault, reader.tail) == (other.items, other.fault, other.tail)


@every_form
def test_one_command_of_a_stranger_or_behind_a_part_of_another_is_not(codec: Any) -> None:
    stranger = Reader(codec, trusted=False)
    assert stranger.scan.one(bytearray(WHOLE[0]), len(WHOLE[0])) is None
    reader = Reader(codec)
    reader.receive(b"*2\r\n$4\r\nECHO\r\n$50000\r\n" + bytes(30_000))
    assert reader.scan.assembling
    assert reader.scan.one(bytearray(WHOLE[0]), len(WHOLE[0])) is None and reader.scan.assembling
