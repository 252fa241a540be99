"""The language of x-content bindings: what it sees of a message, what is refused, and what an evaluation may cost."""

import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.codec.amqp_properties import Properties
from mansio.codec.amqp_values import Timestamp
from mansio.protocol.amqp.content import Content
from mansio.protocol.amqp.message_view import MessageView
from mansio.protocol.expressions import BODY_BYTES_MAX, Expressions, _explain

EXPRESSIONS = Expressions()


def make_view(
    body: bytes = b"", headers: dict[str, Any] | None = None, **properties: Any
) -> MessageView:
    return MessageView(Content(b"", body), Properties(headers=headers, **properties), "shop", "a.b")


def matches(text: str, view: MessageView) -> bool:
    return EXPRESSIONS.compile(text).matches(view)


ORDER = make_view(
    b'{"total": 120.5, "count": 3, "paid": true, "customer": {"country": "NL", "tags": ["vip", "new"]}, "note": null}',
    {
        "region": "eu",
        "tries": 3,
        "price": Decimal("1.25"),
        "raw": b"ab",
        "deep": {"a": [1]},
        "x-y": 1.5,
    },
    content_type="application/json",
    priority=7,
    timestamp=Timestamp(1_800_000_000),
    message_id="m-1",
    delivery_mode=2,
)


@pytest.mark.parametrize(
    "text",
    [
        'headers["region"] == "eu"',
        'headers.region == "eu" && headers.tries >= 3',
        "headers.price > 1.0 && headers.price == 1.25",
        'headers.raw == b"ab"',
        'headers["x-y"] == 1.5',
        "headers.deep.a[0] == 1",
        '"region" in headers && !("city" in headers)',
        "has(headers.region) && !has(headers.city)",
        'headers.region in ["eu", "us"]',
        "properties.priority > 5",
        'properties.content_type == "application/json"',
        'properties.message_id.startsWith("m-")',
        "properties.delivery_mode == 2",
        'timestamp(properties.timestamp) > timestamp("2026-01-01T00:00:00Z")',
        "!has(properties.reply_to)",
        "body.total > 100 && body.count == 3",
        "body.paid",
        'body.customer.country == "NL"',
        '"vip" in body.customer.tags',
        "body.customer.tags.size() == 2",
        "body.note == null",
        "has(body.customer) && !has(body.address)",
        'body["total"] * 2.0 == 241.0',
        "body.missing == 1 || body.count == 3",
        'routing_key == "a.b" && exchange == "shop"',
        'routing_key.endsWith(".b") && routing_key.contains(".")',
        "body.count > 2 ? true : false",
        "string(body.count) == '3'",
    ],
)
def test_it_is_true(text: str) -> None:
    assert matches(text, ORDER)


