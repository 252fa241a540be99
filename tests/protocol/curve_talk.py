"""The client's side of CURVE (RFC 26), for tests that have no libzmq between them and the broker."""

from nacl import bindings as nacl

from mansio.codec.zmtp import encode_command, encode_message
from mansio.protocol.zmtp.metadata import encode_metadata

READY_NONCE = b"CurveZMQREADY---"


class CurveClient:
    """One connection's. Nonces count up, as libzmq's do."""

    def __init__(self, server_key: bytes, secret_key: bytes) -> None:
        self.server_key = server_key
        self.secret_key = secret_key
        self.public_key: bytes = nacl.crypto_scalarmult_base(secret_key)
        self.short_public, self.short_secret = nacl.crypto_box_keypair()
        self.vouched = self.short_public + server_key
        """What is in the vouch."""
        self.count = 0
        self.shared = b""
        self.server_short = b""

    def nonce(self) -> bytes:
        self.count += 1
        return self.count.to_bytes(8, "big")

    def hello(self) -> bytes:
        nonce = self.nonce()
        box = nacl.crypto_box(
            bytes(64), b"CurveZMQHELLO---" + nonce, self.server_key, self.short_secret
        )
        data = b"\1\0" + bytes(72) + self.short_public + nonce + box
        return encode_command(b"HELLO", data)

    def initiate(self, welcome: bytes, metadata: dict[str, bytes]) -> bytes:
        """`welcome`: the data of WELCOME."""
        nonce = b"WELCOME-" + welcome[:16]
        plain = nacl.crypto_box_open(welcome[16:], nonce, self.server_key, self.short_secret)
        self.server_short, cookie = plain[:32], plain[32:]
        self.shared = nacl.crypto_box_beforenm(self.server_short, self.short_secret)
        vouch_nonce = bytes(range(16))
        vouch = vouch_nonce + nacl.crypto_box(
            self.vouched,
            b"VOUCH---" + vouch_nonce,
            self.server_short,
            self.secret_key,
        )
        said = self.public_key + vouch + encode_metadata(metadata)
        nonce = self.nonce()
        box = nacl.crypto_box_afternm(said, b"CurveZMQINITIATE" + nonce, self.shared)
        return encode_command(b"INITIATE", cookie + nonce + box)

    def ready(self, data: bytes) -> bytes:
        """The metadata in that of READY."""
        return nacl.crypto_box_open_afternm(data[8:], READY_NONCE + data[:8], self.shared)

    def seal(self, flags: int, body: bytes) -> bytes:
        """A MESSAGE; flags: 1, more frames follow, 2, a command."""
        nonce = self.nonce()
        plain = bytes((flags,)) + body
        box = nacl.crypto_box_afternm(plain, b"CurveZMQMESSAGEC" + nonce, self.shared)
        return encode_message([b"\x07MESSAGE" + nonce + box])

    def message(self, *frames: bytes) -> bytes:
        """A message of these frames."""
        last = len(frames) - 1
        return b"".join(self.seal(int(i < last), body) for i, body in enumerate(frames))

    def open(self, message: bytes) -> tuple[int, bytes]:
        """Flags and body of what the broker has said in a MESSAGE."""
        assert message.startswith(b"\x07MESSAGE")
        nonce = b"CurveZMQMESSAGES" + message[8:16]
        plain = nacl.crypto_box_open_afternm(message[16:], nonce, self.shared)
        return plain[0], plain[1:]
