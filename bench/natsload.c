/*
 * natsload - JetStream publisher: one raw socket, one thread.
 *
 * Creates a stream (file storage, one replica), publishes to it with a reply subject of its own for
 * every message, and keeps at most --confirm messages unacknowledged.  An acknowledgement must name
 * the sequence number of its message, each message must be acknowledged once, and the stream must
 * hold as many in the end.  Takes the options of amqpload that apply, and prints the same JSON.
 *
 * Exit status: 0 all checks passed, 1 usage/protocol error, 2 stalled, 3 a check failed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loadgen.h"

#define STAMP 16               /* bytes of stamp at the start of each payload */
#define PUB_BATCH (128u << 10) /* bytes encoded before a write() */
#define READ_BUF (512u << 10)
#define TOKEN_DIGITS 12        /* digits at the end of each reply subject: the message's number */
#define API "api"              /* the same for the answer to a request */

static struct {
    const char *host, *port, *prefix, *pids;
    int window, idle_s;
    size_t size;
    uint64_t count;
    double duration;
    bool delete_after;
} o = {.host = "127.0.0.1", .port = "4222", .prefix = "bench", .window = 1000, .idle_s = 30, .size = 256};

static int fd;
static char in[READ_BUF], out[PUB_BATCH + (2u << 20)], reply[65536];
static size_t in_off, in_len, out_off, out_len;
static bool replied;
static uint64_t *sent_at; /* ring of `window` send times, 0 once acknowledged */
static uint64_t sent, acked_up_to, acked, wrong, repeated, last_ack, last_progress;
static struct hist confirm_lat;

static void put(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    out_len += (size_t)vsnprintf(out + out_len, sizeof out - out_len, fmt, ap);
    va_end(ap);
    if (out_len >= sizeof out) die("output buffer too small");
}

static void flush(void)
{
    while (out_off < out_len) {
        ssize_t n = write(fd, out + out_off, out_len - out_off);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) die("write: %s", strerror(errno));
        out_off += (size_t)n;
    }
    out_off = out_len = 0;
}

static void on_ack(uint64_t number, const char *body, uint64_t now)
{
    const char *seq = strstr(body, "\"seq\":");
    if (strstr(body, "\"error\"") || !seq) die("not acknowledged: %s", body);
    if (strtoull(seq + 6, NULL, 10) != number + 1) wrong++;
    if (number >= sent || number < acked_up_to || !sent_at[number % (uint64_t)o.window]) {
        repeated++;
        return;
    }
    hist_add(&confirm_lat, now - sent_at[number % (uint64_t)o.window]);
    sent_at[number % (uint64_t)o.window] = 0;
    acked++;
    while (acked_up_to < sent && !sent_at[acked_up_to % (uint64_t)o.window]) acked_up_to++;
    last_ack = last_progress = now;
}

/* MSG subject sid [reply] size */
static void on_message(const char *line, char *body, size_t size, uint64_t now)
{
    const char *end = strchr(line + 4, ' '), *token = end;
    char after = body[size];
    while (token[-1] != '.') token--;
    body[size] = 0;
    if (!strncmp(token, API " ", sizeof API)) {
        snprintf(reply, sizeof reply, "%s", body);
        replied = true;
    } else on_ack(strtoull(token, NULL, 10), body, now);
    body[size] = after;
}

static void parse(uint64_t now)
{
    for (;;) {
        char *line = in + in_off, *end = memchr(line, '\n', in_len - in_off);
        if (!end) return;
        size_t used = (size_t)(end - line) + 1;
        if (!strncmp(line, "MSG ", 4)) {
            char *last = end; /* the size is the last word */
            while (last[-1] != ' ') last--;
            size_t size = strtoul(last, NULL, 10);
            if (size + 2 > sizeof in - 1024) die("message of %zu bytes is too large", size);
            if (in_len - in_off < used + size + 2) return;
            on_message(line, end + 1, size, now);
            used += size + 2;
        } else if (!strncmp(line, "PING", 4)) put("PONG\r\n");
        else if (!strncmp(line, "-ERR", 4)) die("%.*s", (int)used - 2, line);
        in_off += used;
    }
}

