"""The scripted client's own notation and codec: text to bytes and back."""

import pytest

from tests.interop.control import take_options
from tests.interop.listener import Names
from tests.interop.methods import BY_NAME
from tests.interop.session import Session, show_ranges
from tests.interop.transcript import parse
from tests.interop.values import (
    Reader,
    decode_table,
    encode_table,
    show_table,
    show_text,
    to_bytes,
    to_text,
)
from tests.interop.virtual import START_MS, VirtualBroker
from tests.interop.wire import decode_header, decode_method, header_payload, method_payload

TABLES = [
    "{}",
    "{a=1 b=-5 c=l:7 d=9000000000 e=true f=false g=void}",
    '{a=word b="two words" c="5" d="true" e=""}',
    "{a=b:-1 b=B:200 c=s:-300 d=u:60000 e=i:4000000000 f=L:7 g=f:1.5 h=d:2.5 i=T:1700000000}",
    "{a=D:2:314 b=x:00ff c={d={e=1}} f=[1 two {g=void} [3]]}",
    '{"key with spaces"=1 grün="☂"}',
]


@pytest.mark.parametrize("text", TABLES)
def test_a_table_survives_text_and_wire(text: str) -> None:
    _, table = Reader(text).take_value()
    assert show_table(table) == text
    raw = encode_table(table)
    assert decode_table(raw, 0) == (table, len(raw))


def test_a_table_is_encoded_as_the_specification_says() -> None:
    _, table = Reader("{a=1}").take_value()
    assert encode_table(table) == b"\x00\x00\x00\x07\x01aI\x00\x00\x00\x01"


def test_neighbouring_bits_share_an_octet() -> None:
    raw = method_payload("queue.declare", {"queue": "q", "durable": 1, "no_wait": 1})
    assert raw == b"\x00\x32\x00\x0a\x00\x00\x01q\x12\x00\x00\x00\x00"


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_method_survives_the_wire(name: str) -> None:
    samples = {"s": "text", "S": "long", "b": 1, "F": {"a": ("I", 1)}}
    values = {field: samples.get(kind, 7) for field, kind in BY_NAME[name].fields}
    method, decoded = decode_method(method_payload(name, values))
    assert method.name == name
    assert decoded == values


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="no field colour"):
        method_payload("queue.declare", {"colour": "red"})


def test_properties_survive_the_wire() -> None:
    properties = {"content_type": "text/plain", "headers": {"a": ("t", 1)}, "timestamp": 5}
    assert decode_header(header_payload(3, properties)) == (3, properties)


def test_bytes_that_are_not_utf8_survive_text() -> None:
    raw = b"a\xff\xfe\x00"
    assert to_bytes(to_text(raw)) == raw
    assert to_bytes(Reader(show_text(to_text(raw))).take_text()) == raw


def test_long_rows_of_one_character_are_short() -> None:
    assert show_text("x" * 300) == "x*300"
    assert Reader("x*300").take_text() == "x" * 300


def test_generated_names_are_filled_in() -> None:
    assert Reader("$gen1 $gen2", {"$gen1": "amq.gen-1"}).take_text() == "amq.gen-1"


def test_ranges() -> None:
    assert show_ranges({1, 2, 3, 5, 7, 8}) == "1-3,5,7-8"


def test_lines_after_a_difference_are_what_mansio_answers() -> None:
    text = "== T\nC login ch1\nS ch1 a\n# differs on Mansio: why\nM ch1 b\n"
    step = parse(text).sections[0].steps[0]
    assert step.expected(on_mansio=False) == ["S ch1 a"]
    assert step.expected(on_mansio=True) == ["S ch1 b"]


def test_a_line_of_another_kind_is_refused_with_its_number() -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse("== T\nX ch1 a\n")


def test_a_comment_on_top_of_a_file_holds_for_all_its_sections() -> None:
    text = "# not on Mansio: why\n# one turn per step on Mansio\n\n== A\nC login ch1\n\n== B\nC login ch1\n"
    transcript = parse(text)
    assert [section.absent for section in transcript.sections] == ["why", "why"]
    assert [section.virtual for section in transcript.sections] == [True, True]
    assert transcript.text() == text


def test_what_waits_is_played_without_sockets() -> None:
    transcript = parse("== A\nC login ch1\nC~ wait 50\n== B\nC login ch1\n")
    assert [section.virtual for section in transcript.sections] == [True, False]


def test_the_time_of_a_death_is_hidden_and_no_other_timestamp() -> None:
    text = "S ch1 basic.get-ok | headers={a=T:1700000000 x-death=[{count=l:1 time=T:1700000000}]}"
    assert Names().hide(text) == text.replace("time=T:1700000000", "time=T:$now")


def test_only_waiting_moves_the_clock_of_a_virtual_broker() -> None:
    place = VirtualBroker()
    wire = place.dial()
    wire.login({})
    wire.open_channel(1)
    assert place.broker.now_ms == START_MS
    place.wait(10_005)
    assert place.broker.now_ms == START_MS + 10_005
    assert wire.call(1, "queue.declare", "queue.declare-ok", queue="q")["message_count"] == 0


def test_the_time_of_the_broker_can_be_told_and_reckoned_with() -> None:
    names = {"$now": "1700000000"}
    table = Reader("{a=T:$now b=T:$now-5 c=T:$now+60 d=T:7}", names).take_value()[1]
    times = {key: number for key, (_, number) in table.items()}
    assert times == {"a": 1_700_000_000, "b": 1_699_999_995, "c": 1_700_000_060, "d": 7}


def test_the_clock_of_a_section_is_that_of_its_broker() -> None:
    place = VirtualBroker()
    session = Session(place)
    session.do("C login ch1")
    place.wait(3000)
    session.do("C ch1 exchange.declare exchange=amq.direct passive=1 arguments={x=T:$now}")
    assert session.names.known["$now"] == str((START_MS + 3000) // 1000)


def test_what_operators_do_is_undone_behind_the_section() -> None:
    place = VirtualBroker()
    session = Session(place)
    for line in (
        "C ctl add_vhost v1",
        "C ctl add_user alice 'a secret'",
        "C ctl set_permissions -p v1 alice .* '' ^q",
        "C login ch1 user=alice password='a secret' vhost=v1".replace("'", '"'),
    ):
        session.do(line)
    rights = place.broker.users.rights("alice", "v1")
    assert rights.permission == (".*", "", "^q")
    session.finish()
    assert (place.broker.users.find("alice"), list(place.broker.vhosts)) == (None, ["/"])


def test_options_stand_anywhere_in_a_command() -> None:
    words = ["p1", "--priority", "5", "^q", "-p", "v1", "{}"]
    known = {"-p": "/", "--priority": "0", "--apply-to": "all"}
    given = {"-p": "v1", "--priority": "5", "--apply-to": "all"}
    assert take_options(words, known) == (given, ["p1", "^q", "{}"])


@pytest.mark.parametrize("words", [["sing"], ["delete_user", "nobody"]])
def test_a_command_that_fails_is_noticed(words: list[str]) -> None:
    with pytest.raises((ValueError, AssertionError)):
        VirtualBroker().control(words)
