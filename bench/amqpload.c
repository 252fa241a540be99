/*
 * amqpload - AMQP 0-9-1 load generator: raw sockets, one thread, epoll.
 *
 * Publish frames are encoded once per publisher and stamped in place; consumers
 * parse deliveries straight out of a large read buffer.  Every body starts with
 * a 16-byte stamp {u64 send time ns, u32 publisher, u32 sequence}, from which
 * the tool takes latency and checks loss, duplication and per-publisher order.
 * With --headers each message also has its own properties, which are checked
 * against the stamp of the body they arrive with.  With --readers the queues are
 * streams: every consumer has to get everything from its offset on, without gaps.
 *
 * Prints one JSON object on stdout.  Exit status: 0 all checks passed,
 * 1 usage/protocol error, 2 stalled, 3 lost/duplicated/reordered/damaged.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#include "loadgen.h"

#define METHOD(c, m) ((uint32_t)(c) << 16 | (m))
#define STAMP 16               /* bytes of stamp at the start of each body */
#define PUB_BATCH (128u << 10) /* bytes encoded before a write() */
#define READ_BUF (512u << 10)
#define KEY_DIGITS 5           /* digits at the end of each queue name and routing key */
#define HEAD_FIXED 12          /* class, weight and body size before the flag word */
#define HEAD_MAX 256           /* longest content header payload with --headers */
#define TRACE_HEX 32           /* hex digits in the trace-id header */
#define ID_HEX 24              /* hex digits in the message-id property */

enum { FRAME_METHOD = 1, FRAME_HEADER = 2, FRAME_BODY = 3, FRAME_HEARTBEAT = 8 };
enum {
    CONN_START = METHOD(10, 10), CONN_START_OK = METHOD(10, 11),
    CONN_TUNE = METHOD(10, 30), CONN_TUNE_OK = METHOD(10, 31),
    CONN_OPEN = METHOD(10, 40), CONN_OPEN_OK = METHOD(10, 41),
    CONN_CLOSE = METHOD(10, 50), CONN_CLOSE_OK = METHOD(10, 51),
    CONN_BLOCKED = METHOD(10, 60), CONN_UNBLOCKED = METHOD(10, 61),
    CH_OPEN = METHOD(20, 10), CH_OPEN_OK = METHOD(20, 11),
    CH_CLOSE = METHOD(20, 40), CH_CLOSE_OK = METHOD(20, 41),
    EX_DECLARE = METHOD(40, 10), EX_DECLARE_OK = METHOD(40, 11),
    Q_DECLARE = METHOD(50, 10), Q_DECLARE_OK = METHOD(50, 11),
    Q_BIND = METHOD(50, 20), Q_BIND_OK = METHOD(50, 21),
    Q_PURGE = METHOD(50, 30), Q_PURGE_OK = METHOD(50, 31),
    Q_DELETE = METHOD(50, 40), Q_DELETE_OK = METHOD(50, 41),
    B_QOS = METHOD(60, 10), B_QOS_OK = METHOD(60, 11),
    B_CONSUME = METHOD(60, 20), B_CONSUME_OK = METHOD(60, 21),
    B_CANCEL = METHOD(60, 30), B_PUBLISH = METHOD(60, 40),
    B_DELIVER = METHOD(60, 60), B_ACK = METHOD(60, 80), B_NACK = METHOD(60, 120),
    CONFIRM_SELECT = METHOD(85, 10), CONFIRM_SELECT_OK = METHOD(85, 11),
};

/* ---------------------------------------------------------------- options */

static struct {
    const char *host, *port, *user, *pass, *vhost, *prefix, *exchange, *label, *pids, *tls;
    const char *qarg[16], *carg[16], *expiration;
    int priorities, nqarg, ncarg, pubs, cons, queues, keys, prefetch, ack_every, window, idle_s;
    size_t size;
    uint64_t count, offset_step, burst;
    double duration, rate, hold_s;
    bool persistent, autoack, durable, purge, delete_after, verify, no_setup, headers, readers;
} o = {
    .host = "127.0.0.1", .port = "5672", .user = "guest", .pass = "guest", .vhost = "/",
    .prefix = "bench", .label = "", .pubs = 1, .cons = 1, .queues = 1,
    .prefetch = 1000, .ack_every = 1, .idle_s = 30, .size = 256, .burst = 1,
};

/* ------------------------------------------------------ bytes and encoding */

struct buf { uint8_t *p; size_t off, len, cap; };

static uint8_t *grow(struct buf *b, size_t n)
{
    if (b->len + n > b->cap) {
        b->cap = (b->len + n) * 2;
        b->p = realloc(b->p, b->cap);
        if (!b->p) die("out of memory");
    }
    b->len += n;
    return b->p + b->len - n;
}
static void put8(struct buf *b, unsigned v) { *grow(b, 1) = (uint8_t)v; }
static void put16(struct buf *b, unsigned v) { put8(b, v >> 8); put8(b, v); }
static void put32(struct buf *b, uint32_t v) { put16(b, v >> 16); put16(b, v & 0xffff); }
static void put64(struct buf *b, uint64_t v) { put32(b, (uint32_t)(v >> 32)); put32(b, (uint32_t)v); }
static void put_raw(struct buf *b, const void *p, size_t n) { memcpy(grow(b, n), p, n); }
static void put_short(struct buf *b, const char *s) { put8(b, (unsigned)strlen(s)); put_raw(b, s, strlen(s)); }
static void put_long(struct buf *b, const void *p, size_t n) { put32(b, (uint32_t)n); put_raw(b, p, n); }

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) << 32 | get32(p + 4); }
static void set32(uint8_t *p, uint32_t v) { v = htonl(v); memcpy(p, &v, 4); }

/* Opens a frame; frame_end() fills in its length. */
static size_t frame_begin(struct buf *b, unsigned type, unsigned channel)
{
    put8(b, type);
    put16(b, channel);
    put32(b, 0);
    return b->len;
}
static void frame_end(struct buf *b, size_t start)
{
    set32(b->p + start - 4, (uint32_t)(b->len - start));
    put8(b, 0xCE);
}
static size_t method_begin(struct buf *b, unsigned channel, uint32_t method)
{
    size_t start = frame_begin(b, FRAME_METHOD, channel);
    put32(b, method);
    return start;
}

/* ------------------------------------------------------------- connections */

