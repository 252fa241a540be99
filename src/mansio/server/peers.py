"""Who is at the other end of a connection: addresses, and the user that a certificate stands for."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final

from mansio.protocol.base import Peer

TCP_LEFT: Final = (7, 8)
"""TCP_CLOSE and TCP_CLOSE_WAIT, of which TCP_INFO begins with one (include/net/tcp_states.h of Linux)."""
LOOPBACK: Final = ("127.", "::1", "::ffff:127.")
"""How the addresses of this machine itself begin, as the socket gives them."""

SHORT_NAMES: Final = {
    "commonName": "CN",
    "surname": "SN",
    "givenName": "GIVENNAME",
    "initials": "INITIALS",
    "generationQualifier": "GENERATIONQUALIFIER",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "title": "TITLE",
    "countryName": "C",
    "serialNumber": "SERIALNUMBER",
    "pseudonym": "PSEUDONYM",
    "domainComponent": "DC",
    "emailAddress": "EMAILADDRESS",
    "userId": "UID",
    "streetAddress": "2.5.4.9",
    "postalCode": "2.5.4.17",
}
"""What RabbitMQ 3.10.8 calls the parts of a name (observed); others keep the name that OpenSSL has for them."""
SPECIAL: Final = ',+"\\<>;'


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """The other end of a connection."""
    address = peer_address(transport)
    user = transport.get_extra_info("certificate_user")
    return Peer(peer_name(transport), address.startswith(LOOPBACK), address, user)


def peer_address(transport: asyncio.BaseTransport) -> str:
    """Without the port."""
    theirs: Any = transport.get_extra_info("peername") or ("", 0)
    return str(theirs[0])


def peer_name(transport: asyncio.BaseTransport) -> str:
    """As RabbitMQ writes it: '127.0.0.1:50123 -> 127.0.0.1:5672'."""
    theirs: Any = transport.get_extra_info("peername") or ("", 0)
    ours: Any = transport.get_extra_info("sockname") or ("", 0)
    return f"{theirs[0]}:{theirs[1]} -> {ours[0]}:{ours[1]}"


def has_left(transport: asyncio.BaseTransport) -> bool:
    """Whether the other end has closed a connection that is not read from, as far as the system has heard of that: not
    while more is on its way than the system takes in. Linux only; False elsewhere."""
    found: Any = transport.get_extra_info("socket")
    if found is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        return found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in TCP_LEFT
    except OSError:  # no socket of TCP
        return False


def certificate_user(certificate: Mapping[str, Any], source: str) -> str:
    """The user that a certificate stands for, "" if there is no such name in it.

    `certificate` is as `SSLObject.getpeercert` has it, `source` one of the values of `tls_user_from`. As RabbitMQ
    3.10.8 (`ssl_cert_login_from`, observed): all common names with commas between, the distinguished name as RFC 4514
    writes it, or the first alternative name that is a DNS name.
    """
    if source == "common_name":
        names = [
            value for rdn in certificate["subject"] for key, value in rdn if key == "commonName"
        ]
        return ",".join(names)
    if source == "distinguished_name":
        return distinguished_name(certificate["subject"])
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "DNS":
            return str(value)
    return ""


def distinguished_name(subject: Any) -> str:
    """RFC 4514: the most special part first, `CN=ann,O=Example`."""
    parts = [
        "+".join(f"{SHORT_NAMES.get(key, key)}={_escaped(value)}" for key, value in rdn)
        for rdn in subject
    ]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    """RFC 4514, 2.4; bytes beyond ASCII as two digits each."""
    last = len(value) - 1
    out = []
    for i, char in enumerate(value):
        if char in SPECIAL or (char == " " and i in (0, last)) or (char == "#" and i == 0):
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            out.extend(f"\\{octet:02X}" for octet in char.encode())
    return "".join(out)
