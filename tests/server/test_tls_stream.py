"""One connection with TLS on a fake socket: bytes both ways, back-pressure, and all the ways in which it ends."""

import logging
import ssl
from pathlib import Path

import pytest

from mansio.server.tls_context import make_context
from mansio.server.tls_stream import EMPTY_BYTES_MAX, STEP_BYTES, UNREAD_BYTES_MAX, YOUNG_BYTES
from tests.certificates import client_context, server_config
from tests.server.openssl import KeyUpdater
from tests.server.tls_stage import App, TlsStage, play, settle

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def context(folder: Path, version: ssl.TLSVersion, name: str = "") -> ssl.SSLContext:
    found = client_context(folder, name)
    found.minimum_version = found.maximum_version = version
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_in_any_portions_both_ways(certificates: Path, version: ssl.TLSVersion) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open(context(certificates, version))
        for data in (b"a", b"b" * 1000, b"c" * 70_000):
            line.tls.write(data)
            for octet in line.up.read():
                line.socket.deliver(bytes((octet,)))
            assert line.app.received == data
            line.app.received.clear()
            line.stream.write(data)
            assert line.hear() == data

    play(scene)


def test_much_at_once_comes_in_few_portions(certificates: Path) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open(app=App(1 << 20))
        line.send(bytes(YOUNG_BYTES))
        line.app.portions.clear()
        data = bytes(range(256)) * 2000
        line.send(data)
        assert line.app.received[YOUNG_BYTES:] == data
        assert len(line.app.portions) < 5

    play(scene)


def test_pieces_that_are_written_together_share_records(certificates: Path) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open()
        line.stream.writelines([b"abc", memoryview(b"def"), b""] * 1000)
        assert len(line.socket.written) < 6000 + 100
        assert line.hear() == b"abcdef" * 1000
        line.stream.writelines([bytes(STEP_BYTES), b"x" * STEP_BYTES, b"end"])
        assert line.hear() == bytes(STEP_BYTES) + b"x" * STEP_BYTES + b"end"
        line.stream.write(b"")
        assert line.socket.take() == b""

    play(scene)


def test_a_small_buffer_above_gets_all_of_a_record(certificates: Path) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open(app=App(100))
        data = bytes(range(250)) * 300
        line.send(data)
        assert line.app.received == data

    play(scene)