struct conn {
    int fd, id;
    struct ssl_st *tls;        /* NULL without --tls */
    int queue;                 /* consumer: queue of the delivery at hand */
    int key;                   /* publisher: routing key of the next message */
    bool publisher, blocked, barrier_ok;
    uint32_t frame_max;
    struct buf in, out;
    /* publisher */
    struct buf msg;            /* one encoded message */
    size_t stamp_at, key_at;   /* where its stamp and its key number lie */
    size_t head_at;            /* where its content header payload starts */
    uint64_t quota, sent, confirmed; /* confirmed: all tags up to here */
    uint64_t *sent_at;         /* ring of `window` send times, 0 once confirmed */
    /* consumer */
    uint64_t tag, unacked, body_left;
    bool redelivered, body_started;
    uint8_t head[HEAD_MAX];    /* content header at hand, with --headers */
    int64_t *last_seq;         /* by (own queue, publisher) */
    int64_t *last_offset;      /* --readers: by own queue */
    bool *fresh;               /* --readers: by (own queue, publisher), whether of this run */
};

struct seen { uint64_t *bits; size_t words; uint64_t unique; }; /* by (queue, publisher) */

static struct conn control, *pub, *con;
static struct seen *seen;
static int max_pub, epfd, timer_fd;
static uint8_t filling[READ_BUF]; /* what bodies hold after their stamp */
static uint64_t began;            /* when the load began: what was sent before is of another run */
static struct hist latency, confirm_lat, lag;
static struct {
    uint64_t published, confirmed, nacked, consumed, unique, dup, reordered, damaged,
             redelivered, blocked, barriers, last_delivery, last_confirm, last_progress, during;
} st;

/* Where the varying values of a --headers content header lie in its payload. */
static struct { size_t size, seq_at, trace_at, id_at, priority_at; } head;

/* A publisher uses the keys key_first, key_first + key_step, ... below key_end in turn. */
static int key_end(void) { return o.keys > o.queues ? o.keys : o.queues; }
static int key_step(void) { return o.keys ? 1 : o.pubs; }
static int key_first(int publisher) { return o.keys ? 0 : publisher % o.queues; }
static int key_limit(void) { return o.keys ? o.keys : o.queues; }

static void qname(char *out, size_t n, int q) { snprintf(out, n, "%s.q.%05d", o.prefix, q); }
static const char *exname(void)
{
    static char name[128];
    snprintf(name, sizeof name, "%s.x.%s", o.prefix, o.exchange);
    return name;
}

static void server_error(const uint8_t *p)
{
    uint32_t m = get32(p);
    if (m == CONN_CLOSE || m == CH_CLOSE)
        die("server closed: %u %.*s", get16(p + 4), p[6], (const char *)p + 7);
    die("unexpected method %u.%u", m >> 16, m & 0xffff);
}

/* ------------------------------------------------------------ with --tls */

#ifdef WITH_TLS
/* An error as read() and write() have it. */
static ssize_t tls_result(struct conn *c, int n)
{
    if (n > 0) return n;
    int error = SSL_get_error(c->tls, n);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        die("TLS: %s", ERR_reason_error_string(ERR_peek_error()) ?: strerror(errno));
    errno = EAGAIN;
    return -1;
}
static ssize_t conn_read(struct conn *c, void *p, size_t n)
{
    return c->tls ? tls_result(c, SSL_read(c->tls, p, (int)n)) : read(c->fd, p, n);
}
static ssize_t conn_write(struct conn *c, const void *p, size_t n)
{
    return c->tls ? tls_result(c, SSL_write(c->tls, p, (int)n)) : write(c->fd, p, n);
}
static bool tls_holds_more(struct conn *c) { return c->tls && SSL_has_pending(c->tls); }

/* Whole buffers are read from the socket; the server's certificate must be signed by the CA in the file o.tls. */
static void tls_open(struct conn *c)
{
    static SSL_CTX *ctx;
    if (!ctx) {
        ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(ctx, 1);
        SSL_CTX_set_default_read_buffer_len(ctx, READ_BUF);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        if (SSL_CTX_load_verify_locations(ctx, o.tls, NULL) != 1) die("--tls: no certificate of a CA in %s", o.tls);
    }
    c->tls = SSL_new(ctx);
    if (SSL_set_fd(c->tls, c->fd) != 1 || SSL_connect(c->tls) != 1)
        die("TLS handshake: %s", ERR_reason_error_string(ERR_peek_error()) ?: "closed by the server");
}
#else
static ssize_t conn_read(struct conn *c, void *p, size_t n) { return read(c->fd, p, n); }
static ssize_t conn_write(struct conn *c, const void *p, size_t n) { return write(c->fd, p, n); }
static bool tls_holds_more(struct conn *c) { return c->tls; }
static void tls_open(struct conn *c) { die("--tls: amqpload was built without OpenSSL (Debian, Ubuntu: apt install libssl-dev)"); }
#endif

static void write_all(struct conn *c) /* blocking sockets only */
{
    while (c->out.off < c->out.len) {
        ssize_t n = conn_write(c, c->out.p + c->out.off, c->out.len - c->out.off);
        if (n <= 0) die("write: %s", strerror(errno));
        c->out.off += (size_t)n;
    }
    c->out.off = c->out.len = 0;
}

/* Returns the payload of the next complete frame in c->in, or NULL. */
static const uint8_t *next_frame(struct conn *c, unsigned *type, uint32_t *size)
{
    size_t have = c->in.len - c->in.off;
    const uint8_t *p = c->in.p + c->in.off;
    if (have < 8) return NULL;
    if (p[0] == 'A') die("server refused the protocol version");
    *type = p[0];
    *size = get32(p + 3);
    if ((size_t)*size + 8 > c->in.cap) die("frame of %u bytes is too large", *size);
    if (have < (size_t)*size + 8) return NULL;
    if (p[7 + *size] != 0xCE) die("bad frame end");
    c->in.off += (size_t)*size + 8;
    return p + 7;
}

static ssize_t read_more(struct conn *c)
{
    if (c->in.off) {
        memmove(c->in.p, c->in.p + c->in.off, c->in.len - c->in.off);
        c->in.len -= c->in.off;
        c->in.off = 0;
    }
    ssize_t n = conn_read(c, c->in.p + c->in.len, c->in.cap - c->in.len);
    if (n == 0) die("server closed the connection");
    if (n < 0 && errno != EAGAIN && errno != EINTR) die("read: %s", strerror(errno));
    if (n > 0) c->in.len += (size_t)n;
    return n;
}

