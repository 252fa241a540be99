# Types of the compiled form of resp.py; the logic stands in the .py alone.
cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

ctypedef unsigned char uchar

cdef inline uchar* chars(bytes value) noexcept:
    return <uchar*>PyBytes_AS_STRING(value)

cdef inline const uint32_t* numbers(bytes value) noexcept:
    return <const uint32_t*>PyBytes_AS_STRING(value)

cdef inline uchar* buffer_chars(bytearray value) noexcept:
    return <uchar*>PyByteArray_AS_STRING(value)

cdef inline bytes new_bytes(const uchar* source, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char*>source, size)

cdef class Scan:
    cdef public bint trusted
    cdef public Py_ssize_t line_max, kept_max
    cdef public str fault
    cdef list args
    cdef Py_ssize_t left, size, at, bulk_left
    cdef bytearray bulk
    cdef list first, last, values, counts
    cdef Py_ssize_t times, model_at, model_len
    cdef bint pushes

    cdef void _forget(self)
    @cython.locals(p="uchar*", length=Py_ssize_t, model_at=Py_ssize_t, at=Py_ssize_t, n=Py_ssize_t, args=list, walks=int)
    cpdef Py_ssize_t scan(self, bytearray buf, Py_ssize_t pos, Py_ssize_t end, list out) except? -9
    @cython.locals(p="uchar*", n=Py_ssize_t, args=list)
    cpdef list one(self, bytearray buf, Py_ssize_t end)
    cdef void _again(self, Py_ssize_t n) except *
    cdef void _take(self, list args, list out) except *
    cdef void _add_push(self, list args, list first) except *
    cdef void _close(self, list out) except *
    @cython.locals(at=Py_ssize_t, line=bytes)
    cdef Py_ssize_t _inline(self, bytearray buf, uchar* p, Py_ssize_t pos, Py_ssize_t end) except? -9
    @cython.locals(at=Py_ssize_t, count=Py_ssize_t)
    cdef Py_ssize_t _array(self, bytearray buf, uchar* p, Py_ssize_t pos, Py_ssize_t end) except? -9
    @cython.locals(at=Py_ssize_t, size=Py_ssize_t, args=list)
    cdef Py_ssize_t _arguments(self, bytearray buf, uchar* p, Py_ssize_t pos, Py_ssize_t end) except? -9
    cdef Py_ssize_t _fail(self, str text) except? -9
    cdef Py_ssize_t _keep(self, bytearray buf, Py_ssize_t pos, Py_ssize_t end) except? -9
    @cython.locals(at=Py_ssize_t)
    cdef Py_ssize_t _keep_bulk(self, bytearray buf, Py_ssize_t pos, Py_ssize_t end) except? -9
    @cython.locals(n=Py_ssize_t, stop=Py_ssize_t, args=list, bulk=bytearray)
    cdef Py_ssize_t _resume(self, bytearray buf, uchar* p, Py_ssize_t pos, Py_ssize_t end) except? -9

cdef bint _is_push(bytes name) noexcept
@cython.locals(found="uchar*")
cdef Py_ssize_t _find(bytearray buf, uchar* p, int char, Py_ssize_t pos, Py_ssize_t end) noexcept
@cython.locals(negative=bint, value=Py_ssize_t, digit=int)
cdef Py_ssize_t _number(uchar* p, Py_ssize_t pos, Py_ssize_t stop) noexcept

cpdef bytes encode_reply(object value, int proto, object rare)
cdef void _encode_list(list items, int proto, object rare, list parts) except *
@cython.locals(size=Py_ssize_t, result=bytes)
cdef bytes _bulk(bytes value)
@cython.locals(count=int)
cdef int _digits(Py_ssize_t value) noexcept
@cython.locals(n=int, at=int)
cdef uchar* _put_head(uchar* w, int sign, Py_ssize_t value) noexcept
cdef uchar* _put_bulk(uchar* w, const uchar* source, Py_ssize_t size) noexcept
@cython.locals(
    value=bytes, head=bytes, tail=bytes, room=Py_ssize_t, fixed=Py_ssize_t, size=Py_ssize_t, total=Py_ssize_t,
    first=Py_ssize_t, i=Py_ssize_t, tops=list,
)
cpdef tuple encode_contents(list values, bint persistent, Py_ssize_t frame_max)
@cython.locals(value=bytes, result=bytes, w="uchar*", source="const uchar*", left=uint64_t, size=uint64_t)
cdef bytes _write_contents(list values, bytes head, bytes tail, uint64_t room, Py_ssize_t total)
cpdef list bodies(
    bytes data, Py_ssize_t stride, bytes ends, tuple skips, bytes which, Py_ssize_t start, Py_ssize_t stop,
)
cpdef bytes encode_bodies(
    bytes data, Py_ssize_t stride, bytes ends, tuple skips, bytes which, Py_ssize_t start, Py_ssize_t stop,
    bint reverse=*,
)
cdef uint32_t _u32(const uchar* p, Py_ssize_t i) noexcept
cdef void _put_u32(uchar* w, Py_ssize_t at, uint32_t value) noexcept
cdef Py_ssize_t _end_of(const uint32_t* table, Py_ssize_t stride, Py_ssize_t i) noexcept
@cython.locals(at=Py_ssize_t)
cdef Py_ssize_t _content_at(
    const uchar* p, Py_ssize_t stride, const uint32_t* table, tuple skips, const uchar* routes, Py_ssize_t i,
) except? -9
@cython.locals(size=Py_ssize_t, part=Py_ssize_t)
cdef Py_ssize_t _body_size(const uchar* p, Py_ssize_t at, Py_ssize_t stop) noexcept
@cython.locals(part=Py_ssize_t)
cdef uchar* _put_body(uchar* w, const uchar* p, Py_ssize_t at, Py_ssize_t stop) noexcept
@cython.locals(
    table="const uint32_t*", routes="const uchar*", p="const uchar*", at=Py_ssize_t, end=Py_ssize_t, i=Py_ssize_t,
    body=bytes,
)
cdef list _bodies(
    bytes data, Py_ssize_t stride, bytes ends, tuple skips, bytes which, Py_ssize_t start, Py_ssize_t stop,
)
@cython.locals(
    table="const uint32_t*", routes="const uchar*", p="const uchar*", at=Py_ssize_t, end=Py_ssize_t, i=Py_ssize_t,
    n=Py_ssize_t, size=Py_ssize_t, total=Py_ssize_t, result=bytes, w="uchar*",
)
cdef bytes _encode_bodies(
    bytes data, Py_ssize_t stride, bytes ends, tuple skips, bytes which, Py_ssize_t start, Py_ssize_t stop,
    bint reverse,
)
