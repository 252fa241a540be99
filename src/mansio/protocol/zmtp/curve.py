"""CURVE: what both sides say is encrypted and signed, and each knows the other by its key (RFC 26). Loaded only where
the broker has a key: it needs PyNaCl.

    client                                      server
    HELLO      C', [zeros]             ──►
                                       ◄──      WELCOME   [S', cookie]
    INITIATE   cookie, [C, vouch, metadata] ──►
                                       ◄──      READY     [metadata]
    MESSAGE    [flags, body]           ──► ◄──  MESSAGE   [flags, body]

C and S are the keys that last, C' and S' those of this connection; what is in brackets is a box for the two keys that
the protocol names. A vouch is a box of C' and S from C to S': it says that who has C has also C'.

    MESSAGE of libzmq 4.3.5 are no commands but messages of one frame; both are understood.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from nacl import bindings as nacl
from nacl.exceptions import CryptoError

from mansio.codec.zmtp import COMMAND, LONG, MORE, encode_bodies

KEY_BYTES: Final = 32
COOKIE_BYTES: Final = 96
VOUCH_BYTES: Final = 96

_VERSION: Final = 1
_ZEROS: Final = bytes(64)
_NAME: Final = b"\x07MESSAGE"
_SEALED_MORE, _SEALED_COMMAND = 1, 2


class Curve:
    """The broker's key, and the keys of those who may come in."""

    def __init__(
        self, secret_key: bytes, users: Mapping[bytes, str], random: Callable[[int], bytes]
    ) -> None:
        """`users`: by the public keys of clients, 32 bytes each; `random`: so many bytes that nobody guesses."""
        self.secret_key = secret_key
        self.public_key: bytes = nacl.crypto_scalarmult_base(secret_key)
        self.users = users
        self.random = random

    def begin(self) -> "CurveSession":
        """For one connection."""
        return CurveSession(self)


class CurveSession:
    """The server's side of one connection. What a client says wrong is answered with None."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self._secret = b""  # s'
        self._client = b""  # C'
        self._cookie = b""
        self._key = b""  # shared by C' and S'
        self._heard = 0  # the last nonce of the client
        self._said = 0  # and of ours

    def welcome(self, hello: bytes) -> bytes | None:
        """The data of WELCOME, for that of HELLO; None too if HELLO is for another server's key."""
        if len(hello) != 194 or hello[0] != _VERSION:
            return None
        curve = self._curve
        self._client = hello[74:106]
        if not self._is_next(hello[106:114]):
            return None
        nonce = b"CurveZMQHELLO---" + hello[106:114]
        try:
            if nacl.crypto_box_open(hello[114:], nonce, self._client, curve.secret_key) != _ZEROS:
                return None
            self._secret = curve.random(KEY_BYTES)
            self._cookie = curve.random(COOKIE_BYTES)  # it means nothing: the connection remembers
            self._key = nacl.crypto_box_beforenm(self._client, self._secret)
            ours = nacl.crypto_scalarmult_base(self._secret)
            nonce = curve.random(16)
            box = nacl.crypto_box(
                ours + self._cookie, b"WELCOME-" + nonce, self._client, curve.secret_key
            )
        except CryptoError:
            return None
        return nonce + box

    def initiate(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The client's public key and its metadata, from the data of INITIATE."""
        start = COOKIE_BYTES + 8
        if len(data) < start or data[:COOKIE_BYTES] != self._cookie:
            return None
        if not self._is_next(data[COOKIE_BYTES:start]):
            return None
        nonce = b"CurveZMQINITIATE" + data[COOKIE_BYTES:start]
        try:
            plain = nacl.crypto_box_open_afternm(data[start:], nonce, self._key)
            if len(plain) < KEY_BYTES + VOUCH_BYTES:
                return None
            client, vouch = plain[:KEY_BYTES], plain[KEY_BYTES : KEY_BYTES + VOUCH_BYTES]
            vouched = nacl.crypto_box_open(
                vouch[16:], b"VOUCH---" + vouch[:16], client, self._secret
            )
        except CryptoError:
            return None
        if vouched != self._client + self._curve.public_key:
            return None
        return client, plain[KEY_BYTES + VOUCH_BYTES :]

    def ready(self, metadata: bytes) -> bytes:
        """The data of READY."""
        nonce = self._next()
        return nonce + nacl.crypto_box_afternm(metadata, b"CurveZMQREADY---" + nonce, self._key)

    def open(self, items: Iterable[Any]) -> tuple[bytes, bool]:
        """What is in MESSAGEs, as frames of ZMTP, and whether that is all; or they are the ones in front of something
        that is none. `items` as `Scan` puts them out, with messages of one frame in rows."""
        frames: list[bytes] = []
        for _, item in items:
            for body in [item] if isinstance(item, bytes) else item:
                frame = self._open(body) if isinstance(body, bytes) else None
                if frame is None:
                    return b"".join(frames), False
                frames.append(frame)
        return b"".join(frames), True

    def _open(self, message: bytes) -> bytes | None:
        if message[:8] != _NAME or not self._is_next(message[8:16]):
            return None
        try:
            plain = nacl.crypto_box_open_afternm(
                message[16:], b"CurveZMQMESSAGEC" + message[8:16], self._key
            )
        except CryptoError:
            return None
        if not plain or plain[0] > _SEALED_MORE | _SEALED_COMMAND:
            return None
        flags = MORE * (plain[0] & _SEALED_MORE) | COMMAND * (plain[0] >> 1)
        size = len(plain) - 1
        return bytes((flags | LONG,)) + size.to_bytes(8, "big") + plain[1:]

    def seal(self, frames: bytes) -> bytes:
        """Whole frames of ZMTP as MESSAGEs."""
        sealed: list[bytes] = []
        at, end = 0, len(frames)
        while at < end:
            flags = frames[at]
            start = at + (9 if flags & LONG else 2)
            size = int.from_bytes(frames[at + 1 : start], "big")
            at = start + size
            inner = flags & MORE | (_SEALED_COMMAND if flags & COMMAND else 0)
            nonce = self._next()
            box = nacl.crypto_box_afternm(
                bytes((inner,)) + frames[start:at], b"CurveZMQMESSAGES" + nonce, self._key
            )
            sealed.append(_NAME + nonce + box)
        return encode_bodies(sealed)

    def _next(self) -> bytes:
        self._said += 1
        return self._said.to_bytes(8, "big")

    def _is_next(self, nonce: bytes) -> bool:
        """Nonces of a client rise: what was said before is not taken again."""
        number = int.from_bytes(nonce, "big")
        if number <= self._heard:
            return False
        self._heard = number
        return True