/* Sends what is in c->out and waits for `want`; blocking sockets only. */
static const uint8_t *call(struct conn *c, uint32_t want)
{
    write_all(c);
    for (;;) {
        unsigned type;
        uint32_t size;
        const uint8_t *p;
        while ((p = next_frame(c, &type, &size))) {
            if (type != FRAME_METHOD) continue;
            if (get32(p) == want) return p;
            if (get32(p) == CONN_CLOSE || get32(p) == CH_CLOSE) server_error(p);
        }
        read_more(c);
    }
}

static void conn_open(struct conn *c)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
    int one = 1;
    size_t f;

    if (getaddrinfo(o.host, o.port, &hints, &ai)) die("cannot resolve %s:%s", o.host, o.port);
    c->fd = socket(ai->ai_family, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, ai->ai_addr, ai->ai_addrlen))
        die("connect %s:%s: %s", o.host, o.port, strerror(errno));
    freeaddrinfo(ai);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (o.tls) tls_open(c);
    c->in.cap = o.pubs + o.cons > 64 ? 160u << 10 : READ_BUF;
    c->in.p = xcalloc(1, c->in.cap);

    put_raw(&c->out, "AMQP\0\0\11\1", 8);
    call(c, CONN_START);

    static const char *const caps[] = {"publisher_confirms", "basic.nack", "connection.blocked", "consumer_cancel_notify"};
    struct buf cap = {0}, props = {0}, plain = {0};
    for (size_t i = 0; i < ARRAY(caps); i++) {
        put_short(&cap, caps[i]);
        put_raw(&cap, "t\1", 2);
    }
    put_short(&props, "product");
    put8(&props, 'S');
    put_long(&props, "amqpload", 8);
    put_short(&props, "capabilities");
    put8(&props, 'F');
    put_long(&props, cap.p, cap.len);
    put8(&plain, 0);
    put_raw(&plain, o.user, strlen(o.user));
    put8(&plain, 0);
    put_raw(&plain, o.pass, strlen(o.pass));
    f = method_begin(&c->out, 0, CONN_START_OK);
    put_long(&c->out, props.p, props.len);
    put_short(&c->out, "PLAIN");
    put_long(&c->out, plain.p, plain.len);
    put_short(&c->out, "en_US");
    frame_end(&c->out, f);
    free(cap.p), free(props.p), free(plain.p);

    const uint8_t *tune = call(c, CONN_TUNE);
    unsigned channel_max = get16(tune + 4);
    c->frame_max = get32(tune + 6);
    if (!c->frame_max || c->frame_max > 131072) c->frame_max = 131072;
    f = method_begin(&c->out, 0, CONN_TUNE_OK);
    put16(&c->out, channel_max ? channel_max : 2047);
    put32(&c->out, c->frame_max);
    put16(&c->out, 0); /* no heartbeats */
    frame_end(&c->out, f);
    f = method_begin(&c->out, 0, CONN_OPEN);
    put_short(&c->out, o.vhost);
    put16(&c->out, 0);
    frame_end(&c->out, f);
    call(c, CONN_OPEN_OK);
    f = method_begin(&c->out, 1, CH_OPEN);
    put8(&c->out, 0);
    frame_end(&c->out, f);
    call(c, CH_OPEN_OK);
}

static void put_args(struct buf *t, const char *const *args, int n) /* "key=text" or "key:=integer" */
{
    for (int i = 0; i < n; i++) {
        char key[128];
        const char *eq = strchr(args[i], '=');
        if (!eq) die("--qarg and --carg want key=text or key:=integer");
        bool integer = eq > args[i] && eq[-1] == ':';
        snprintf(key, sizeof key, "%.*s", (int)(eq - args[i]) - integer, args[i]);
        put_short(t, key);
        put8(t, integer ? 'l' : 'S');
        if (integer) put64(t, strtoull(eq + 1, NULL, 10));
        else put_long(t, eq + 1, strlen(eq + 1));
    }
}

static void put_declare(struct buf *b, int q, bool passive)
{
    char name[128];
    qname(name, sizeof name, q);
    size_t f = method_begin(b, 1, Q_DECLARE);
    put16(b, 0);
    put_short(b, name);
    put8(b, passive ? 1 : o.durable ? 2 : 0);
    struct buf args = {0};
    if (!passive) put_args(&args, o.qarg, o.nqarg);
    put_long(b, args.p, args.len);
    free(args.p);
    frame_end(b, f);
}

static void bind_key(struct conn *c, const char *queue, int k)
{
    struct buf *b = &c->out;
    char key[128];
    qname(key, sizeof key, k);
    size_t f = method_begin(b, 1, Q_BIND);
    put16(b, 0);
    put_short(b, queue);
    put_short(b, exname());
    put_short(b, !strcmp(o.exchange, "topic") ? "#" : key);
    put8(b, 0);
    put32(b, 0);
    frame_end(b, f);
    call(c, Q_BIND_OK);
}

static void declare_all(struct conn *c)
{
    struct buf *b = &c->out;
    size_t f;
    if (o.exchange) {
        f = method_begin(b, 1, EX_DECLARE);
        put16(b, 0);
        put_short(b, exname());
        put_short(b, o.exchange);
        put8(b, o.durable ? 2 : 0);
        put32(b, 0);
        frame_end(b, f);
        call(c, EX_DECLARE_OK);
    }
    for (int q = 0; q < o.queues; q++) {
        char name[128];
        qname(name, sizeof name, q);
        put_declare(b, q, false);
        call(c, Q_DECLARE_OK);
        for (int k = q; o.exchange && k < key_end(); k += o.queues) bind_key(c, name, k);
        if (o.purge) {
            f = method_begin(b, 1, Q_PURGE);
            put16(b, 0);
            put_short(b, name);
            put8(b, 0);
            frame_end(b, f);
            call(c, Q_PURGE_OK);
        }
    }
}

static void delete_all(struct conn *c)
{
    for (int q = 0; q < o.queues; q++) {
        char name[128];
        qname(name, sizeof name, q);
        size_t f = method_begin(&c->out, 1, Q_DELETE);
        put16(&c->out, 0);
        put_short(&c->out, name);
        put8(&c->out, 0);
        frame_end(&c->out, f);
        call(c, Q_DELETE_OK);
    }
}

/* -------------------------------------------------------------- publishers */

