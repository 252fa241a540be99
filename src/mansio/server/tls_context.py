"""What TLS may be: versions, ciphers and certificates, read from files, and tried before anybody relies on them."""

import ssl
import stat
from pathlib import Path
from typing import Any, Final

from mansio.config import Config
from mansio.server.tls_faults import reason

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!PSK:@SECLEVEL=2"
"""Of TLS 1.2: keys that are made for each connection, and authenticated encryption. Level 2 refuses RSA below 2048 bits
and SHA-1. TLS 1.3 has no others; their names are not chosen here."""

VERIFY: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

NOT_ITS_KEY: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")

TRIAL_STEPS_MAX: Final = 10


class TlsError(Exception):
    """Certificates or keys that cannot be used; the text is one line that names setting and file."""


def make_context(config: Config) -> ssl.SSLContext:
    """The context of a server with these settings. Errors: TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[config.tls_min_version]
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    # A connection of a messaging client lasts; resuming sessions would only be a way around a certificate's end.
    context.num_tickets = 0
    _load_own(context, config)
    if config.tls_ca:
        _load_trusted(context, config.tls_ca)
    context.verify_mode = VERIFY[config.tls_verify]
    return context


def trial(context: ssl.SSLContext, config: Config) -> dict[str, Any]:
    """Shakes hands with itself: what is in the certificate of the server, as `getpeercert` has it.

    Errors: TlsError, with the reason why a client would refuse it that trusts this certificate: most likely it has
    expired.
    """
    path = _path("tls_cert", config.tls_cert)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # the certificate itself is what is trusted
    try:
        client.load_verify_locations(cafile=path)
        return _shake_hands(client, context)
    except ssl.SSLCertVerificationError as error:
        raise TlsError(f"the certificate in {path} is not valid: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise TlsError(f"the certificate in {path} cannot be used: {reason(error)}") from error


def readable_by_others(config: Config) -> bool:
    """Whether every user of the machine can read the private key."""
    path = Path(config.tls_key or config.tls_cert).expanduser()
    return bool(path.stat().st_mode & stat.S_IROTH)


def _shake_hands(client: ssl.SSLContext, context: ssl.SSLContext) -> dict[str, Any]:
    """In memory; what the client sees of the server. Errors: ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    for _ in range(TRIAL_STEPS_MAX):
        try:
            theirs.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
        try:
            ours.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return theirs.getpeercert() or {}


def _load_own(context: ssl.SSLContext, config: Config) -> None:
    cert = _path("tls_cert", config.tls_cert)
    key = _path("tls_key", config.tls_key) if config.tls_key else cert
    password = _password(config.tls_key_password_file)

    def ask() -> str:
        """Without this OpenSSL would ask on the terminal."""
        if password is None:
            raise TlsError(f"tls_key: {key} is encrypted: set tls_key_password_file")
        return password

    try:
        context.load_cert_chain(cert, key, ask)
    except ssl.SSLError as error:
        if error.reason in NOT_ITS_KEY:
            raise TlsError(f"tls_key: {key} is not the key of the certificate in {cert}") from error
        if password is not None:
            text = f"tls_key: {key} is no key that the password in tls_key_password_file decrypts"
            raise TlsError(text) from error
        raise TlsError(
            f"tls_cert, tls_key: no certificate with its key in {cert}, {key}"
        ) from error


def _load_trusted(context: ssl.SSLContext, setting: str) -> None:
    path = _path("tls_ca", setting)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise TlsError(f"tls_ca: no certificates in PEM form in {path}: {reason(error)}") from error


def _password(setting: str) -> str | None:
    """The first line of a file, if one is named."""
    if not setting:
        return None
    path = _path("tls_key_password_file", setting)
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[0] if lines else ""


def _path(setting: str, value: str) -> str:
    """Where a file is that can be read. TlsError otherwise, with the setting that names it."""
    path = Path(value).expanduser()
    try:
        path.open("rb").close()
    except OSError as error:
        raise TlsError(f"{setting}: cannot read {path}: {error.strerror}") from error
    return str(path)
