# Types of the compiled form of amqp.py; the logic stands in the .py alone.
cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

ctypedef unsigned char uchar

cdef inline uchar* chars(bytes value) noexcept:
    return <uchar*>PyBytes_AS_STRING(value)

cdef inline const uint32_t* numbers(bytes value) noexcept:
    return <const uint32_t*>PyBytes_AS_STRING(value)

cdef inline uchar* buffer_chars(bytearray value) noexcept:
    return <uchar*>PyByteArray_AS_STRING(value)

cdef inline bytes new_bytes(const uchar* source, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char*>source, size)

cdef unsigned int _u16(const uchar* p, Py_ssize_t i) noexcept
cdef uint64_t _u32(const uchar* p, Py_ssize_t i) noexcept
cdef uint64_t _u64(const uchar* p, Py_ssize_t i) noexcept
@cython.locals(kind=int)
cdef Py_ssize_t _value_end(const uchar* p, Py_ssize_t at, Py_ssize_t stop) noexcept

cdef class Scan:
    cdef public Py_ssize_t frame_max
    cdef public Py_ssize_t whole_max
    cdef public bint grouping
    cdef list segments
    cdef list settles
    cdef object fault
    cdef object route
    cdef bint ordered
    cdef Py_ssize_t frame_at, frame_len, start, stop, count, stride
    cdef list ends
    cdef int flags
    cdef Py_ssize_t model_len, model_total, model_at
    cdef bytes model
    cdef uint64_t settle_key, settle_first, settle_last
    cdef bytearray buf
    cdef uchar* p

    cdef void _reset(self)
    @cython.locals(p="uchar*", length=Py_ssize_t, total=Py_ssize_t, at=Py_ssize_t, model_at=Py_ssize_t, n=Py_ssize_t)
    cpdef Py_ssize_t scan(self, bytearray buf, Py_ssize_t pos, Py_ssize_t end, dict routes, list out) except? -9
    @cython.locals(n=Py_ssize_t)
    cpdef Py_ssize_t one(self, bytearray buf, Py_ssize_t pos, Py_ssize_t end, list out) except? -9
    @cython.locals(p="uchar*", n=Py_ssize_t, method=uint32_t)
    cdef Py_ssize_t _next(self, Py_ssize_t pos, Py_ssize_t end, dict routes) except? -9
    @cython.locals(p="uchar*", kind=int, size=Py_ssize_t)
    cdef Py_ssize_t _frame(self, Py_ssize_t pos, Py_ssize_t end) except? -9
    @cython.locals(p="uchar*", head=Py_ssize_t, size=Py_ssize_t, body=Py_ssize_t, left=uint64_t, stop=Py_ssize_t, flags=int)
    cdef Py_ssize_t _publish(self, Py_ssize_t pos, Py_ssize_t end, Py_ssize_t frame_len, dict routes) except? -9
    @cython.locals(p="uchar*", size=Py_ssize_t)
    cdef Py_ssize_t _body(self, Py_ssize_t pos, Py_ssize_t at, Py_ssize_t end, uint64_t left) except? -9
    @cython.locals(p="uchar*", bits=int, flags=int, bit=int, size=Py_ssize_t)
    cdef int _classify(self, Py_ssize_t at, Py_ssize_t stop) except? -9
    @cython.locals(p="uchar*", name=Py_ssize_t, size=Py_ssize_t, acts=int)
    cdef int _table(self, Py_ssize_t at, Py_ssize_t stop, int depth) except? -9
    @cython.locals(p="uchar*", kind=int, end=Py_ssize_t)
    cdef Py_ssize_t _value(self, Py_ssize_t at, Py_ssize_t stop, int depth) except? -9
    cdef bint _same_frame(self, Py_ssize_t pos, Py_ssize_t frame_len) except? -9
    cdef void _open(self, object route, Py_ssize_t pos, Py_ssize_t frame_len, int flags)
    @cython.locals(frame_at=Py_ssize_t, frame_len=Py_ssize_t, flags=int)
    cdef void _extend(self, Py_ssize_t at, Py_ssize_t stop, Py_ssize_t total)
    cdef void _close(self)
    @cython.locals(p="uchar*", tag=uint64_t, bits=int, key=uint64_t, multiple=int)
    cdef void _settle(self, Py_ssize_t pos, uint64_t method)
    @cython.locals(key=uint64_t)
    cdef void _close_settle(self)
    @cython.locals(start=Py_ssize_t, stop=Py_ssize_t, count=Py_ssize_t, stride=Py_ssize_t, step=Py_ssize_t, flags=int)
    cdef void _flush(self, list out)

