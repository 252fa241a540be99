"""ClientHello messages by hand: what a scanner offers, also what this machine's OpenSSL cannot speak any more.

What comes back is a ServerHello, which says what was chosen, or an alert (RFC 5246 and RFC 8446, 4.1.2 and 4.1.3).
"""

from typing import Final, NamedTuple

SSL3, TLS1_0, TLS1_1, TLS1_2, TLS1_3 = 0x0300, 0x0301, 0x0302, 0x0303, 0x0304

CIPHERS: Final = (
    *(*range(0x0001, 0x00FF), *range(0x1301, 0x1306)),
    *(*range(0xC001, 0xC100), *range(0xCCA8, 0xCCAF)),
)
"""All numbers that IANA gives out, or once did: NULL, export, RC4, DES, CBC, static RSA, DH, PSK, SRP, CCM, GCM …"""

AEAD_ECDSA: Final = {0xC02B, 0xC02C, 0xCCA9}
AEAD_RSA: Final = {0xC02F, 0xC030, 0xCCA8}
AEAD_1_3: Final = {0x1301, 0x1302, 0x1303}

UNEXPECTED_MESSAGE, HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, PROTOCOL_VERSION = 10, 40, 47, 70

GROUPS: Final = (0x001D, 0x0017, 0x0018)
SIGNATURES: Final = (0x0403, 0x0503, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0201, 0x0203)


class Answer(NamedTuple):
    """Of a server: version, cipher and compression that it has chosen, or the number of an alert."""

    version: int = 0
    cipher: int = 0
    compression: int = 0
    alert: int = 0


def client_hello(version: int, *ciphers: int, compressions: bytes = b"\0") -> bytes:
    """One record with a ClientHello for this version and these ciphers alone."""
    body = min(version, TLS1_2).to_bytes(2, "big") + bytes(range(32)) + b"\0"
    body += _vector(2, b"".join(cipher.to_bytes(2, "big") for cipher in ciphers))
    body += _vector(1, compressions)
    if version > SSL3:
        body += _vector(2, _extensions(version))
    message = b"\x01" + _vector(3, body)
    return b"\x16" + min(version, TLS1_0).to_bytes(2, "big") + _vector(2, message)


def read_answer(data: bytes) -> Answer:
    """What the first record of a server says; ValueError for none or another one."""
    if data[:1] == b"\x15":
        return Answer(alert=data[6])
    if data[:1] != b"\x16" or data[5:6] != b"\x02":
        raise ValueError(f"no answer of TLS: {data[:16].hex()}")
    version = int.from_bytes(data[9:11], "big")
    at = 43 + 1 + data[43]
    cipher = int.from_bytes(data[at : at + 2], "big")
    if cipher in AEAD_1_3:
        version = TLS1_3
    return Answer(version, cipher, data[at + 2])


def _extensions(version: int) -> bytes:
    groups = b"".join(group.to_bytes(2, "big") for group in GROUPS)
    signatures = b"".join(number.to_bytes(2, "big") for number in SIGNATURES)
    out = _extension(0x000A, _vector(2, groups)) + _extension(0x000B, b"\1\0")
    out += _extension(0x000D, _vector(2, signatures))
    if version >= TLS1_3:
        share = GROUPS[0].to_bytes(2, "big") + _vector(2, bytes(range(1, 33)))
        out += _extension(0x002B, _vector(1, version.to_bytes(2, "big")))
        out += _extension(0x0033, _vector(2, share))
    return out


def _extension(number: int, data: bytes) -> bytes:
    return number.to_bytes(2, "big") + _vector(2, data)


def _vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data
