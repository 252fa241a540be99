# Types of the compiled form of resp_quick.py; the logic stands in the .py alone.
cimport cython
from mansio.codec.resp cimport Scan, encode_reply

cdef class Raw:
    cdef readonly bytes data

cdef class Common:
    cdef public long long commands
    cdef public bint watching
    cdef public dict gathered, ready, stirred

cdef class Quick:
    cdef public Common common
    cdef public long long now_ns, received_ns, said_bytes, unread_bytes, _taken
    cdef public bytes tail
    cdef public bint closed, waiting, blocking, unusual, writable, _waits_for_log, _announced
    cdef public int proto
    cdef public object last_command, _pending, _gates, _rare
    cdef public Scan _scan
    cdef public dict _entries
    cdef public list _announce, _out

    @cython.locals(args=list, entry=tuple, least=Py_ssize_t, most=Py_ssize_t, flags=int, gathers=bint)
    cpdef receive_buffer(self, bytearray buf, Py_ssize_t end, long long now_ns)
    @cython.locals(common=Common, raw=Raw)
    cdef _execute(self, object handler, list args, int flags, bint gathers, object command)
    cdef _say(self, object data)
    @cython.locals(out=list)
    cpdef list data_to_send(self)
