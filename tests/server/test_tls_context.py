"""Versions, ciphers and certificates: a scan of all that a client may offer, and files that cannot be used."""

import shutil
import ssl
from pathlib import Path

import pytest

from mansio.server.tls_context import TlsError, make_context, readable_by_others, trial
from tests.certificates import client_context, server_config
from tests.server.hello import (
    AEAD_1_3,
    AEAD_ECDSA,
    AEAD_RSA,
    CIPHERS,
    HANDSHAKE_FAILURE,
    PROTOCOL_VERSION,
    SSL3,
    TLS1_0,
    TLS1_1,
    TLS1_2,
    TLS1_3,
    Answer,
    client_hello,
    read_answer,
)


def offer(context: ssl.SSLContext, hello: bytes) -> Answer:
    """What a server with this context says to a ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(hello)
    try:
        server.do_handshake()
    except ssl.SSLError:
        pass
    return read_answer(outgoing.read())


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection in memory. Errors: ssl.SSLError of whichever side refuses."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(down, up, server_hostname=name)
    ours = server.wrap_bio(up, down, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for end in (theirs, ours):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                pass
    assert len(done) == 2
    return ours, theirs


@pytest.mark.parametrize(("name", "allowed"), [("server", AEAD_ECDSA), ("rsa", AEAD_RSA)])
def test_of_all_ciphers_each_alone_only_modern_ones_are_taken(
    certificates: Path, name: str, allowed: set[int]
) -> None:
    context = make_context(server_config(certificates, name))
    taken = set()
    for cipher in CIPHERS:
        answer = offer(context, client_hello(TLS1_2, cipher))
        if answer.alert:
            assert answer == Answer(alert=HANDSHAKE_FAILURE), hex(cipher)
        else:
            assert (answer.version, answer.cipher) == (TLS1_2, cipher)
            taken.add(cipher)
    assert taken == allowed


def test_ciphers_of_tls_1_3(certificates: Path) -> None:
    context = make_context(server_config(certificates))
    answers = {cipher: offer(context, client_hello(TLS1_3, cipher)) for cipher in CIPHERS}
    taken = {cipher for cipher, answer in answers.items() if not answer.alert}
    assert taken == AEAD_1_3
    assert {answers[cipher].version for cipher in taken} == {TLS1_3}


@pytest.mark.parametrize("version", [SSL3, TLS1_0, TLS1_1])
@pytest.mark.parametrize("name", ["server", "rsa"])
def test_old_versions_are_refused(certificates: Path, name: str, version: int) -> None:
    context = make_context(server_config(certificates, name))
    alert = HANDSHAKE_FAILURE if version == SSL3 else PROTOCOL_VERSION
    assert offer(context, client_hello(version, *CIPHERS)).alert == alert


def test_tls_1_3_alone(certificates: Path) -> None:
    context = make_context(server_config(certificates, tls_min_version="1.3"))
    assert offer(context, client_hello(TLS1_2, *AEAD_ECDSA)).alert == PROTOCOL_VERSION
    assert offer(context, client_hello(TLS1_3, *AEAD_1_3)).version == TLS1_3


def test_nothing_is_compressed(certificates: Path) -> None:
    context = make_context(server_config(certificates))
    hello = client_hello(TLS1_2, *AEAD_ECDSA, compressions=b"\1\0")
    assert offer(context, hello).compression == 0
    assert offer(context, client_hello(TLS1_2, *AEAD_ECDSA, compressions=b"\1")).alert
    assert shake_hands(context, client_context(certificates))[0].compression() is None


def test_the_server_chooses_the_cipher(certificates: Path) -> None:
    context = make_context(server_config(certificates))
    for order in (sorted(AEAD_ECDSA), sorted(AEAD_ECDSA, reverse=True)):
        assert offer(context, client_hello(TLS1_2, *order)).cipher == 0xC02C


def test_sessions_are_not_resumed(certificates: Path) -> None:
    ours, theirs = shake_hands(
        make_context(server_config(certificates)), client_context(certificates)
    )
    ours.write(b"x")
    assert theirs.read(1) == b"x"
    assert ours.version() == "TLSv1.3"
    assert theirs.session is None or not theirs.session.has_ticket


@pytest.mark.parametrize(
    ("name", "ca", "verify", "words"),
    [
        ("", "ca", "required", "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        ("expired", "ca", "optional", "certificate has expired"),
        ("expired", "ca", "required", "certificate has expired"),
        ("future", "ca", "required", "certificate is not yet valid"),
        ("other/client-guest", "ca", "optional", "unable to get local issuer"),
        ("server", "ca", "required", "purpose"),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_certificates_of_clients_that_are_refused(
    certificates: Path, name: str, ca: str, verify: str, words: str, version: ssl.TLSVersion
) -> None:
    context = make_context(server_config(certificates, tls_verify=verify))
    client = client_context(certificates, name, ca)
    client.maximum_version = version
    with pytest.raises(ssl.SSLError, match=words):
        shake_hands(context, client)


@pytest.mark.parametrize(
    ("verify", "seen"), [("none", False), ("optional", True), ("required", True)]
)
def test_certificates_of_clients_that_are_taken(
    certificates: Path, verify: str, seen: bool
) -> None:
    context = make_context(server_config(certificates, tls_verify=verify))
    ours, _ = shake_hands(context, client_context(certificates, "client-ann"))
    certificate = ours.getpeercert()
    assert bool(certificate) is seen
    if certificate:
        assert certificate["subject"] == ((("commonName", "ann"),),)


def test_a_key_with_a_password(certificates: Path) -> None:
    key = str(certificates / "locked.key")
    config = server_config(
        certificates, tls_key=key, tls_key_password_file=str(certificates / "password")
    )
    make_context(config)
    with pytest.raises(TlsError, match=r"locked\.key is encrypted: set tls_key_password_file"):
        make_context(server_config(certificates, tls_key=key))


def test_files_that_cannot_be_used(certificates: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate\n")
    locked = {"tls_key": str(certificates / "locked.key")}
    for settings, words in (
        ({"tls_cert": "/nonexistent"}, "tls_cert: cannot read /nonexistent: No such file"),
        ({"tls_key": "/nonexistent"}, "tls_key: cannot read /nonexistent: No such file"),
        ({"tls_ca": "/nonexistent"}, "tls_ca: cannot read /nonexistent: No such file"),
        ({"tls_cert": str(junk)}, "tls_cert, tls_key: no certificate with its key in"),
        ({"tls_key": str(junk)}, "tls_cert, tls_key: no certificate with its key in"),
        ({"tls_key": ""}, "tls_cert, tls_key: no certificate with its key in"),
        ({"tls_key": str(certificates / "rsa.key")}, "is not the key of the certificate in"),
        ({"tls_key": str(certificates / "client-ann.key")}, "is not the key of the certificate in"),
        ({"tls_ca": str(junk)}, "tls_ca: no certificates in PEM form in"),
        (locked | {"tls_key_password_file": str(junk)}, "no key that the password in"),
        (locked | {"tls_key_password_file": "/nonexistent"}, "cannot read /nonexistent"),
    ):
        with pytest.raises(TlsError, match=words) as caught:
            make_context(server_config(certificates, **settings))
        assert "\n" not in str(caught.value)


def test_key_and_certificate_in_one_file(certificates: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(
        (certificates / "server.key").read_bytes() + (certificates / "server.pem").read_bytes()
    )
    config = server_config(certificates, tls_cert=str(both), tls_key="")
    assert trial(make_context(config), config)["subject"] == ((("commonName", "localhost"),),)


@pytest.mark.parametrize("verify", ["none", "optional", "required"])
def test_a_trial_tells_what_the_certificate_says(certificates: Path, verify: str) -> None:
    config = server_config(certificates, tls_verify=verify, tls_min_version="1.3")
    found = trial(make_context(config), config)
    assert found["subject"] == ((("commonName", "localhost"),),) and found["notAfter"]


def test_a_trial_finds_what_clients_would_refuse(certificates: Path) -> None:
    for name, words in (
        ("expired", "certificate has expired"),
        ("future", "certificate is not yet valid"),
        ("client-ann", "unsuitable certificate purpose"),
    ):
        config = server_config(certificates, name)
        with pytest.raises(TlsError, match=words):
            trial(make_context(config), config)


def test_a_key_that_others_can_read(certificates: Path, tmp_path: Path) -> None:
    key = tmp_path / "server.key"
    shutil.copy(certificates / "server.key", key)
    config = server_config(certificates, tls_key=str(key))
    for mode, found in ((0o600, False), (0o640, False), (0o604, True)):
        key.chmod(mode)
        assert readable_by_others(config) is found
