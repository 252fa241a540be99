# Types of the compiled form of zmtp_runs.py; the logic stands in the .py alone.
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

ctypedef unsigned char uchar

cdef inline uchar* chars(bytes value) noexcept:
    return <uchar*>PyBytes_AS_STRING(value)

cdef inline const uint32_t* numbers(bytes value) noexcept:
    return <const uint32_t*>PyBytes_AS_STRING(value)

cdef inline bytes new_bytes(const uchar* source, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char*>source, size)

cdef int _MORE, _LONG
cdef Py_ssize_t _SHORT_BYTES_MAX, _PARTS_BYTES, _PLAIN_BYTES
cdef bytes _PARTS

cpdef bytes encode_run(
    bytes data, Py_ssize_t stride, bytes ends, tuple skips, bytes which, tuple heads, bytes wanted,
    Py_ssize_t start, Py_ssize_t count, Py_ssize_t step,
)
@cython.locals(
    table="const uint32_t*", routes="const uchar*", asked="const uchar*", p="const uchar*", w="uchar*",
    number=Py_ssize_t, total=Py_ssize_t, skip=Py_ssize_t, head=bytes, n=Py_ssize_t, i=Py_ssize_t, at=Py_ssize_t,
    end=Py_ssize_t, size=Py_ssize_t, result=bytes,
)
cdef bytes _encode_run(
    bytes data, Py_ssize_t stride, bytes ends, tuple skips, bytes which, tuple heads, bytes wanted,
    Py_ssize_t start, Py_ssize_t count, Py_ssize_t step,
)
cdef uint32_t _u32(const uchar* p, Py_ssize_t i) noexcept
cdef void _put_u32(uchar* w, Py_ssize_t at, uint32_t value) noexcept
@cython.locals(size=Py_ssize_t, part=Py_ssize_t)
cdef Py_ssize_t _body_bytes(const uchar* p, Py_ssize_t at, Py_ssize_t end) noexcept
@cython.locals(size=Py_ssize_t, body=Py_ssize_t, parts=Py_ssize_t, total=Py_ssize_t, stop=Py_ssize_t)
cdef Py_ssize_t _frames_bytes(const uchar* p, Py_ssize_t at, Py_ssize_t end) noexcept
@cython.locals(
    stop=Py_ssize_t, first=Py_ssize_t, end=Py_ssize_t, left=Py_ssize_t, width=Py_ssize_t,
)
cdef Py_ssize_t _parts_at(const uchar* p, Py_ssize_t at, Py_ssize_t size, Py_ssize_t total) noexcept
@cython.locals(size=Py_ssize_t, i=int)
cdef Py_ssize_t _part(const uchar* p, Py_ssize_t at) noexcept
cdef uchar* _put_head(uchar* w, int flags, Py_ssize_t size) noexcept
@cython.locals(
    size=Py_ssize_t, body=Py_ssize_t, parts=Py_ssize_t, left=Py_ssize_t, stop=Py_ssize_t, flags=int, part=Py_ssize_t,
)
cdef uchar* _put_frames(uchar* w, const uchar* p, Py_ssize_t at, Py_ssize_t end) noexcept
