# Types of the compiled form of zmtp.py; the logic stands in the .py alone.
cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

ctypedef unsigned char uchar

cdef inline uchar* chars(bytes value) noexcept:
    return <uchar*>PyBytes_AS_STRING(value)

cdef inline uchar* buffer_chars(bytearray value) noexcept:
    return <uchar*>PyByteArray_AS_STRING(value)

cdef inline bytes new_bytes(const uchar* source, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char*>source, size)

cdef class Scan:
    cdef public Py_ssize_t message_max, kept_max
    cdef public bint open, apart
    cdef public str fault
    cdef list frames
    cdef Py_ssize_t size, bulk_left
    cdef int flags, row_kind
    cdef bytearray bulk
    cdef list row

    @cython.locals(
        p="uchar*", limit=Py_ssize_t, flags=int, at=Py_ssize_t, size=Py_ssize_t, body=bytes,
    )
    cpdef Py_ssize_t scan(self, bytearray buf, Py_ssize_t pos, Py_ssize_t end, list out) except? -9
    cdef void _take_body(self, bytes body, list out) except *
    cdef void _put(self, int kind, object message, list out) except *
    cdef void _close(self, list out) except *
    @cython.locals(frames=list)
    cdef void _take(self, int flags, bytes body, list out) except *
    cdef int _check(self, int flags, Py_ssize_t size) except? -9
    cdef int _fail(self, str text) except? -9
    cdef Py_ssize_t _keep(
        self, bytearray buf, Py_ssize_t pos, Py_ssize_t at, Py_ssize_t end, int flags, Py_ssize_t size,
    ) except? -9
    @cython.locals(bulk=bytearray, stop=Py_ssize_t)
    cdef Py_ssize_t _resume(self, bytearray buf, Py_ssize_t pos, Py_ssize_t end, list out) except? -9

@cython.locals(size=Py_ssize_t, i=int)
cdef Py_ssize_t _long(uchar* p, Py_ssize_t at) noexcept
cdef str _shown(Py_ssize_t size, Py_ssize_t before=*)
cpdef bytes encode_message(list frames)
@cython.locals(
    total=Py_ssize_t, frames=list, body=bytes, result=bytes, w="uchar*", last=Py_ssize_t, i=Py_ssize_t,
)
cpdef bytes encode_messages(list messages)
@cython.locals(total=Py_ssize_t, body=bytes, result=bytes, w="uchar*")
cpdef bytes encode_bodies(list bodies)
cdef Py_ssize_t _frame_bytes(Py_ssize_t size) noexcept
@cython.locals(size=Py_ssize_t, i=int)
cdef uchar* _put_frame(uchar* w, int flags, bytes body) noexcept