static void receive(int timeout_ms)
{
    struct pollfd p = {fd, (short)(POLLIN | (out_len ? POLLOUT : 0)), 0};
    poll(&p, 1, timeout_ms);
    if (p.revents & POLLOUT) flush();
    if (!(p.revents & (POLLIN | POLLHUP | POLLERR))) return;
    if (in_off) {
        memmove(in, in + in_off, in_len - in_off);
        in_len -= in_off;
        in_off = 0;
    }
    ssize_t n = read(fd, in + in_len, sizeof in - in_len);
    if (n == 0) die("server closed the connection");
    if (n < 0 && errno != EAGAIN && errno != EINTR) die("read: %s", strerror(errno));
    if (n > 0) {
        in_len += (size_t)n;
        parse(now_ns());
    }
}

/* The answer to a request of the JetStream API; it may be an error. */
static const char *request(const char *verb, const char *body)
{
    uint64_t begin = now_ns();
    put("PUB $JS.API.STREAM.%s.%s _INBOX.%s." API " %zu\r\n%s\r\n", verb, o.prefix, o.prefix, strlen(body), body);
    replied = false;
    while (!replied) {
        flush();
        receive(100);
        if (now_ns() - begin > 20 * NS) die("no answer to %s", verb);
    }
    return reply;
}

static uint64_t number_in(const char *json, const char *key)
{
    const char *at = strstr(json, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void open_stream(void)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
    char config[1024];
    int one = 1;
    if (getaddrinfo(o.host, o.port, &hints, &ai)) die("cannot resolve %s:%s", o.host, o.port);
    fd = socket(ai->ai_family, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen)) die("connect %s:%s: %s", o.host, o.port, strerror(errno));
    freeaddrinfo(ai);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    put("CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\",\"protocol\":1}\r\n");
    put("SUB _INBOX.%s.* 1\r\n", o.prefix);
    request("DELETE", "");
    snprintf(config, sizeof config,
             "{\"name\":\"%s\",\"subjects\":[\"%s.in\"],\"retention\":\"limits\",\"storage\":\"file\",\"num_replicas\":1,"
             "\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"discard\":\"old\"}", o.prefix, o.prefix);
    if (strstr(request("CREATE", config), "\"error\"")) die("%s", reply);
}

static void encode(uint64_t now)
{
    uint64_t stamp[2] = {now, sent << 32};
    put("PUB %s.in _INBOX.%s.%0*lu %zu\r\n", o.prefix, o.prefix, TOKEN_DIGITS, (unsigned long)sent, o.size);
    if (out_len + o.size + 2 > sizeof out) die("message too large");
    memcpy(out + out_len, stamp, STAMP);
    memset(out + out_len + STAMP, 'x', o.size - STAMP);
    memcpy(out + out_len + o.size, "\r\n", 2);
    out_len += o.size + 2;
    sent_at[sent % (uint64_t)o.window] = now;
    sent++;
}

/* Answers whether it went on to the end. */
static bool run_load(uint64_t t0)
{
    uint64_t stop_at = o.duration > 0 ? t0 + (uint64_t)(o.duration * 1e9) : UINT64_MAX;
    uint64_t most = o.count ? o.count : UINT64_MAX;
    last_progress = t0;
    for (;;) {
        uint64_t now = now_ns();
        bool more = sent < most && now < stop_at;
        while (more && sent < most && sent - acked_up_to < (uint64_t)o.window && out_len < PUB_BATCH) encode(now);
        if (!more && acked == sent) return true;
        flush();
        receive(more && !out_len && sent - acked_up_to < (uint64_t)o.window ? 0 : 20);
        if (now_ns() - last_progress > (uint64_t)o.idle_s * NS) return false;
    }
}