@pytest.mark.parametrize(
    "text",
    [
        'headers["region"] == "us"',
        'headers.region == "EU"',
        "headers.missing == 1",
        "headers.missing != 1",
        "headers.region > 5",
        "headers.tries == '3'",
        "body.customer.country.city == 'x'",
        "body.missing.country == 'x'",
        "body.note.a == 1",
        "body[0] == 1",
        "body.count",
        "headers.region",
        "body.count / 0 == 1",
        "properties.reply_to == 'x'",
        "size(properties.priority) == 1",
        "int(headers.region) == 1",
    ],
)
def test_what_is_false_or_makes_no_sense_for_the_message_does_not_match(text: str) -> None:
    assert not matches(text, ORDER)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"hello", b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": 1}{"a": 1}', b"[" * 100_000,
        b'{"a": "\\ud800"}', b'{"a": 1' + b"0" * 400 + b"}", b'"' + b"x" * BODY_BYTES_MAX + b'"',
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_or_too_long_is_not_there(body: bytes) -> None:
    view = make_view(body, {"x": 1})
    assert not matches("body.a == 1", view)
    assert not matches("!has(body.a)", view)
    assert matches("headers.x == 1 || body.a == 1", view), "who needs it not is not disturbed"


def test_a_body_is_parsed_once_and_only_for_those_that_mention_it() -> None:
    view = make_view(b'{"a": 1}', {"x": 1})
    assert matches("headers.x == 1", view)
    assert view.memo[True] is None
    assert matches("body.a == 1", view)
    activation = view.memo[True]
    assert matches("body.a < 2", view) and view.memo[True] is activation


def test_any_json_may_be_the_body() -> None:
    assert matches("body == 'x'", make_view(b'"x"'))
    assert matches("body[1] == 2", make_view(b"[1, 2]"))
    assert matches("body == null", make_view(b" null "))
    assert matches("body == {'a': [1, 2.5, true]}", make_view(b'{"a": [1, 2.5, true]}'))


def test_text_that_is_not_utf_8_is_bytes() -> None:
    view = make_view(b"", {"x": "\udcff", "y": 1})
    assert matches('headers.y == 1 && headers.x == b"\\xff"', view)
    assert not matches("headers.x == 'a'", view)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("headers.x >", "line 1, column 12: Syntax error: mismatched input '<EOF>'"),
        ("a b", "line 1, column 3: Syntax error: extraneous input 'b'"),
        ("true &&\n  header.x == 1", "line 2, column 9: undeclared reference to 'header.x'"),
        ("1 + 'a' == 2", "line 1, column 3: found no matching overload for '_+_'"),
        ("routing_key > 5", "column 13: found no matching overload for '_>_' applied to '(string, int)'"),
        ("frobnicate(body)", "undeclared reference to 'frobnicate'"),
        ("routing_key", "it has to be true or false, and is of type STRING"),
        ("1 + 1", "it has to be true or false, and is of type INT"),
        ("body.items.exists(i, i > 1)", "undeclared reference to 'i'"),
        ("[1].all(body, true)", "undeclared reference to 'all'"),
        ("[1].map(body, body) == [1]", "undeclared reference to 'map'"),
        ("[1].filter(body, true) == [1]", "undeclared reference to 'filter'"),
        ("[1].exists_one(body, true)", "undeclared reference to 'exists_one'"),
        ("routing_key.matches('a*')", "undeclared reference to 'matches'"),
        ("matches(routing_key, 'a*')", "undeclared reference to 'matches'"),
        ("'" + "x" * 2000 + "' == routing_key", "2017 characters, at most 2000 are allowed"),
        ("body.a" + " + body.a" * 17 + " == 1", "'+' stands in it more than 16 times"),
        ("(" * 100 + "true" + ")" * 100, "recursion limit exceeded"),
        ("routing_key == 'a\0'", "NUL"),
        ("routing_key == '\udcff'", "it is not UTF-8"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_place_and_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        EXPRESSIONS.compile(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 160


def test_an_error_of_another_form_is_told_as_it_is() -> None:
    assert _explain("CANCELLED: limit exceeded [X]\nmore") == "CANCELLED: limit exceeded [X]"
    assert _explain("ERROR: <input>:-1:-1: Exceeded max recursion depth") == (
        "Exceeded max recursion depth"
    )


HUGE = make_view(
    b'{"l": [' + b"1," * 30_000 + b'1], "a": 1}',
    {f"h{i}": "x" * 1000 for i in range(60)} | {"s": "y" * 60_000},
)


@pytest.mark.parametrize(
    "text",
    [
        "+".join(["headers.s"] * 17) + " == ''",
        " || ".join(["body.l == body"] * 100),
        " || ".join(["2 in body.l"] * 100),
        " || ".join(["headers.s.contains('z')"] * 70),
        "!" * 1980 + "true && false",
        "-" * 1980 + "1 == 2",
        "[" + ",".join(["headers"] * 200) + "] == []",
        "&&".join(["true"] * 300) + " && false",
    ],
)
def test_no_expression_takes_long(text: str) -> None:
    """Each is as bad as can be within the limits; the time-out of the test run is the judge."""
    expression = EXPRESSIONS.compile(text)
    for _ in range(3):
        assert not expression.matches(HUGE)


names = st.sampled_from(["headers", "body", "properties", "routing_key", "exchange", "a", "x"])
WORDS = """
    == != < > <= >= && || ! + - * / % ? : . , ( ) [ ] { } in true false null has size 1 2.5 1u 'a' "b" b'c' r'\\'
    [?x] .? timestamp duration type int string double all exists map // \\ @ # é 🙂
"""
pieces = st.one_of(names, st.sampled_from([*WORDS.split(), "\n"]))
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(pieces, max_size=12), st.dictionaries(names, json_values, max_size=3), st.binary())
def test_nothing_but_value_error_is_raised(
    found: list[str], headers: dict[str, Any], body: bytes
) -> None:
    try:
        expression = EXPRESSIONS.compile(" ".join(found))
    except ValueError:
        return
    assert expression.matches(make_view(body, headers)) in (True, False)


def test_the_runtime_is_loaded_with_the_first_expression() -> None:
    program = (
        "import sys; import mansio.server.lifecycle as s; e = s.means().compile;"
        "print('cel_expr_python' in sys.modules); e('true'); print('cel_expr_python' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_without_the_runtime_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['cel_expr_python'] = None\n"
        "from mansio.protocol.expressions import Expressions\n"
        "try: Expressions().compile('true')\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'mansio[content]'" in done.stdout, done.stderr