/* Flag word and properties, in the order of the specification (section 4.2.6.1). */
static void put_properties(struct buf *m, size_t start)
{
    put16(m, (o.persistent ? 0x1000 : 0) | (o.headers ? 0x2080 : 0) | (o.priorities ? 0x0800 : 0)
                 | (o.expiration ? 0x0100 : 0));
    if (o.headers) { /* x-seq: signed 64-bit; trace-id: text */
        put32(m, 1 + 5 + 1 + 8 + 1 + 8 + 1 + 4 + TRACE_HEX);
        put_short(m, "x-seq");
        put8(m, 'l');
        head.seq_at = m->len - start;
        put64(m, 0);
        put_short(m, "trace-id");
        put8(m, 'S');
        put32(m, TRACE_HEX);
        head.trace_at = m->len - start;
        memset(grow(m, TRACE_HEX), '0', TRACE_HEX);
    }
    if (o.persistent) put8(m, 2);
    if (o.priorities) {
        head.priority_at = m->len - start;
        put8(m, 0);
    }
    if (o.expiration) put_short(m, o.expiration);
    if (o.headers) {
        put8(m, ID_HEX);
        head.id_at = m->len - start;
        memset(grow(m, ID_HEX), '0', ID_HEX);
        head.size = m->len - start;
        if (head.size > HEAD_MAX) die("content header too long");
    }
}

static void put_hex(uint8_t *out, uint64_t v, int digits)
{
    static uint8_t pairs[256][2];
    if (!pairs[0][0])
        for (int i = 0; i < 256; i++) pairs[i][0] = (uint8_t)"0123456789abcdef"[i >> 4], pairs[i][1] = (uint8_t)"0123456789abcdef"[i & 15];
    for (int i = digits - 2; i >= 0; i -= 2, v >>= 8) memcpy(out + i, pairs[v & 255], 2);
}

static uint64_t mix(uint64_t x) /* splitmix64: distinct inputs, distinct outputs */
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/* The values of message `seq` of publisher `id`, written into its content header. */
static void set_head(uint8_t *payload, uint32_t id, uint32_t seq)
{
    uint64_t n = (uint64_t)id << 32 | seq;
    set32(payload + head.seq_at, 0);
    set32(payload + head.seq_at + 4, seq);
    put_hex(payload + head.trace_at, mix(n), 16);
    put_hex(payload + head.trace_at + 16, mix(~n), TRACE_HEX - 16);
    put_hex(payload + head.id_at, id, ID_HEX - 16);
    put_hex(payload + head.id_at + ID_HEX - 16, n ^ mix(id), 16);
}

static void pub_setup(struct conn *c)
{
    struct buf *m = &c->msg;
    char name[128];
    conn_open(c);
    c->publisher = true;
    c->key = o.keys ? c->id % o.keys : key_first(c->id);
    if (o.window) {
        size_t f = method_begin(&c->out, 1, CONFIRM_SELECT);
        put8(&c->out, 0);
        frame_end(&c->out, f);
        call(c, CONFIRM_SELECT_OK);
        c->sent_at = xcalloc((size_t)o.window, sizeof *c->sent_at);
    }
    qname(name, sizeof name, c->key);
    size_t f = method_begin(m, 1, B_PUBLISH);
    put16(m, 0);
    put_short(m, o.exchange ? exname() : "");
    put_short(m, name);
    c->key_at = m->len - KEY_DIGITS;
    put8(m, 0);
    frame_end(m, f);
    f = frame_begin(m, FRAME_HEADER, 1);
    put16(m, 60);
    put16(m, 0);
    c->head_at = f;
    put64(m, o.size);
    put_properties(m, f);
    frame_end(m, f);
    for (size_t done = 0; done < o.size;) {
        size_t part = o.size - done;
        if (part > c->frame_max - 8) part = c->frame_max - 8;
        f = frame_begin(m, FRAME_BODY, 1);
        if (!done) c->stamp_at = m->len;
        memset(grow(m, part), 'x', part);
        frame_end(m, f);
        done += part;
    }
}

static void want_write(struct conn *c, bool on)
{
    struct epoll_event e = {.events = EPOLLIN | (on ? EPOLLOUT : 0), .data.ptr = c};
    if (c->blocked == on) return;
    c->blocked = on;
    epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &e);
}

static void flush(struct conn *c)
{
    while (c->out.off < c->out.len) {
        ssize_t n = conn_write(c, c->out.p + c->out.off, c->out.len - c->out.off);
        if (n < 0 && errno == EAGAIN) {
            want_write(c, true);
            return;
        }
        if (n < 0) die("write: %s", strerror(errno));
        c->out.off += (size_t)n;
        st.last_progress = now_ns();
    }
    c->out.off = c->out.len = 0;
    want_write(c, false);
}

static bool may_send(const struct conn *c)
{
    return !c->blocked && c->sent < c->quota && (!o.window || c->sent - c->confirmed < (uint64_t)o.window);
}

static void encode(struct conn *c, uint64_t now)
{
    uint8_t *m = grow(&c->out, c->msg.len);
    uint32_t id = (uint32_t)c->id, seq = (uint32_t)c->sent;
    memcpy(m, c->msg.p, c->msg.len);
    memcpy(m + c->stamp_at, &now, 8);
    memcpy(m + c->stamp_at + 8, &id, 4);
    memcpy(m + c->stamp_at + 12, &seq, 4);
    if (o.headers) set_head(m + c->head_at, id, seq);
    if (o.priorities) m[c->head_at + head.priority_at] = (uint8_t)(mix(seq) % (uint64_t)o.priorities);
    if (o.keys > 1 || (!o.keys && o.queues > o.pubs && !o.exchange)) { /* several keys in turn */
        int k = c->key;
        for (int i = KEY_DIGITS - 1; i >= 0; i--, k /= 10) m[c->key_at + (size_t)i] = (uint8_t)('0' + k % 10);
        c->key += key_step();
        if (c->key >= key_limit()) c->key = key_first(c->id);
    }
    if (o.window) c->sent_at[c->sent % (uint64_t)o.window] = now;
    c->sent++;
    st.published++;
}

static void on_confirm(struct conn *c, uint64_t tag, bool multiple, bool nack, uint64_t now)
{
    uint64_t w = (uint64_t)o.window, from = multiple || !tag ? c->confirmed + 1 : tag;
    if (!tag) tag = c->sent;
    if (tag > c->sent || from <= c->confirmed) die("confirm for unknown tag %lu", (unsigned long)tag);
    for (uint64_t t = from; t <= tag; t++) {
        uint64_t *at = &c->sent_at[(t - 1) % w];
        if (!*at) continue;
        hist_add(&confirm_lat, now - *at);
        *at = 0;
        if (nack) st.nacked++;
        else st.confirmed++;
    }
    while (c->confirmed < c->sent && !c->sent_at[c->confirmed % w]) c->confirmed++;
    st.last_confirm = st.last_progress = now;
}