static const struct option longopts[] = {
    {"host", 1, 0, 'H'}, {"port", 1, 0, 'P'}, {"prefix", 1, 0, 'X'}, {"size", 1, 0, 's'}, {"count", 1, 0, 'n'},
    {"duration", 1, 0, 'd'}, {"confirm", 1, 0, 'W'}, {"pid", 1, 0, 'i'}, {"idle-timeout", 1, 0, 'I'},
    {"delete", 0, 0, 'z'}, {"persistent", 0, 0, '-'}, {"durable", 0, 0, '-'}, {"purge", 0, 0, '-'},
    {"verify", 0, 0, '-'}, {"consumers", 1, 0, 'c'}, {0},
};

static const char usage_text[] =
    "usage: natsload [options]\n"
    "  --host H --port P --prefix NAME (of stream and subject)     (127.0.0.1 4222 bench)\n"
    "  --size BYTES (16 or more)  --count TOTAL | --duration SECONDS  --confirm WINDOW (1000)\n"
    "  --delete            delete the stream at the end\n"
    "  --pid PID[,PID]     server processes whose CPU, memory and disk writes are reported\n"
    "  --idle-timeout S    give up after so long without an acknowledgement\n"
    "  --persistent --durable --purge --verify --consumers 0   what it always does\n";

static void options(int argc, char **argv)
{
    int ch;
    bool bad = false;
    while ((ch = getopt_long(argc, argv, "", longopts, NULL)) != -1) switch (ch) {
        case 'H': o.host = optarg; break;
        case 'P': o.port = optarg; break;
        case 'X': o.prefix = optarg; break;
        case 's': o.size = strtoul(optarg, NULL, 10); break;
        case 'n': o.count = strtoull(optarg, NULL, 10); break;
        case 'd': o.duration = atof(optarg); break;
        case 'W': o.window = atoi(optarg); break;
        case 'i': o.pids = optarg; break;
        case 'I': o.idle_s = atoi(optarg); break;
        case 'z': o.delete_after = true; break;
        case '-': break;
        case 'c': bad |= atoi(optarg) != 0; break;
        default: bad = true;
    }
    if (bad || optind < argc || o.size < STAMP || o.size > 1u << 20 || o.window < 1 || strpbrk(o.prefix, ". *>") ||
        (!o.count && o.duration <= 0)) {
        fputs(usage_text, stderr);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    options(argc, argv);
    sent_at = xcalloc((size_t)o.window, sizeof *sent_at);
    open_stream();
    struct usage u0 = usage_now(o.pids);
    uint64_t t0 = now_ns();
    bool stalled = !run_load(t0);
    uint64_t t_end = now_ns();
    struct usage u1 = usage_now(o.pids);

    uint64_t stored = stalled ? 0 : number_in(request("INFO", ""), "\"messages\":");
    uint64_t lost = stored < acked ? acked - stored : 0;
    double wall = (double)(t_end - t0) / 1e9, span = (double)(last_ack - t0) / 1e9;
    bool bad = wrong || repeated || acked != sent || stored != sent;
    printf("{\"ok\":%s,\"stalled\":%s,\"size\":%zu,\"pubs\":1,\"cons\":0,\"wall_s\":%.3f", bad ? "false" : "true",
           stalled ? "true" : "false", o.size, wall);
    printf(",\"published\":%lu,\"confirmed\":%lu,\"stored\":%lu,\"lost\":%lu,\"dup\":%lu,\"wrong_seq\":%lu", (unsigned long)sent,
           (unsigned long)acked, (unsigned long)stored, (unsigned long)lost, (unsigned long)repeated, (unsigned long)wrong);
    printf(",\"pub_per_s\":%.0f,\"con_per_s\":0", span > 0 ? (double)acked / span : 0);
    hist_json("confirm", &confirm_lat);
    usage_json(&u0, &u1, sent, o.pids);
    if (o.delete_after && !stalled) request("DELETE", "");
    return stalled ? 2 : bad ? 3 : 0;
}