@pytest.mark.parametrize("size", [10_000, 3 * YOUNG_BYTES])
def test_nothing_is_handed_on_while_the_protocol_above_does_not_read(
    certificates: Path, size: int
) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open(app=App(1000))
        data = bytes(range(250)) * (size // 250)
        line.app.pauses_after = 3000
        for at in range(0, size, 2500):
            line.tls.write(data[at : at + 2500])
        sent = line.up.read()
        line.socket.deliver(sent[:8192])
        assert len(line.app.received) == 3000 and not line.socket.reading
        assert not line.stream.is_reading()
        rounds = 0
        at = 8192
        while len(line.app.received) < len(data):
            rounds += 1
            line.app.pauses_after = len(line.app.received) + 5000
            line.stream.resume_reading()
            await settle()
            assert line.socket.reading is line.stream.is_reading()
            if line.socket.reading:
                line.socket.deliver(sent[at : at + 8192])
                at += 8192
        assert line.app.received == data
        assert rounds >= size // 6000 - 1

    play(scene)


def test_what_a_client_says_with_its_handshake_is_not_lost(certificates: Path) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        line = stage.line()
        for _ in range(2):
            try:
                line.tls.do_handshake()
            except ssl.SSLWantReadError:
                line.send()
                await settle()
                line.down.write(line.socket.take())
        line.tls.write(b"early")
        line.send()
        await settle()
        assert line.app.events == ["made"] and line.app.received == b"early"

    play(scene)


def test_back_pressure_is_that_of_the_socket(certificates: Path) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open()
        line.stream.set_write_buffer_limits(high=1000, low=500)
        assert line.socket.limits == (1000, 500)
        line.socket.stuck = True
        line.stream.write(bytes(5000))
        assert line.stream.get_write_buffer_size() > 5000
        line.stream.pause_writing()
        line.stream.resume_writing()
        assert line.app.events == ["made", "stuck", "unstuck"]

    play(scene)


@pytest.mark.parametrize("version", VERSIONS)
def test_closing_tells_the_client_behind_all_that_was_written(
    certificates: Path, version: ssl.TLSVersion
) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open(context(certificates, version))
        line.tls.write(b"not read any more")
        line.stream.write(b"last words")
        line.stream.close()
        line.stream.close()
        assert line.stream.is_closing()
        assert line.hear() == b"last words<end>"
        line.stream.write(b"too late")
        assert line.socket.take() == b""
        await settle()
        assert line.app.events == ["made", "lost"]

    play(scene)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_says_the_end_is_answered_and_closed(
    certificates: Path, version: ssl.TLSVersion
) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open(context(certificates, version))
        line.tls.write(b"bye")
        with pytest.raises(ssl.SSLWantReadError):
            line.tls.unwrap()
        line.send()
        assert line.app.received == b"bye" and line.app.events == ["made", "eof"]
        assert line.hear() == b"<end>"
        await settle()
        assert line.app.events == ["made", "eof", "lost"]

    play(scene)


def test_a_socket_that_ends_without_a_word_is_an_end(certificates: Path) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open()
        assert not line.stream.eof_received(), "the socket is to be closed"
        line.socket.close()
        await settle()
        assert line.app.events == ["made", "eof", "lost"]
        line.stream.write(b"nobody is there")
        line.stream.close()
        line.stream.abort()
        line.stream.resume_reading()
        line.stream.pause_reading()
        assert line.stream.get_write_buffer_size() == 0 and line.stream.is_closing()

    play(scene)


def test_aborting_says_nothing(certificates: Path) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open()
        line.stream.abort()
        assert line.socket.take() == b""
        await settle()
        assert line.app.events == ["made", "lost"]

    play(scene)


def test_damaged_records_break_the_connection(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        line = await TlsStage(certificates).open()
        line.tls.write(b"first")
        good = line.up.read()
        line.tls.write(b"second")
        bad = bytearray(line.up.read())
        bad[-1] ^= 1
        line.socket.deliver(good + bytes(bad))
        assert line.app.received == b"first", "what came before is good"
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            line.hear()
        await settle()
        assert line.app.events == ["made", "lost"]

    play(scene)
    (record,) = caplog.records
    assert record.getMessage() == (
        "TLS with 127.0.0.1:50123 -> 127.0.0.1:5671 is broken: decryption failed or bad record mac"
    )


@pytest.mark.parametrize("old", [False, True])
def test_records_without_data_are_not_taken_for_ever(
    certificates: Path, caplog: pytest.LogCaptureFixture, old: bool
) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        line = stage.line()
        client = KeyUpdater()
        await client.shake_hands(line)
        if old:
            line.socket.deliver(client.write(bytes(YOUNG_BYTES)))
        sent = 0
        while not line.socket.closing:
            data = client.update_keys()
            line.socket.deliver(data)
            sent += len(data)
            assert sent < 2 * EMPTY_BYTES_MAX
        assert sent > (EMPTY_BYTES_MAX if old else 200)
        assert len(line.app.received) == (YOUNG_BYTES if old else 0)

    play(scene)
    assert caplog.records[-1].getMessage().endswith("is broken: too many records without data")


def test_new_keys_between_data_are_taken(certificates: Path) -> None:
    async def scene() -> None:
        line = TlsStage(certificates).line()
        client = KeyUpdater()
        await client.shake_hands(line)
        for _ in range(200):
            line.socket.deliver(client.update_keys() + client.write(b"x"))
        assert line.app.received == b"x" * 200 and not line.socket.closing
        assert line.socket.take(), "its new keys are answered with ours"

    play(scene)


def test_a_client_that_asks_for_new_keys_and_does_not_read_is_cut(certificates: Path) -> None:
    async def scene() -> None:
        line = TlsStage(certificates).line()
        client = KeyUpdater()
        await client.shake_hands(line)
        line.socket.pending_bytes = UNREAD_BYTES_MAX
        line.socket.stuck = True
        line.socket.deliver(client.write(b"x"))
        assert not line.socket.gone
        line.socket.deliver(client.update_keys() + client.write(b"x"))
        line.socket.deliver(client.update_keys() + client.write(b"x"))
        assert line.socket.gone

    play(scene)


def test_the_user_of_a_certificate(certificates: Path) -> None:
    async def scene() -> None:
        for verify, name, user in (
            ("none", "client-ann", None),
            ("optional", "client-ann", "ann"),
            ("optional", "", None),
            ("required", "client-guest", "guest"),
        ):
            stage = TlsStage(certificates, tls_verify=verify)
            line = await stage.open(client_context(certificates, name))
            assert line.stream.get_extra_info("certificate_user") == user
        assert line.stream.get_extra_info("peername") == ("127.0.0.1", 50123)
        assert line.stream.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert line.stream.get_extra_info("nothing", 1) == 1

    play(scene)


def test_an_open_connection_is_not_told_of_what_comes_later(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        stage = TlsStage(certificates)
        line = await stage.open()
        stage.porter.context = make_context(server_config(certificates, "rsa"))
        line.send(b"still here")
        assert line.app.received == b"still here"

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert not caplog.records
