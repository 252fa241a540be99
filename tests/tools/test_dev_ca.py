"""`mansio tls dev-ca`: what it makes works with real clients, belongs to its owner alone, and is never written over."""

import io
import shutil
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from mansio.tools.dev_ca import DevCaError, dev_ca
from tests.certificates import server_config
from tests.server.test_tls_context import make_context, shake_hands

FIRST = {"ca.pem", "ca.key", "server.pem", "server.key"}


def make(folder: Path, **how: object) -> str:
    out = io.StringIO()
    assert dev_ca(folder, out=out, **how) == 0  # type: ignore[arg-type]
    return out.getvalue()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_belong_to_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "tls"
    make(folder, clients=["ann"])
    assert names(folder) == FIRST | {"client-ann.pem", "client-ann.key"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_it_works_with_every_name_of_the_server_and_strictly_checked(tmp_path: Path) -> None:
    make(tmp_path, hosts=["broker.test", "10.1.2.3", "[fe80::1]"], clients=["ann"])
    server = make_context(server_config(tmp_path, tls_verify="required"))
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    client = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    client.load_cert_chain(tmp_path / "client-ann.pem", tmp_path / "client-ann.key")
    for name in ("localhost", "127.0.0.1", "::1", "broker.test", "10.1.2.3", "fe80::1"):
        ours, _ = shake_hands(server, client, name)
        certificate = ours.getpeercert()
        assert certificate is not None
        assert certificate["subject"] == ((("commonName", "ann"),),)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, client, "elsewhere.test")


def test_certificates_serve_their_purpose_only(tmp_path: Path) -> None:
    make(tmp_path, clients=["ann"])
    server = make_context(server_config(tmp_path, tls_verify="required"))
    client = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    client.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with pytest.raises(ssl.SSLError, match="purpose"):
        shake_hands(server, client)
    ca = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    limits = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical and limits.value.ca and limits.value.path_length == 0


def test_how_long_they_are_valid(tmp_path: Path) -> None:
    make(tmp_path, days=7)
    found = x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes())
    assert (found.not_valid_after_utc - found.not_valid_before_utc).days == 7


def test_nothing_is_written_over(tmp_path: Path) -> None:
    make(tmp_path, clients=["ann"])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for clients in ([], ["ann"], ["bob", "ann"]):
        with pytest.raises(DevCaError, match="is there already: remove it"):
            dev_ca(tmp_path, clients=clients, out=io.StringIO())
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_ca_that_is_there_signs_what_is_missing(tmp_path: Path) -> None:
    make(tmp_path)
    ca = (tmp_path / "ca.pem").read_bytes()
    text = make(tmp_path, clients=["ann", "bob", "ann"])
    assert "client-ann.pem, client-ann.key" in text and "server.pem, server.key   " not in text
    (tmp_path / "server.pem").unlink()
    (tmp_path / "server.key").unlink()
    make(tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() == ca
    client = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    client.load_cert_chain(tmp_path / "client-bob.pem", tmp_path / "client-bob.key")
    shake_hands(make_context(server_config(tmp_path, tls_verify="required")), client)


@pytest.mark.parametrize("missing", ["ca.key", "ca.pem"])
def test_half_a_ca_is_refused(tmp_path: Path, missing: str) -> None:
    make(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(DevCaError, match=f"{missing} is not: remove it"):
        make(tmp_path, clients=["ann"])


def test_a_ca_of_another_kind_is_refused(tmp_path: Path, certificates: Path) -> None:
    for ends, words in (("junk", "are not a CA that was made here"), ("rsa", "is not a key")):
        folder = tmp_path / ends
        folder.mkdir()
        for end in ("pem", "key"):
            if ends == "junk":
                (folder / f"ca.{end}").write_text("junk")
            else:
                shutil.copy(certificates / f"rsa.{end}", folder / f"ca.{end}")
        with pytest.raises(DevCaError, match=words):
            make(folder)
        assert names(folder) == {"ca.pem", "ca.key"}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"clients": ["../up"]}, "cannot be the name of a file"),
        ({"clients": [""]}, "cannot be the name of a file"),
        ({"clients": ["-rf"]}, "cannot be the name of a file"),
        ({"hosts": ["bröker"]}, "is neither a host name in ASCII nor an IP address"),
        ({"days": 0}, "--days must be from 1 to 3650"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_made(
    tmp_path: Path, how: dict[str, object], words: str
) -> None:
    folder = tmp_path / "tls"
    with pytest.raises(DevCaError, match=words):
        make(folder, **how)
    assert not folder.exists()


def test_after_a_failure_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(key: object) -> bytes:
        raise OSError("no space left")

    monkeypatch.setattr("mansio.tools.dev_ca._key_bytes", fail)
    with pytest.raises(OSError, match="no space left"):
        make(tmp_path)
    assert names(tmp_path) == set()


def test_what_it_prints_can_be_used(tmp_path: Path) -> None:
    text = make(tmp_path, clients=["ann"])
    assert f"--tls-cert {tmp_path}/server.pem --tls-key {tmp_path}/server.key" in text
    assert f"--tls-ca {tmp_path}/ca.pem --tls-verify required" in text
    program = text.partition("Connect with pika:\n")[2]
    lines = "\n".join(line.removeprefix("  ") for line in program.splitlines())
    compile(lines, "pika", "exec")
    assert f'load_cert_chain("{tmp_path}/client-ann.pem", "{tmp_path}/client-ann.key")' in lines
    assert "ExternalCredentials()" in lines
    plain = make(tmp_path / "plain")
    assert "ExternalCredentials" not in plain and "load_cert_chain" not in plain


@pytest.mark.process
def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mansio", "tls", "dev-ca", "--client", "ann"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--tls-cert mansio-tls/server.pem" in done.stdout
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == (
        "mansio: mansio-tls/client-ann.pem is there already: remove it, with its key, to make it anew\n"
    )
