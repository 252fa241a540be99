"""What went wrong with TLS, in words for the operator who reads the log: the cause, and what to do."""

import ssl
from typing import Final

from mansio.config import Config

ALERTS: Final = {
    "UNKNOWN_CA": "it does not know who signed the server's certificate: give it the certificate of that CA",
    "CERTIFICATE_UNKNOWN": "it does not accept the server's certificate: give it the CA, and connect by a name in it",
    "BAD_CERTIFICATE": "it does not accept the server's certificate: give it the CA, and connect by a name in it",
    "CERTIFICATE_EXPIRED": "to it the server's certificate has expired",
    "UNSUPPORTED_CERTIFICATE": "it does not accept the server's certificate",
    "PROTOCOL_VERSION": "it does not speak a version of TLS that is allowed here",
    "HANDSHAKE_FAILURE": "it finds nothing that both sides can do",
}
"""What clients say before they close, by the end of OpenSSL's name for it."""

NOT_SIGNED: Final = (2, 18, 19, 20, 21)
"""OpenSSL's numbers for certificates whose signature leads to nobody who is trusted (X509_V_ERR_…)."""


def reason(error: ssl.SSLError) -> str:
    """What OpenSSL says, in small letters: `wrong version number`."""
    return (error.reason or str(error)).lower().replace("_", " ")


def explain(error: ssl.SSLError, config: Config) -> str:
    """Why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        signed = error.verify_code not in NOT_SIGNED
        unknown = "" if signed else f"; no CA in {config.tls_ca} has signed it"
        return f"its certificate is refused: {error.verify_message}{unknown}"
    name = error.reason or ""
    if name == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "it has presented no certificate, and tls_verify is required"
    if name in ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "WRONG_SSL_VERSION"):
        return f"it speaks only versions of TLS before {config.tls_min_version} (tls_min_version)"
    if name in ("NO_SHARED_CIPHER", "NO_SHARED_GROUP", "NO_SUITABLE_KEY_SHARE"):
        return "it offers no cipher that is allowed here (ECDHE with AES-GCM or ChaCha20)"
    if "_ALERT_" in name:
        alert = name.partition("_ALERT_")[2]
        return f"{ALERTS.get(alert, 'it refuses')} (alert: {reason(error)})"
    return reason(error)


def not_tls(first: bytes, config: Config) -> str:
    """Why something that begins with these bytes is refused."""
    if first.startswith(b"AMQP"):
        plain = "" if config.tls_only else f", or connect it to port {config.port}"
        return f"it speaks AMQP without TLS: switch TLS on in the client (amqps://){plain}"
    if first[:1] == b"*" and first[1:2].isdigit():
        return "it speaks Redis without TLS: switch TLS on in the client (rediss://), or connect it to redis_port"
    return f"it does not speak TLS; its first bytes are {first.hex()}"
