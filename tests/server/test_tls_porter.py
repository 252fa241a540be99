"""Strangers at the porter: who is let in, who is refused and with which words, and that a crowd has its limits."""

import asyncio
import logging
import ssl
from pathlib import Path

import pytest

from mansio.server import tls_porter, visitors
from mansio.server.tls_porter import LINE_MAX, LINES_PER_S
from tests.certificates import client_context, server_config
from tests.server.hello import (
    AEAD_ECDSA,
    HANDSHAKE_FAILURE,
    PROTOCOL_VERSION,
    TLS1_1,
    TLS1_2,
    UNEXPECTED_MESSAGE,
    client_hello,
    read_answer,
)
from tests.server.tls_stage import Line, TlsStage, play, settle

DAY_S = 86_400
HEAD = "TLS handshake with 127.0.0.1:50123 -> 127.0.0.1:5671 failed: "


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings since the last call, which all have a name of the peer in front."""
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    assert all(line.startswith(HEAD) for line in lines), lines
    return [line.removeprefix(HEAD) for line in lines]


def hello(line: Line) -> None:
    """The client begins."""
    with pytest.raises(ssl.SSLWantReadError):
        line.tls.do_handshake()
    line.send()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("name", "verify", "alert", "words"),
    [
        ("expired", "optional", "CERTIFICATE_EXPIRED", "refused: certificate has expired"),
        ("other/client-guest", "required", "UNKNOWN_CA", "unable to get local issuer certificate"),
        ("", "required", "(REQUIRED|HANDSHAKE)", "no certificate, and tls_verify is required"),
    ],
)
def test_a_client_hears_why_its_certificate_is_refused_and_so_does_the_operator(
    certificates: Path,
    caplog: pytest.LogCaptureFixture,
    version: ssl.TLSVersion,
    name: str,
    verify: str,
    alert: str,
    words: str,
) -> None:
    async def scene() -> None:
        client = client_context(certificates, name)
        client.maximum_version = version
        stage = TlsStage(certificates, tls_verify=verify)
        line = stage.line(client)
        with pytest.raises(ssl.SSLError, match=alert):
            await line.shake_hands()
            line.hear()
        assert line.socket.ended, "the client may read it, and closes"
        assert line.socket.reading and not line.socket.closing
        assert line.app.events == [] and stage.porter.failures == 1
        line.stream.eof_received()
        line.socket.close()
        await settle()
        assert stage.porter.strangers == 0 and line.app.events == []

    play(scene)
    (line,) = said(caplog)
    assert words in line


def test_versions_and_ciphers_that_are_refused(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        for data, alert in (
            (client_hello(TLS1_1, *AEAD_ECDSA), PROTOCOL_VERSION),
            (client_hello(TLS1_2, 0x000A, 0xC009), HANDSHAKE_FAILURE),
            (b"\x16\x03\x01\x00\x05hello", UNEXPECTED_MESSAGE),
        ):
            line = stage.line()
            line.socket.deliver(data)
            await settle()
            assert read_answer(line.socket.take()).alert == alert
            assert line.socket.ended

    play(scene)
    assert said(caplog) == [
        "it speaks only versions of TLS before 1.2 (tls_min_version)",
        "it offers no cipher that is allowed here (ECDHE with AES-GCM or ChaCha20)",
        "unexpected message",
    ]


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (
            b"AMQP\0\0\x09\1",
            "it speaks AMQP without TLS: switch TLS on in the client (amqps://), or connect it to port 5672",
        ),
        (b"GET / HTTP/1.1", "it does not speak TLS; its first bytes are 474554202f204854"),
        (b"\0", "it does not speak TLS; its first bytes are 00"),
        (b"\x17\x03\x03", "it does not speak TLS; its first bytes are 170303"),
    ],
)
def test_what_is_not_tls_is_closed_without_an_answer(
    certificates: Path, caplog: pytest.LogCaptureFixture, first: bytes, words: str
) -> None:
    async def scene() -> None:
        line = TlsStage(certificates).line()
        line.socket.deliver(first)
        assert line.socket.take() == b"" and line.socket.ended
        line.socket.deliver(b"and more")

    play(scene)
    assert said(caplog) == [words]


def test_a_refused_client_that_goes_on_talking_is_cut(certificates: Path) -> None:
    async def scene() -> None:
        line = TlsStage(certificates).line()
        line.socket.deliver(b"GET /")
        for _ in range(20):
            if not line.socket.gone:
                line.socket.deliver(bytes(8000))
        assert line.socket.gone

    play(scene)


def test_a_client_that_does_not_trust_us_is_explained(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        line = TlsStage(certificates).line(client_context(certificates, ca="other/ca"))
        with pytest.raises(ssl.SSLCertVerificationError):
            await line.shake_hands()
        line.send()
        await settle()

    play(scene)
    (text,) = said(caplog)
    assert text.startswith("it does not know who signed the server's certificate")


def test_whoever_leaves_early_is_a_warning_only_if_he_had_begun(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        silent, begun = stage.line(), stage.line()
        hello(begun)
        await settle()
        for line in (silent, begun):
            line.socket.close()
        await settle()
        assert stage.porter.strangers == 0
        assert stage.porter.failures == 1 and stage.porter.handshakes == 0

    with caplog.at_level(logging.DEBUG, "mansio.tls"):
        play(scene)
    debug = [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG]
    assert debug == ["closed 127.0.0.1:50123 -> 127.0.0.1:5671: it has said nothing"]
    assert said(caplog) == ["it has closed the connection before the handshake was done"]


def test_one_who_leaves_while_he_is_in_line_is_passed_over(certificates: Path) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        gone, next_one = stage.line(), stage.line()
        hello(gone)
        hello(next_one)
        gone.socket.abort()
        await settle()
        assert gone.socket.take() == b""
        next_one.down.write(next_one.socket.take())
        next_one.tls.do_handshake()

    play(scene)


@pytest.mark.parametrize("begun", [False, True])
def test_a_handshake_that_takes_too_long_is_cut(
    certificates: Path, caplog: pytest.LogCaptureFixture, begun: bool
) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        open_one = await stage.open()
        stage.porter.config = server_config(certificates, handshake_timeout_s=0.01)
        line = stage.line()
        if begun:
            hello(line)
        while not line.socket.gone:
            await settle()
        await settle()
        assert stage.porter.strangers == 0 and not open_one.socket.gone

    play(scene)
    assert said(caplog) == ["it took longer than handshake_timeout_s (0.01 s)"]


def test_one_who_was_refused_and_does_not_close_is_cut(
    certificates: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_porter, "LINGER_S", 0.01)

    async def scene() -> None:
        stage = TlsStage(certificates)
        line = stage.line()
        line.socket.deliver(b"GET /")
        assert not line.socket.gone
        while not line.socket.gone:
            await settle()

    play(scene)
    assert len(said(caplog)) == 1, "it is told once"


def test_of_too_many_strangers_the_one_goes_that_was_silent_longest(
    certificates: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_porter, "STRANGERS_MAX", 3)

    async def scene() -> None:
        stage = TlsStage(certificates)
        first, second, third = (stage.line() for _ in range(3))
        hello(first)  # in line: it is our turn to do something
        stage.line()
        assert [line.socket.gone for line in (first, second, third)] == [False, True, False]
        await settle()
        stage.line()
        assert first.socket.gone, "now it is silent, and the oldest"
        assert stage.porter.strangers == 3

    play(scene)
    assert said(caplog) == ["it was silent, and 3 others are at the door"] * 2


def test_one_step_of_one_handshake_in_a_pass_of_the_loop(certificates: Path) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        lines = [stage.line() for _ in range(5)]
        for line in lines:
            hello(line)
            assert not line.socket.reading, "it is not read from before it was its turn"
        answered: list[int] = []
        while len(answered) < 5:
            await asyncio.sleep(0)
            now = sum(1 for line in lines if line.socket.written)
            assert not answered or now <= answered[-1] + 1
            answered += [now] if not answered or now > answered[-1] else []
        assert answered == [1, 2, 3, 4, 5]
        assert all(line.socket.reading for line in lines)

    play(scene)


def test_behind_a_long_line_nobody_is_accepted(certificates: Path) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        called: list[int] = []
        for _ in range(LINE_MAX):
            assert not stage.porter.crowded
            hello(stage.line())
        assert stage.porter.crowded
        stage.porter.when_free(lambda: called.append(1))
        while not called:
            await settle()
        assert not stage.porter.crowded and called == [1]

    play(scene)


def test_a_flood_of_failures_is_few_lines(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        for _ in range(LINES_PER_S + 30):
            stage.line().socket.deliver(b"AMQP")
        assert len(said(caplog)) == LINES_PER_S
        stage.porter.tick()
        stage.porter.tick()
        assert stage.porter.failures == LINES_PER_S + 30

    play(scene)
    assert [record.getMessage() for record in caplog.records] == [
        "30 more connections were refused by TLS"
    ]


def test_a_certificate_that_has_ended_is_refused_also_when_a_session_is_resumed(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        client = client_context(certificates, "client-ann")
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        stage = TlsStage(certificates, tls_verify="required")
        first = await stage.open(client)
        later = stage.line(client)
        later.tls.session = first.tls.session
        stage.clock.wall += 1000 * DAY_S  # OpenSSL looks at the machine's, and at the first only
        await later.shake_hands()
        assert later.tls.session_reused
        assert later.app.events == [] and later.socket.ended

    play(scene)
    (line,) = said(caplog)
    assert line.startswith("its certificate has expired (")


def test_the_end_of_our_own_certificate_is_told_once_a_day(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        for days in (32, 31):
            stage.porter.valid_until_s = stage.clock.wall + days * DAY_S
            stage.clock.wall += 1.5 * DAY_S
            stage.porter.tick()
            stage.porter.tick()

    play(scene)
    assert [record.getMessage() for record in caplog.records] == [
        "the certificate of the server ends in 29.5 days: put a new one there and send SIGHUP"
    ]


def test_an_address_has_its_share_of_strangers(
    certificates: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitors, "STRANGERS_PER_ADDRESS", 2)

    async def scene() -> None:
        stage = TlsStage(certificates)
        await stage.open()
        lines = [stage.line() for _ in range(3)]
        assert [line.socket.gone for line in lines] == [False, False, True]
        lines[0].socket.close()
        await settle()
        assert not stage.line().socket.gone

    play(scene)
    assert said(caplog) == ["3 connections of 127.0.0.1 have not logged in, 3 in all"]


def test_closing_cuts_strangers_and_nobody_else(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        open_one, silent, begun = await stage.open(), stage.line(), stage.line()
        hello(begun)
        stage.porter.close()
        await settle()
        assert [each.socket.gone for each in (open_one, silent, begun)] == [False, True, True]
        assert stage.porter.strangers == 0

    play(scene)
    assert said(caplog) == []