/* --------------------------------------------------------------- consumers */

static void con_setup(struct conn *c)
{
    conn_open(c);
    c->queue = c->id % o.queues;
    int own = (o.queues + o.cons - 1) / o.cons; /* queues q with q mod consumers == id */
    c->last_seq = xcalloc((size_t)own * (size_t)max_pub, sizeof *c->last_seq);
    for (int i = 0; i < own * max_pub; i++) c->last_seq[i] = -1;
    if (o.readers) {
        c->fresh = xcalloc((size_t)own * (size_t)max_pub, sizeof *c->fresh);
        c->last_offset = xcalloc((size_t)own, sizeof *c->last_offset);
        for (int i = 0; i < own; i++) c->last_offset[i] = -1;
    }
    if (!o.autoack && o.prefetch) {
        size_t f = method_begin(&c->out, 1, B_QOS);
        put32(&c->out, 0);
        put16(&c->out, (unsigned)o.prefetch);
        put8(&c->out, 0);
        frame_end(&c->out, f);
        call(c, B_QOS_OK);
    }
}

/* One basic.consume for each queue of this connection; the consumer tag is the queue's number.
 * All are sent at once: deliveries of the first may come before consume-ok of the last. */
static void con_start(struct conn *c)
{
    char name[128], tag[16];
    for (int q = c->id % o.queues; q < o.queues; q += o.cons) {
        qname(name, sizeof name, q);
        snprintf(tag, sizeof tag, "%0*d", KEY_DIGITS, q);
        size_t f = method_begin(&c->out, 1, B_CONSUME);
        put16(&c->out, 0);
        put_short(&c->out, name);
        put_short(&c->out, tag);
        put8(&c->out, o.autoack ? 2 : 0);
        struct buf args = {0};
        put_args(&args, o.carg, o.ncarg);
        if (o.offset_step) {
            put_short(&args, "x-stream-offset");
            put8(&args, 'l');
            put64(&args, (uint64_t)c->id * o.offset_step);
        }
        put_long(&c->out, args.p, args.len);
        free(args.p);
        frame_end(&c->out, f);
    }
    call(c, B_CONSUME_OK);
}

static void put_ack(struct conn *c, bool multiple)
{
    size_t f = method_begin(&c->out, 1, B_ACK);
    put64(&c->out, c->tag);
    put8(&c->out, multiple);
    frame_end(&c->out, f);
    c->unacked = 0;
}

/* The header must be the one that was published with this body. */
static void check_head(const struct conn *c, uint32_t id, uint32_t seq)
{
    uint8_t want[HEAD_MAX];
    if (get32(c->head + head.seq_at + 4) != seq) st.damaged++;
    else if (o.verify) {
        memcpy(want, c->head, head.size);
        set_head(want, id, seq);
        if (memcmp(want, c->head, head.size)) st.damaged++;
    }
}

/* Offsets of a stream have no gaps; `p`: a content header payload. */
static void check_offset(struct conn *c, const uint8_t *p, uint32_t size)
{
    static const char entry[] = "\17x-stream-offsetl";
    static const size_t length = sizeof entry - 1;
    static size_t at;
    int64_t *last = &c->last_offset[c->queue / o.cons];
    if (at + length + 8 > size || memcmp(p + at, entry, length)) {
        const uint8_t *found = memmem(p, size, entry, length);
        at = found ? (size_t)(found - p) : 0;
        if (!found || at + length + 8 > size) {
            st.damaged++;
            return;
        }
    }
    int64_t offset = (int64_t)get64(p + at + length);
    int64_t want = *last < 0 ? (int64_t)((uint64_t)c->id * o.offset_step) : *last + 1;
    if ((*last >= 0 || o.offset_step) && offset != want) st.reordered++;
    *last = offset;
}

/* Every reader gets each message of this run once, and those of earlier ones in order. */
static void on_read(struct conn *c, uint32_t id, uint32_t seq, bool is_fresh)
{
    size_t at = (size_t)(c->queue / o.cons) * (size_t)max_pub + id;
    int64_t *last = &c->last_seq[at];
    if (is_fresh && !c->fresh[at]) c->fresh[at] = true, *last = -1;
    bool first = !is_fresh && *last < 0; /* wherever its offset lies */
    if (c->redelivered) st.redelivered++;
    if (!first && (int64_t)seq <= *last) st.dup++;
    else if (!first && seq != *last + 1 && o.queues <= o.pubs) st.reordered++;
    else if (is_fresh || !o.pubs) st.unique++;
    *last = seq;
}

static void on_stamp(struct conn *c, const uint8_t *body, uint32_t size, uint64_t now)
{
    uint64_t ts;
    uint32_t id, seq;
    if (size < STAMP) {
        st.damaged++;
        return;
    }
    memcpy(&ts, body, 8);
    memcpy(&id, body + 8, 4);
    memcpy(&seq, body + 12, 4);
    if (id >= (uint32_t)max_pub) {
        st.damaged++;
        return;
    }
    if (o.readers) {
        if (ts >= began) hist_add(&latency, now > ts ? now - ts : 0);
        on_read(c, id, seq, ts >= began);
        return;
    }
    hist_add(&latency, now > ts ? now - ts : 0);
    int64_t *last = &c->last_seq[(size_t)(c->queue / o.cons) * (size_t)max_pub + id];
    if (c->redelivered) st.redelivered++;
    else if ((int64_t)seq <= *last && !o.priorities) st.reordered++;
    *last = seq;
    if (o.headers) check_head(c, id, seq);

    struct seen *s = &seen[(size_t)c->queue * (size_t)max_pub + id];
    size_t word = seq / 64;
    if (word >= s->words) {
        size_t words = word * 2 + 64;
        s->bits = realloc(s->bits, words * 8);
        if (!s->bits) die("out of memory");
        memset(s->bits + s->words, 0, (words - s->words) * 8);
        s->words = words;
    }
    uint64_t bit = 1ull << seq % 64;
    if (s->bits[word] & bit) st.dup++;
    else s->bits[word] |= bit, s->unique++, st.unique++;
}

