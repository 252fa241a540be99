/*
 * redisload - workers on a Redis list: producers LPUSH, workers BRPOP; raw sockets, one thread.
 *
 * Each producer keeps at most --pipeline pushes unanswered, each worker waits in one BRPOP.  Every
 * payload begins with the time and a number: each number must come out once.  Prints one JSON object.
 *
 * Exit status: 0 all checks passed, 1 usage/protocol error, 2 stalled, 3 a check failed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
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
#include <time.h>
#include <unistd.h>

#include "loadgen.h"

#define STAMP 16           /* bytes at the start of each payload: when it was sent, and its number */
#define NUMBERS (1u << 26) /* payloads of one run at most */
#define EVENTS 256

static struct {
    const char *port, *key, *pids;
    int producers, workers, pipeline, idle_s;
    size_t size;
    double duration;
} o = {.port = "6379", .key = "load", .producers = 10, .workers = 40, .pipeline = 1, .idle_s = 30, .size = 100};

struct conn {
    int fd;
    bool worker;
    size_t in_len;
    char *in;
};

static struct conn *conns;
static int epoll_fd;
static char push_head[256], pop_text[256], answer_head[256], *out; /* what is the same in every command and answer */
static size_t push_head_len, pop_len, answer_head_len, answer_len, in_size;
static uint64_t pushed, answered, popped, wrong, last_progress;
static uint8_t *seen;
static struct hist latency;

static void send_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) die("write: %s", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
}

static void push(struct conn *c, int count, uint64_t now)
{
    size_t len = 0;
    for (int i = 0; i < count; i++) {
        uint64_t stamp[2] = {now, pushed++};
        memcpy(out + len, push_head, push_head_len);
        len += push_head_len;
        memcpy(out + len, stamp, STAMP);
        memset(out + len + STAMP, 'x', o.size - STAMP);
        memcpy(out + len + o.size, "\r\n", 2);
        len += o.size + 2;
    }
    if (pushed >= NUMBERS) die("more than %u payloads", NUMBERS);
    if (len) send_all(c->fd, out, len);
}

/* Answers how many pushes were answered. */
static int on_pushed(struct conn *c)
{
    int count = 0;
    size_t at = 0;
    for (char *end; (end = memchr(c->in + at, '\n', c->in_len - at)); at = (size_t)(end - c->in) + 1, count++)
        if (c->in[at] != ':') die("a push was answered: %.*s", (int)(end - c->in - (long)at), c->in + at);
    memmove(c->in, c->in + at, c->in_len -= at);
    answered += (uint64_t)count;
    return count;
}

/* Answers whether there was a payload. */
static bool on_popped(struct conn *c, uint64_t now)
{
    uint64_t stamp[2];
    if (c->in_len && *c->in == '-') die("a pop was answered: %.*s", (int)c->in_len, c->in);
    if (c->in_len < answer_len) return false;
    if (c->in_len > answer_len || memcmp(c->in, answer_head, answer_head_len)) die("not what was pushed");
    memcpy(stamp, c->in + answer_head_len, STAMP);
    c->in_len = 0;
    if (stamp[1] >= pushed || seen[stamp[1]]++) wrong++;
    hist_add(&latency, now - stamp[0]);
    popped++;
    return true;
}

static void receive(struct conn *c, bool more)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, in_size - c->in_len, MSG_DONTWAIT);
    if (n == 0) die("server closed the connection");
    if (n < 0 && errno != EAGAIN && errno != EINTR) die("read: %s", strerror(errno));
    if (n < 0) return;
    c->in_len += (size_t)n;
    uint64_t now = last_progress = now_ns();
    if (c->worker) {
        if (on_popped(c, now)) send_all(c->fd, pop_text, pop_len);
    } else {
        int count = on_pushed(c);
        if (more) push(c, count, now);
    }
}

