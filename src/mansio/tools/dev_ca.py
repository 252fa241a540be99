"""Makes a local CA and certificates that it has signed, to develop and test with: `mansio tls dev-ca`.

    ca.pem  ca.key                      made once; whoever has ca.key can pass for the server and for any user
    server.pem  server.key              for localhost and other names of this machine
    client-NAME.pem  client-NAME.key    for the user NAME

Nothing is ever written over: to make one of them anew, remove its two files first.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS: Final = 3650
LOCAL: Final = ("localhost", "127.0.0.1", "::1")
CLIENT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
"""Names of users that are names of files, too."""


class DevCaError(OSError):
    """Nothing was made, and why: one line for the user."""


class Made(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def dev_ca(
    folder: Path,
    hosts: Sequence[str] = (),
    clients: Sequence[str] = (),
    days: int = 365,
    out: TextIO = sys.stdout,
) -> int:
    """Make what is missing in `folder`, and print how to use it. Answers the exit code, 0.

    `hosts`: more names and addresses of the server; `clients`: names of users; `days`: how long certificates are valid,
    but for the CA's own. Errors: DevCaError, OSError; then nothing was made.
    """
    if not 0 < days <= CA_DAYS:
        raise DevCaError(f"--days must be from 1 to {CA_DAYS}")
    for name in clients:
        if not CLIENT_NAME.fullmatch(name):
            raise DevCaError(f"{name!r} cannot be the name of a file: use letters, digits and _.@-")
    wanted = [*([] if clients and _there(folder, "server") else ["server"])]
    wanted += [f"client-{name}" for name in dict.fromkeys(clients)]
    for name in wanted:
        for path in _paths(folder, name):
            if path.exists():
                raise DevCaError(
                    f"{path} is there already: remove it, with its key, to make it anew"
                )
    new: dict[str, Made] = {}
    if _there(folder, "ca"):
        ca = _read(folder)
    else:
        ca = new["ca"] = _make_ca()
    names = list(dict.fromkeys([*LOCAL, socket.gethostname(), *hosts]))
    for name in wanted:
        if name == "server":
            new[name] = _sign(ca, "localhost", days, ExtendedKeyUsageOID.SERVER_AUTH, names)
        else:
            user = name.removeprefix("client-")
            new[name] = _sign(ca, user, days, ExtendedKeyUsageOID.CLIENT_AUTH, [user])
    _write(folder, new)
    _explain(folder, new, names, list(dict.fromkeys(clients)), out)
    return 0


def _make_ca() -> Made:
    key = ec.generate_private_key(ec.SECP256R1())
    name = f"Mansio development CA on {socket.gethostname()}"[:64]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    public = key.public_key()
    certificate = (
        _builder(subject, subject, public, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Made(certificate, key)


def _sign(
    ca: Made, name: str, days: int, purpose: x509.ObjectIdentifier, names: Sequence[str]
) -> Made:
    """A certificate for one purpose; `names` are names and addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    public, issuer = key.public_key(), ca.certificate
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
    certificate = (
        _builder(subject, issuer.subject, public, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(by, critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return Made(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks of clients may be behind
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(**on: bool) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: on.get(name, False) for name in every})


def _name(text: str) -> x509.GeneralName:
    """A DNS name or an address. DevCaError for neither."""
    try:
        return x509.IPAddress(ip_address(text.strip("[]")))
    except ValueError:
        pass
    try:
        return x509.DNSName(text)
    except ValueError:
        raise DevCaError(f"{text!r} is neither a host name in ASCII nor an IP address") from None


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}.key"


def _there(folder: Path, name: str) -> bool:
    """Whether certificate and key are there. DevCaError for one without the other."""
    certificate, key = (path.exists() for path in _paths(folder, name))
    if certificate != key:
        pem, other = _paths(folder, name)
        there, missing = (pem, other) if certificate else (other, pem)
        raise DevCaError(
            f"{there} is there, but {missing} is not: remove it, or name another --dir"
        )
    return certificate


def _read(folder: Path) -> Made:
    """The CA that was made before."""
    pem, path = _paths(folder, "ca")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(pem.read_bytes())
    except (ValueError, TypeError) as error:
        raise DevCaError(f"{pem} and {path} are not a CA that was made here: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DevCaError(f"{path} is not a key that was made here")
    return Made(certificate, key)


def _write(folder: Path, made: dict[str, Made]) -> None:
    """All or nothing, readable by their owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    done: list[Path] = []
    try:
        for name, one in made.items():
            pem, key = _paths(folder, name)
            for path, data in (
                (pem, one.certificate.public_bytes(serialization.Encoding.PEM)),
                (key, _key_bytes(one.key)),
            ):
                with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    done.append(path)
                    file.write(data)
    except BaseException:
        for path in done:
            path.unlink()
        raise


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


SERVE: Final = """
Start the broker with it:
  mansio serve --tls-port 5671 --tls-cert {folder}/server.pem --tls-key {folder}/server.key
and with certificates of clients, too (mutual TLS):
  --tls-ca {folder}/ca.pem --tls-verify required
and, so that nobody connects without TLS:
  --tls-only

Connect with pika:
  import pika, ssl
  context = ssl.create_default_context(cafile="{folder}/ca.pem")
{load}  connection = pika.BlockingConnection(pika.ConnectionParameters(
      "localhost", 5671, ssl_options=pika.SSLOptions(context, "localhost"){credentials}
  ))
"""
EXTERNAL: Final = ",\n      credentials=pika.credentials.ExternalCredentials()"


def _client_text(user: str) -> str:
    return f"user {user}, whom `mansio user add {user} --no-password` makes"


def _explain(
    folder: Path, made: dict[str, Made], hosts: list[str], clients: list[str], out: TextIO
) -> None:
    print(f"made in {folder}, readable by you alone:", file=out)
    for name, one in made.items():
        until = one.certificate.not_valid_after_utc.date()
        what = {
            "ca": "the CA: give ca.pem to clients, and ca.key to nobody",
            "server": f"the server, for {', '.join(hosts)}",
        }.get(name, _client_text(name.removeprefix("client-")))
        print(f"  {name}.pem, {name}.key   {what}; until {until}", file=out)
    load = credentials = ""
    if clients:
        path = f"{folder}/client-{clients[0]}"
        load = f'  context.load_cert_chain("{path}.pem", "{path}.key")\n'
        credentials = EXTERNAL
    print(SERVE.format(folder=folder, load=load, credentials=credentials).rstrip(), file=out)