static void on_body(struct conn *c, const uint8_t *p, uint32_t size, uint64_t now)
{
    if (size > c->body_left || size > sizeof filling) die("body longer than announced");
    if (!c->body_started) {
        on_stamp(c, p, size, now);
        c->body_started = true;
        if (o.verify && size > STAMP && memcmp(p + STAMP, filling, size - STAMP)) st.damaged++;
    } else if (o.verify && memcmp(p, filling, size)) st.damaged++;
    c->body_left -= size;
    if (c->body_left) return;
    st.consumed++;
    st.last_delivery = now;
    if (!o.autoack && ++c->unacked >= (uint64_t)o.ack_every) put_ack(c, o.ack_every > 1);
}

static void on_method(struct conn *c, const uint8_t *p, uint64_t now)
{
    switch (get32(p)) {
    case B_DELIVER:
        if (o.cons < o.queues) /* several queues on this connection */
            for (int i = c->queue = 0; i < p[4]; i++) c->queue = c->queue * 10 + p[5 + i] - '0';
        if (c->queue < 0 || c->queue >= o.queues) die("unknown consumer tag");
        p += 5 + p[4];
        c->tag = get64(p);
        c->redelivered = p[8];
        break;
    case B_ACK:
        on_confirm(c, get64(p + 4), p[12] & 1, false, now);
        break;
    case B_NACK:
        on_confirm(c, get64(p + 4), p[12] & 1, true, now);
        break;
    case Q_DECLARE_OK:
        c->barrier_ok = true;
        st.barriers++;
        st.last_progress = now;
        break;
    case CONN_BLOCKED:
        st.blocked++;
        break;
    case CONN_UNBLOCKED:
    case B_CONSUME_OK:
        break;
    default:
        server_error(p);
    }
}

static void parse(struct conn *c, uint64_t now)
{
    unsigned type;
    uint32_t size;
    const uint8_t *p;
    while ((p = next_frame(c, &type, &size))) {
        if (type == FRAME_METHOD) on_method(c, p, now);
        else if (type == FRAME_HEADER) {
            c->body_left = get64(p + 4);
            c->body_started = false;
            if (o.readers) check_offset(c, p, size);
            if (c->body_left != o.size || (o.headers && size != head.size)) st.damaged++;
            else if (o.headers) memcpy(c->head, p, size);
        } else if (type == FRAME_BODY) on_body(c, p, size, now);
    }
}

static void on_readable(struct conn *c)
{
    uint64_t consumed = st.consumed, now = 0;
    do {
        if (read_more(c) <= 0) break;
        now = now_ns();
        parse(c, now);
    } while (tls_holds_more(c));
    if (!now) return;
    if (st.consumed != consumed) st.last_progress = now;
    if (c->out.len && !c->publisher && !c->blocked) flush(c);
}

/* --------------------------------------------------------------- main loop */

static void publish_flood(uint64_t now, bool *more)
{
    for (int i = 0; i < o.pubs; i++) {
        struct conn *c = &pub[i];
        if (!may_send(c)) continue;
        while (may_send(c) && c->out.len < PUB_BATCH) encode(c, now);
        flush(c);
        if (may_send(c)) *more = true;
    }
}

static void flush_publishers(void)
{
    for (int i = 0; i < o.pubs; i++)
        if (pub[i].out.len && !pub[i].blocked) flush(&pub[i]);
}

/* Message k is due at t0 + k / rate, or with the first one of its burst, and goes to the next publisher able to send. Messages that
 * the broker held back carry the time when they were due, so that waiting counts as latency. */
static void publish_paced(uint64_t t0, uint64_t total)
{
    static int turn;
    static bool held;
    for (;;) {
        uint64_t due = t0 + (uint64_t)((double)(st.published - st.published % o.burst) * 1e9 / o.rate), now = now_ns();
        int tries = 0;
        if (st.published >= total || due > now) flush_publishers();
        if (st.published >= total) return;
        if (due > now) {
            struct itimerspec t = {.it_value = {(time_t)(due / NS), (long)(due % NS)}};
            timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
            held = false;
            return;
        }
        while (tries < o.pubs && !may_send(&pub[turn])) turn = (turn + 1) % o.pubs, tries++;
        if (tries == o.pubs) { /* all held back; retried after the next event */
            held = true;
            flush_publishers();
            return;
        }
        hist_add(&lag, now - due);
        encode(&pub[turn], held ? due : now);
        if (o.burst == 1 || pub[turn].out.len >= PUB_BATCH) flush(&pub[turn]);
        turn = (turn + 1) % o.pubs;
    }
}

static bool pubs_finished(void)
{
    for (int i = 0; i < o.pubs; i++)
        if (pub[i].sent < pub[i].quota || pub[i].out.len || (o.window && pub[i].confirmed < pub[i].sent)) return false;
    return true;
}

static void add_to_epoll(struct conn *c)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl: %s", strerror(errno));
}

/* How often each message is to be delivered. */
static uint64_t copies_of_each(void)
{
    uint64_t copies = o.exchange && strcmp(o.exchange, "direct") ? (uint64_t)o.queues : 1;
    return o.readers && o.cons > o.queues ? copies * (uint64_t)(o.cons / o.queues) : copies;
}

static void run_load(uint64_t t0, uint64_t total, uint64_t *t_pub, bool *stalled)
{
    uint64_t copies = copies_of_each();
    uint64_t stop_at = o.duration > 0 ? t0 + (uint64_t)(o.duration * 1e9) : 0;
    bool stopped = !o.pubs, finished = !o.pubs, barrier_sent = false;
    struct epoll_event ev[256];

    st.last_progress = t0;
    for (;;) {
        bool more = false;
        uint64_t now = now_ns();
        if (stop_at && now >= stop_at && !stopped) {
            for (int i = 0; i < o.pubs; i++) pub[i].quota = pub[i].sent;
            stopped = true;
        }
        if (!finished) {
            if (o.rate > 0 && !stopped) publish_paced(t0, total);
            else publish_flood(now, &more);
            if (pubs_finished() && !barrier_sent) {
                /* Without confirms or consumers, a passive declare behind the last
                 * publish tells when the broker has really taken everything. */
                barrier_sent = true;
                *t_pub = o.window ? st.last_confirm : now_ns();
                st.during = st.consumed;
                for (int i = 0; i < o.pubs && !o.cons; i++) {
                    put_declare(&pub[i].out, pub[i].id % o.queues, true);
                    flush(&pub[i]);
                }
            }
            if (barrier_sent && (o.cons || st.barriers == (uint64_t)o.pubs)) {
                finished = true;
                if (!o.cons && !o.window) *t_pub = now_ns();
            }
        }
        uint64_t want = o.pubs ? st.published * copies : total * (o.readers ? copies : 1);
        if (finished && (!o.cons || (st.unique >= want && st.consumed >= want))) return;
        int n = epoll_wait(epfd, ev, ARRAY(ev), more ? 0 : 20);
        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;
            uint64_t ticks;
            if (!c) {
                if (read(timer_fd, &ticks, 8) < 0 && errno != EAGAIN) die("timerfd");
                continue;
            }
            if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
            if (ev[i].events & EPOLLOUT) flush(c);
        }
        if (!n && !more) /* idle: acknowledge what is left over from the last batch */
            for (int i = 0; i < o.cons; i++)
                if (con[i].unacked && !con[i].blocked) put_ack(&con[i], true), flush(&con[i]);
        if (now_ns() - st.last_progress > (uint64_t)o.idle_s * NS) {
            *stalled = true;
            return;
        }
    }
}

