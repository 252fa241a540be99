"""All commands that are compared, by family. See grammar.py for what the lines mean."""

from typing import Final

from tests.differential.grammar import Line, table
from tests.differential.vocabulary import WORDS

LISTS: Final = """
12 LPUSH lkey value+
12 RPUSH lkey value+
3 LPUSHX lkey value+
3 RPUSHX lkey value+
6 LPOP lkey [count]
6 RPOP lkey [count]
3 LLEN lkey
6 LRANGE lkey index index
4 LINDEX lkey index
4 LSET lkey index value
4 LINSERT lkey BEFORE|AFTER|Before value value
1 LINSERT lkey bad value value
4 LREM lkey index value
4 LTRIM lkey index index
5 LPOS lkey value {RANK rank} {COUNT count} {MAXLEN count}
5 LMOVE lkey lkey side side
4 RPOPLPUSH lkey lkey
5 LMPOP lkeys LEFT|RIGHT [COUNT few]
1 LMPOP lkeys side|bad {COUNT count} {bad}
"""
STRINGS: Final = """
8 GET skey
8 SET skey value
8 SET skey value {NX|XX} {GET} {EX seconds | PX ms | EXAT at | PXAT atms | KEEPTTL}
2 SET skey value {NX} {XX} {GET} {EX bad} {PX nolife} {KEEPTTL} {bad}
3 SETNX skey value
2 SETEX skey seconds|nolife value
2 PSETEX skey ms|nolife value
3 GETSET skey value
3 GETDEL skey
4 GETEX skey [EX seconds | PX ms | EXAT at | PXAT atms | PERSIST | EX nolife | bad]
3 MGET skey+
3 MSET skey:value+
3 MSETNX skey:value+
4 INCR skey
3 DECR skey
4 INCRBY skey delta
3 DECRBY skey delta
4 INCRBYFLOAT skey real
4 APPEND skey value
3 STRLEN skey
4 GETRANGE skey index index
2 SUBSTR skey index index
4 SETRANGE skey offset value
2 LCS skey skey {LEN} {IDX} {MINMATCHLEN few} {WITHMATCHLEN}
"""
KEYS: Final = """
6 DEL key+
2 UNLINK key+
4 EXISTS key+
4 TYPE key
4 EXPIRE key seconds [NX|XX|GT|LT]
2 PEXPIRE key ms [NX|XX|GT|LT]
3 EXPIREAT key at [NX|XX|GT|LT]
2 PEXPIREAT key atms {NX|XX|GT|LT}
2 EXPIRE key nolife|bad {NX} {XX} {GT} {LT} {bad}
1 PEXPIREAT key past
4 TTL key
3 PTTL key
2 EXPIRETIME key
2 PEXPIRETIME key
3 PERSIST key
4 RENAME key key
3 RENAMENX key key
4 COPY key key [REPLACE]
2 COPY key key {DB db} {REPLACE}
3 KEYS pattern
2 RANDOMKEY
2 DBSIZE
2 TOUCH key+
2 MOVE key db
1 FLUSHDB [SYNC|ASYNC]
"""
STREAMS: Final = """
20 XADD xkey nextid field:value+
2 XADD xkey NOMKSTREAM nextid field:value+
3 XADD xkey MAXLEN [=] few nextid field:value+
1 XADD xkey {NOMKSTREAM} MAXLEN|MINID bad [LIMIT few] nextid field:value+
2 XADD xkey MINID [=] id nextid field:value+
3 XADD xauto * field:value+
1 XADD xkey nextid field value field
3 XLEN xkey|xauto
6 XRANGE xkey low high [COUNT few]
5 XREVRANGE xkey high low [COUNT few]
2 XRANGE xauto low high [COUNT few]
2 XRANGE xkey id id COUNT count
5 XDEL xkey id+
1 XDEL xauto id+
3 XTRIM xkey MAXLEN [=] count
3 XTRIM xkey MINID [=] id
1 XTRIM xkey MAXLEN|MINID|bad ~|= count {LIMIT count}
2 XSETID xkey nextid [ENTRIESADDED count] [MAXDELETEDID id]
6 XREAD [COUNT few] STREAMS streams
1 XREAD {COUNT bad} {bad} STREAMS streams
3 XREAD STREAMS xauto id|0|$
6 XGROUP CREATE xkey group id|$|0 [MKSTREAM] [ENTRIESREAD count]
2 XGROUP CREATE xauto group 0 MKSTREAM
2 XGROUP SETID xkey group id|$ [ENTRIESREAD count]
1 XGROUP DESTROY xkey group
2 XGROUP CREATECONSUMER xkey group consumer
2 XGROUP DELCONSUMER xkey group consumer
1 XGROUP bad xkey group
12 XREADGROUP GROUP group consumer [COUNT few] [NOACK] STREAMS gstreams
1 XREADGROUP {GROUP group consumer} {COUNT bad} {NOACK} STREAMS gstreams
3 XREADGROUP GROUP g1 consumer [COUNT few] STREAMS xauto >|0
7 XACK xkey group id+
2 XACK xauto g1 id+
4 XPENDING xkey group
5 XPENDING xkey group [IDLE idle] low high few [consumer]
1 XPENDING xkey group low high bad [consumer]
5 XCLAIM xkey group consumer idle id+ {IDLE idle} {RETRYCOUNT few} {FORCE} {JUSTID} {LASTID id}
1 XCLAIM xkey group consumer idle id+ {TIME past} {bad}
5 XAUTOCLAIM xkey group consumer idle id [COUNT few] [JUSTID]
1 XAUTOCLAIM xkey group consumer bad id {COUNT bad} {JUSTID}
3 XINFO STREAM xkey
3 XINFO STREAM xkey FULL [COUNT few]
3 XINFO GROUPS xkey
3 XINFO CONSUMERS xkey group
1 XINFO bad xkey
"""
TRANSACTIONS: Final = """
10 MULTI
14 EXEC
3 DISCARD
8 WATCH key+
3 UNWATCH
"""
BLOCKING: Final = """
8 BLPOP lkey+ 0|1000|0.0
8 BRPOP lkey+ 0|1000|0.0
6 BLMOVE lkey lkey side side 0
4 BRPOPLPUSH lkey lkey 0
6 BLMPOP 0 lkeys LEFT|RIGHT [COUNT few]
2 BLPOP lkey+ bad
1 BLMPOP bad lkeys side|bad [COUNT count]
6 XREAD BLOCK 0 [COUNT few] STREAMS streams
6 XREADGROUP GROUP group consumer BLOCK 0 [COUNT few] [NOACK] STREAMS gstreams
1 XREAD COUNT few BLOCK bad STREAMS streams
"""
UNBLOCK: Final = """
1 CLIENT UNBLOCK client [TIMEOUT|ERROR|bad]
"""
TIMED: Final = """
2 BLPOP lkey+ 0.001
2 BRPOP lkey+ 0.002
1 BLMOVE lkey lkey side side 0.001
1 BRPOPLPUSH lkey lkey 0.001
1 BLMPOP 0.001 lkeys LEFT|RIGHT [COUNT few]
2 XREAD BLOCK 1 STREAMS xkey $
1 XREADGROUP GROUP group consumer BLOCK 1 STREAMS xkey >
"""
CONNECTION: Final = """
4 PING [value]
3 ECHO value
8 SELECT 0
3 SELECT db
2 CLIENT GETNAME
2 CLIENT SETNAME name
2 CLIENT ID
1 CLIENT NO-EVICT ON|OFF|bad
1 CLIENT SETNAME
1 CLIENT bad
1 HELLO [2|3|bad]
1 HELLO 2|3 SETNAME name
1 RESET
1 COMMAND COUNT value
1 bad value
1 NOSUCH value+
"""
PUBSUB: Final = """
10 PUBLISH channel value
3 SPUBLISH channel value
2 PUBSUB CHANNELS [cpattern]
2 PUBSUB NUMSUB channel+
2 PUBSUB NUMSUB
1 PUBSUB NUMPAT
1 PUBSUB SHARDCHANNELS [cpattern]
1 PUBSUB SHARDNUMSUB channel+
1 PUBSUB bad
"""
SUBSCRIBERS: Final = """
8 SUBSCRIBE channel+
5 PSUBSCRIBE cpattern+
3 SSUBSCRIBE channel+
4 UNSUBSCRIBE channel+
3 PUNSUBSCRIBE cpattern+
2 SUNSUBSCRIBE channel+
2 UNSUBSCRIBE
1 PUNSUBSCRIBE
1 SUNSUBSCRIBE
3 PING [value]
2 GET skey
1 SUBSCRIBE
1 PUBLISH channel value
1 HELLO 2|3
1 RESET
1 PUBSUB NUMPAT
"""

TABLES: Final[dict[str, list[Line]]] = {
    name: table(text, WORDS)
    for name, text in {
        "lists": LISTS,
        "strings": STRINGS,
        "keys": KEYS,
        "streams": STREAMS,
        "transactions": TRANSACTIONS,
        "blocking": BLOCKING,
        "unblock": UNBLOCK,
        "timed": TIMED,
        "connection": CONNECTION,
        "pubsub": PUBSUB,
        "subscribers": SUBSCRIBERS,
    }.items()
}
FAMILIES: Final = (
    "lists", "keys", "strings", "streams", "transactions", "blocking", "pubsub", "connection", "protocol",
)  # fmt: skip
"""What can be asked for; `protocol` is bytes that are not made by a client library (bytes_alone.py)."""