cdef object _run(
    bytearray buf, object route, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t count, Py_ssize_t stride, list ends,
    int flags,
)
cdef bytes _take(bytearray buf, Py_ssize_t start, Py_ssize_t stop)
cdef bytes _pack(list ends)

cdef class _Gathered:
    cdef public int flags
    cdef public list routes
    cdef dict index
    cdef bytearray which
    cdef list pieces
    cdef Py_ssize_t count, size, stride
    cdef list ends
    @cython.locals(number=Py_ssize_t, size=Py_ssize_t)
    cpdef void add(self, bytes piece, object route, Py_ssize_t count, Py_ssize_t stride, list ends)
    cpdef object item(self)

@cython.locals(groups=dict, taken=set, group=_Gathered, start=Py_ssize_t, stop=Py_ssize_t, count=Py_ssize_t, stride=Py_ssize_t, flags=int, g=_Gathered)
cdef void _group(bytearray buf, list segments, list out)

@cython.locals(
    table="const uint32_t*", routes="const uchar*", source="const uchar*", front="const uchar*", front_len=Py_ssize_t,
    skip=Py_ssize_t, origin=int, total=Py_ssize_t, i=Py_ssize_t, _=Py_ssize_t, result=bytes, w="uchar*",
    ending="const uchar*", tail_len=Py_ssize_t, at=Py_ssize_t, size=Py_ssize_t, tail=bytes,
)
cdef bytes _encode(
    bytes data, Py_ssize_t stride, bytes ends, bytes which, tuple tails, Py_ssize_t start, Py_ssize_t count,
    Py_ssize_t step, bytes prefix, uint64_t tag, int channel,
)
cdef Py_ssize_t _start_of(const uint32_t* table, Py_ssize_t i, Py_ssize_t stride) noexcept
cdef Py_ssize_t _end_of(const uint32_t* table, Py_ssize_t i, Py_ssize_t stride) noexcept
cdef void _put_u32(uchar* w, Py_ssize_t at, uint32_t value) noexcept
cdef void _patch(uchar* w, Py_ssize_t size, int channel) noexcept

cdef bytes _OFFSET, _OFFSET_ENTRY
cdef Py_ssize_t _UNSORTED, _UNSOUND
cdef int _CONTENT_TYPE, _ENCODING, _HEADERS

@cython.locals(
    table="const uint32_t*", p="const uchar*", w="uchar*", length=Py_ssize_t, room=Py_ssize_t, size=Py_ssize_t,
    tops=list, at=Py_ssize_t, to=Py_ssize_t, skip=Py_ssize_t, i=Py_ssize_t, stop=Py_ssize_t, begin=Py_ssize_t,
    result=bytes,
)
cdef tuple _stamp(
    bytes data, Py_ssize_t count, Py_ssize_t stride, bytes ends, tuple skips, bytes which, uint64_t offset,
)
@cython.locals(
    size=Py_ssize_t, last=Py_ssize_t, bits=int, at=Py_ssize_t, entries=Py_ssize_t, end=Py_ssize_t, place=Py_ssize_t,
    header=Py_ssize_t, table=Py_ssize_t, ordered=bytes,
)
cdef Py_ssize_t _stamp_one(
    uchar* w, Py_ssize_t to, const uchar* p, bytes data, Py_ssize_t start, Py_ssize_t head, Py_ssize_t stop,
    uint64_t offset,
) except? -9
@cython.locals(place=Py_ssize_t, answer=Py_ssize_t, before=Py_ssize_t, value=Py_ssize_t, order=int)
cdef Py_ssize_t _offset_place(const uchar* p, Py_ssize_t at, Py_ssize_t stop) noexcept
@cython.locals(order=int)
cdef int _compare(const uchar* p, Py_ssize_t a, const uchar* q, Py_ssize_t b) noexcept
@cython.locals(found=dict, value=Py_ssize_t, end=Py_ssize_t)
cdef bytes _order_entries(const uchar* p, bytes data, Py_ssize_t at, Py_ssize_t stop, object offset)
@cython.locals(size=Py_ssize_t)
cdef Py_ssize_t _copy(uchar* w, Py_ssize_t to, const uchar* p, Py_ssize_t start, Py_ssize_t stop) noexcept