/* Settles outstanding acks: the reply to channel.close comes after them. */
static void settle(struct conn *c)
{
    struct timeval limit = {5, 0};
    fcntl(c->fd, F_SETFL, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (c->unacked) put_ack(c, true);
    size_t f = method_begin(&c->out, 1, CH_CLOSE);
    put16(&c->out, 200);
    put_short(&c->out, "");
    put32(&c->out, 0);
    frame_end(&c->out, f);
    call(c, CH_CLOSE_OK);
}

static const struct option longopts[] = {
    {"host", 1, 0, 'H'}, {"port", 1, 0, 'P'}, {"user", 1, 0, 'u'}, {"password", 1, 0, 'w'}, {"vhost", 1, 0, 'v'},
    {"publishers", 1, 0, 'p'}, {"consumers", 1, 0, 'c'}, {"queues", 1, 0, 'q'}, {"size", 1, 0, 's'},
    {"count", 1, 0, 'n'}, {"duration", 1, 0, 'd'}, {"rate", 1, 0, 'r'}, {"confirm", 1, 0, 'W'},
    {"persistent", 0, 0, 'D'}, {"autoack", 0, 0, 'a'}, {"prefetch", 1, 0, 'f'}, {"ack-every", 1, 0, 'k'},
    {"exchange", 1, 0, 'x'}, {"durable", 0, 0, 'U'}, {"qarg", 1, 0, 'A'}, {"prefix", 1, 0, 'X'},
    {"purge", 0, 0, 'g'}, {"delete", 0, 0, 'z'}, {"pid", 1, 0, 'i'}, {"idle-timeout", 1, 0, 'I'},
    {"label", 1, 0, 'l'}, {"verify", 0, 0, 'V'}, {"hold", 1, 0, 'h'}, {"no-setup", 0, 0, 'N'},
    {"keys", 1, 0, 'K'}, {"headers", 0, 0, 'E'}, {"priorities", 1, 0, 'O'}, {"expiration", 1, 0, 'Y'},
    {"carg", 1, 0, 'C'}, {"readers", 0, 0, 'R'}, {"offset-step", 1, 0, 'S'}, {"burst", 1, 0, 'B'},
    {"tls", 1, 0, 'T'}, {0},
};

static const char usage_text[] =
    "usage: amqpload [options]\n"
    "  --host H --port P --user U --password W --vhost V    (127.0.0.1 5672 guest guest /)\n"
    "  --tls FILE          speak TLS; the file has the CA's certificate, PEM\n"
    "  --publishers N --consumers N --queues N   one connection each; publisher or consumer i serves queue\n"
    "                                            i mod N, or several in turn when there are more queues\n"
    "  --keys N            every publisher uses N routing keys in turn, message by message: the first N queues,\n"
    "                      or with --exchange direct key k is bound to queue k mod queues\n"
    "  --headers           every message with its own x-seq, trace-id and message-id\n"
    "  --priorities N      every message with a priority below N of its own; order is not checked then\n"
    "  --expiration MS     every message with this expiration\n"
    "  --size BYTES (16 or more)  --count TOTAL | --duration SECONDS  --rate MSG_PER_S (total)\n"
    "  --burst N           at a rate, N messages at once\n"
    "  --confirm WINDOW    publisher confirms, at most WINDOW in flight per publisher\n"
    "  --persistent        delivery-mode 2      --durable   durable queues and exchange\n"
    "  --autoack | --prefetch N --ack-every N    (manual acks, 1000, 1; above 1 acks with multiple)\n"
    "  --exchange fanout|topic|direct            (default exchange)   --qarg key=text | key:=integer\n"
    "  --carg key=text | key:=integer            arguments of basic.consume\n"
    "  --readers           streams: all consumers of a queue get each message, and find its offset in a header\n"
    "  --offset-step N     consumer i reads from offset i * N on\n"
    "  --prefix NAME --purge --delete --no-setup --verify --label TEXT --idle-timeout S\n"
    "  --hold S            stay idle S seconds with all connections open, then report\n"
    "  --pid PID[,PID]     broker processes whose CPU, memory and disk writes are reported\n"
    "  --publishers 0 --count N drains N messages; --consumers 0 only publishes\n";

static void options(int argc, char **argv)
{
    int ch;
    while ((ch = getopt_long(argc, argv, "", longopts, NULL)) != -1) switch (ch) {
        case 'H': o.host = optarg; break;
        case 'P': o.port = optarg; break;
        case 'u': o.user = optarg; break;
        case 'w': o.pass = optarg; break;
        case 'v': o.vhost = optarg; break;
        case 'p': o.pubs = atoi(optarg); break;
        case 'c': o.cons = atoi(optarg); break;
        case 'q': o.queues = atoi(optarg); break;
        case 's': o.size = strtoul(optarg, NULL, 10); break;
        case 'n': o.count = strtoull(optarg, NULL, 10); break;
        case 'd': o.duration = atof(optarg); break;
        case 'r': o.rate = atof(optarg); break;
        case 'W': o.window = atoi(optarg); break;
        case 'D': o.persistent = true; break;
        case 'a': o.autoack = true; break;
        case 'f': o.prefetch = atoi(optarg); break;
        case 'k': o.ack_every = atoi(optarg); break;
        case 'x': o.exchange = optarg; break;
        case 'U': o.durable = true; break;
        case 'A': if (o.nqarg < (int)ARRAY(o.qarg)) o.qarg[o.nqarg++] = optarg; break;
        case 'X': o.prefix = optarg; break;
        case 'g': o.purge = true; break;
        case 'z': o.delete_after = true; break;
        case 'i': o.pids = optarg; break;
        case 'I': o.idle_s = atoi(optarg); break;
        case 'l': o.label = optarg; break;
        case 'V': o.verify = true; break;
        case 'h': o.hold_s = atof(optarg); break;
        case 'N': o.no_setup = true; break;
        case 'K': o.keys = atoi(optarg); break;
        case 'E': o.headers = true; break;
        case 'O': o.priorities = atoi(optarg); break;
        case 'Y': o.expiration = optarg; break;
        case 'C': if (o.ncarg < (int)ARRAY(o.carg)) o.carg[o.ncarg++] = optarg; break;
        case 'T': o.tls = optarg; break;
        case 'R': o.readers = true; break;
        case 'B': o.burst = strtoull(optarg, NULL, 10); break;
        case 'S': o.offset_step = strtoull(optarg, NULL, 10); break;
        default: fputs(usage_text, stderr); exit(1);
    }
    if (optind < argc || o.size < STAMP || !o.burst || o.queues < 1 || o.pubs < 0 || o.cons < 0 || (!o.count && o.duration <= 0) ||
        o.keys < 0 || o.keys > 99999 || (o.keys > o.queues && !o.exchange) ||
        (o.readers && (o.headers || o.priorities || (o.cons > o.queues && o.cons % o.queues)))) {
        fputs(usage_text, stderr);
        exit(1);
    }
    if (!o.autoack && o.prefetch && o.ack_every > (o.prefetch + 1) / 2) o.ack_every = (o.prefetch + 1) / 2;
}

int main(int argc, char **argv)
{
    options(argc, argv);
    uint64_t total = o.count ? o.count : UINT64_MAX, t0, t_pub = 0;
    bool stalled = false;
    max_pub = o.pubs ? o.pubs : 1024;
    seen = xcalloc((size_t)o.queues * (size_t)max_pub, sizeof *seen);
    pub = xcalloc((size_t)o.pubs, sizeof *pub);
    con = xcalloc((size_t)o.cons, sizeof *con);
    epfd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    epoll_ctl(epfd, EPOLL_CTL_ADD, timer_fd, &(struct epoll_event){.events = EPOLLIN});

    struct buf scratch = {0}; /* a drain too has to know the layout of the headers */
    put_properties(&scratch, (size_t)-HEAD_FIXED);
    free(scratch.p);

    memset(filling, 'x', sizeof filling);
    uint64_t t_setup = now_ns();
    conn_open(&control);
    if (!o.no_setup) declare_all(&control);
    for (int i = 0; i < o.cons; i++) con[i].id = i, con_setup(&con[i]);
    for (int i = 0; i < o.pubs; i++) {
        pub[i].id = i;
        pub_setup(&pub[i]);
        pub[i].quota = o.rate > 0 || !o.count ? UINT64_MAX : total / (uint64_t)o.pubs + ((uint64_t)i < total % (uint64_t)o.pubs);
    }
    if (o.pubs) /* a drain is timed from before basic.consume, a flow from after it */
        for (int i = 0; i < o.cons; i++) con_start(&con[i]);
    double setup_s = (double)(now_ns() - t_setup) / 1e9;
    if (o.hold_s > 0) usleep((useconds_t)(o.hold_s * 1e6));

    struct usage u0 = usage_now(o.pids);
    t0 = began = now_ns();
    if (!o.pubs)
        for (int i = 0; i < o.cons; i++) con_start(&con[i]);
    for (int i = 0; i < o.pubs; i++) add_to_epoll(&pub[i]);
    for (int i = 0; i < o.cons; i++) {
        add_to_epoll(&con[i]);
        parse(&con[i], now_ns()); /* deliveries read along with consume-ok */
        if (con[i].out.len) flush(&con[i]);
    }
    if (o.rate > 0 && o.count && o.pubs) { /* paced: the shared count decides, not per-publisher quotas */
        double secs = (double)o.count / o.rate;
        if (o.duration <= 0 || secs < o.duration) o.duration = secs;
    }
    run_load(t0, total, &t_pub, &stalled);
    uint64_t t_end = now_ns();
    if (!stalled)
        for (int i = 0; i < o.cons; i++) settle(&con[i]);
    struct usage u1 = usage_now(o.pids);

    double wall = (double)(t_end - t0) / 1e9, pub_s = t_pub ? (double)(t_pub - t0) / 1e9 : 0;
    double con_s = st.consumed ? (double)(st.last_delivery - t0) / 1e9 : 0;
    uint64_t copies = copies_of_each();
    uint64_t expect = o.cons ? (o.pubs ? st.published * copies : o.count * (o.readers ? copies : 1)) : 0,
             units = o.pubs && !o.readers ? st.published : st.consumed;
    uint64_t lost = expect > st.unique ? expect - st.unique : 0;
    bool bad = lost || st.dup || st.reordered || st.damaged || st.nacked || (o.window && st.confirmed != st.published);

    printf("{\"label\":\"%s\",\"ok\":%s,\"stalled\":%s,\"size\":%zu,\"pubs\":%d,\"cons\":%d,\"queues\":%d", o.label,
           bad || stalled ? "false" : "true", stalled ? "true" : "false", o.size, o.pubs, o.cons, o.queues);
    printf(",\"setup_s\":%.3f,\"wall_s\":%.3f,\"published\":%lu,\"confirmed\":%lu,\"nacked\":%lu,\"consumed\":%lu", setup_s, wall,
           (unsigned long)st.published, (unsigned long)st.confirmed, (unsigned long)st.nacked, (unsigned long)st.consumed);
    printf(",\"lost\":%lu,\"dup\":%lu,\"reordered\":%lu,\"redelivered\":%lu,\"damaged\":%lu,\"blocked\":%lu", (unsigned long)lost,
           (unsigned long)st.dup, (unsigned long)st.reordered, (unsigned long)st.redelivered, (unsigned long)st.damaged,
           (unsigned long)st.blocked);
    printf(",\"pub_per_s\":%.0f,\"con_per_s\":%.0f,\"con_during_pub_per_s\":%.0f", pub_s > 0 ? (double)st.published / pub_s : 0,
           con_s > 0 ? (double)st.consumed / con_s : 0, pub_s > 0 ? (double)st.during / pub_s : 0);
    if (latency.n) hist_json("latency", &latency);
    if (confirm_lat.n) hist_json("confirm", &confirm_lat);
    if (lag.n) hist_json("sched_lag", &lag);
    usage_json(&u0, &u1, units, o.pids);

    if (o.delete_after && !o.no_setup) delete_all(&control);
    return stalled ? 2 : bad ? 3 : 0;
}