static void open_all(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(o.port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, count = o.producers + o.workers;
    size_t key_len = strlen(o.key);
    push_head_len = (size_t)snprintf(push_head, sizeof push_head, "*3\r\n$5\r\nLPUSH\r\n$%zu\r\n%s\r\n$%zu\r\n", key_len, o.key, o.size);
    pop_len = (size_t)snprintf(pop_text, sizeof pop_text, "*3\r\n$5\r\nBRPOP\r\n$%zu\r\n%s\r\n$1\r\n0\r\n", key_len, o.key);
    answer_head_len = (size_t)snprintf(answer_head, sizeof answer_head, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n", key_len, o.key, o.size);
    answer_len = answer_head_len + o.size + 2;
    in_size = answer_len + 4096;
    out = xcalloc((size_t)o.pipeline, push_head_len + o.size + 2);
    conns = xcalloc((size_t)count, sizeof *conns);
    epoll_fd = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        struct conn *c = &conns[i];
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        c->worker = i < o.workers; /* they wait before anything is pushed */
        c->in = xcalloc(in_size, 1);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect: %s", strerror(errno));
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl: %s", strerror(errno));
        if (c->worker) send_all(c->fd, pop_text, pop_len);
    }
}

/* Answers whether it went on to the end. */
static bool run_load(uint64_t t0)
{
    uint64_t stop_at = t0 + (uint64_t)(o.duration * 1e9);
    struct epoll_event events[EVENTS];
    last_progress = t0;
    for (int i = o.workers; i < o.workers + o.producers; i++) push(&conns[i], o.pipeline, t0);
    for (;;) {
        uint64_t now = now_ns();
        bool more = now < stop_at;
        if (!more && answered == pushed && popped >= pushed) return true;
        int count = epoll_wait(epoll_fd, events, EVENTS, 20);
        for (int i = 0; i < count; i++) receive(events[i].data.ptr, more);
        if (now - last_progress > (uint64_t)o.idle_s * NS && now > last_progress) return false;
    }
}

static const struct option longopts[] = {
    {"port", 1, 0, 'P'}, {"key", 1, 0, 'k'}, {"size", 1, 0, 's'}, {"duration", 1, 0, 'd'}, {"producers", 1, 0, 'p'},
    {"workers", 1, 0, 'w'}, {"pipeline", 1, 0, 'l'}, {"pid", 1, 0, 'i'}, {"idle-timeout", 1, 0, 'I'}, {0},
};

static const char usage_text[] =
    "usage: redisload [options]\n"
    "  --port P  --key NAME  --size BYTES (16 or more)  --duration SECONDS  (6379 load 100)\n"
    "  --producers N (10)  --pipeline PUSHES (1)  --workers N (40)\n"
    "  --pid PID[,PID]     server processes whose CPU, memory and disk writes are reported\n"
    "  --idle-timeout S    give up after so long without an answer\n";

static void options(int argc, char **argv)
{
    int ch;
    bool bad = false;
    while ((ch = getopt_long(argc, argv, "", longopts, NULL)) != -1) switch (ch) {
        case 'P': o.port = optarg; break;
        case 'k': o.key = optarg; break;
        case 's': o.size = strtoul(optarg, NULL, 10); break;
        case 'd': o.duration = atof(optarg); break;
        case 'p': o.producers = atoi(optarg); break;
        case 'w': o.workers = atoi(optarg); break;
        case 'l': o.pipeline = atoi(optarg); break;
        case 'i': o.pids = optarg; break;
        case 'I': o.idle_s = atoi(optarg); break;
        default: bad = true;
    }
    if (bad || optind < argc || o.size < STAMP || o.size > 1u << 20 || o.producers < 1 || o.workers < 1 ||
        o.pipeline < 1 || o.pipeline > 1000 || strlen(o.key) > 100 || o.duration <= 0) {
        fputs(usage_text, stderr);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    options(argc, argv);
    seen = xcalloc(NUMBERS, 1);
    open_all();
    struct usage u0 = usage_now(o.pids);
    uint64_t t0 = now_ns();
    bool stalled = !run_load(t0);
    uint64_t t_end = now_ns();
    struct usage u1 = usage_now(o.pids);

    double wall = (double)(t_end - t0) / 1e9;
    bool bad = wrong || popped != pushed;
    printf("{\"ok\":%s,\"stalled\":%s,\"size\":%zu,\"pubs\":%d,\"cons\":%d,\"wall_s\":%.3f", bad ? "false" : "true",
           stalled ? "true" : "false", o.size, o.producers, o.workers, wall);
    printf(",\"published\":%lu,\"consumed\":%lu,\"wrong\":%lu,\"con_per_s\":%.0f", (unsigned long)pushed,
           (unsigned long)popped, (unsigned long)wrong, (double)popped / wall);
    hist_json("latency", &latency);
    usage_json(&u0, &u1, popped, o.pids);
    return stalled ? 2 : bad ? 3 : 0;
}
