"""A TLS client on OpenSSL's own functions, which can do what Python's module cannot: ask for new keys."""

import ctypes
import ctypes.util
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.server.tls_stage import settle

if TYPE_CHECKING:
    from tests.server.tls_stage import Line

UPDATE_REQUESTED = 1
BIO_PENDING = 10
BIO_SET_EOF_RETURN = 130


def _library() -> ctypes.CDLL:
    """The libssl that Python's module uses; skips the test where it is not found."""
    name = ctypes.util.find_library("ssl")
    if name is None:
        pytest.skip("there is no libssl to load")
    found = ctypes.CDLL(name)
    version = found.OpenSSL_version_num
    version.restype = ctypes.c_ulong
    if version() != ssl.OPENSSL_VERSION_NUMBER:
        pytest.skip("libssl is another one than Python's")
    for function, arguments in (
        (found.TLS_client_method, []),
        (found.SSL_CTX_new, [ctypes.c_void_p]),
        (found.SSL_new, [ctypes.c_void_p]),
        (found.BIO_s_mem, []),
        (found.BIO_new, [ctypes.c_void_p]),
    ):
        function.restype, function.argtypes = ctypes.c_void_p, arguments
    found.BIO_ctrl.restype = ctypes.c_long
    found.BIO_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
    for function in (found.BIO_read, found.BIO_write, found.SSL_write):
        function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    found.SSL_set_bio.argtypes = [ctypes.c_void_p] * 3
    found.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    for function in (found.SSL_do_handshake, found.SSL_set_connect_state):
        function.argtypes = [ctypes.c_void_p]
    return found


class KeyUpdater:
    """The client. It keeps what it has made for good: a test is short."""

    def __init__(self) -> None:
        self._lib = lib = _library()
        self._down, self._up = (lib.BIO_new(lib.BIO_s_mem()) for _ in range(2))
        for bio in (self._down, self._up):
            lib.BIO_ctrl(bio, BIO_SET_EOF_RETURN, -1, None)
        self._tls = lib.SSL_new(lib.SSL_CTX_new(lib.TLS_client_method()))
        lib.SSL_set_bio(self._tls, self._down, self._up)
        lib.SSL_set_connect_state(self._tls)

    async def shake_hands(self, line: "Line") -> None:
        """With the server of a line."""
        for _ in range(3):
            self._lib.SSL_do_handshake(self._tls)
            line.socket.deliver(self._take())
            await settle()
            data = line.socket.take()
            self._lib.BIO_write(self._down, data, len(data))
        assert line.app.events == ["made"]

    def update_keys(self) -> bytes:
        """One record that makes new keys for what comes behind it, and asks the server for the same."""
        assert self._lib.SSL_key_update(self._tls, UPDATE_REQUESTED) == 1
        assert self._lib.SSL_do_handshake(self._tls) == 1
        return self._take()

    def write(self, data: bytes) -> bytes:
        """Records with this data."""
        assert self._lib.SSL_write(self._tls, data, len(data)) == len(data)
        return self._take()

    def _take(self) -> bytes:
        size = self._lib.BIO_ctrl(self._up, BIO_PENDING, 0, None)
        buffer = ctypes.create_string_buffer(max(size, 1))
        self._lib.BIO_read(self._up, buffer, size)
        return buffer.raw[:size]
