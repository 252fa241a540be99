"""Certificates for tests: those of `mansio tls dev-ca`, and some that must be refused.

ca server client-guest client-ann      as dev-ca makes them
other/…                                a CA that nobody trusts, with a server and a client
expired  future                        of our CA, and not valid now, for ann
rsa                                    a server of our CA with an RSA key
locked.key                             the server's key, encrypted with `PASSWORD`
"""

import io
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from mansio.config import Config
from mansio.tools.dev_ca import dev_ca

PASSWORD = "open sesame"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def make_certificates(folder: Path) -> Path:
    """All of the above in a folder."""
    dev_ca(folder, clients=["guest", "ann"], out=io.StringIO())
    dev_ca(folder / "other", clients=["guest"], out=io.StringIO())
    key = ec.generate_private_key(ec.SECP256R1())
    sign(folder, "expired", "ann", key, -2, -1)
    sign(folder, "future", "ann", key, 1, 2)
    sign(folder, "rsa", "localhost", rsa.generate_private_key(65537, 2048), -1, 30)
    server = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
    assert isinstance(server, ec.EllipticCurvePrivateKey)
    locked = serialization.BestAvailableEncryption(PASSWORD.encode())
    (folder / "locked.key").write_bytes(_pem(server, locked))
    (folder / "password").write_text(PASSWORD + "\n")
    return folder


def sign(folder: Path, file: str, name: str, key: Key, begin_days: int, end_days: int) -> None:
    """A certificate by the CA in `folder`, valid between so many days from now."""
    ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begin_days))
        .not_valid_after(now + timedelta(days=end_days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / f"{file}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{file}.key").write_bytes(_pem(key, serialization.NoEncryption()))


def _pem(key: Key, how: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def server_config(folder: Path, name: str = "server", **settings: object) -> Config:
    """Settings of a broker with the certificate of this name; the key of that name, too."""
    given = {
        "tls_port": 5671,
        "tls_cert": str(folder / f"{name}.pem"),
        "tls_key": str(folder / f"{name}.key"),
        "tls_ca": str(folder / "ca.pem"),
    }
    return Config(**(given | settings))  # type: ignore[arg-type]


def client_context(folder: Path, name: str = "", ca: str = "ca") -> ssl.SSLContext:
    """What a client of the broker uses, with the certificate of this name if there is one."""
    context = ssl.create_default_context(cafile=folder / f"{ca}.pem")
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context
