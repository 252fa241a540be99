/* What the load generators share: time, histograms, and resource use from /proc. */
#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))
#define NS 1000000000ull

static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

static void *xcalloc(size_t n, size_t sz)
{
    void *p = calloc(n ? n : 1, sz);
    if (!p) die("out of memory");
    return p;
}

/* ----------------------------------- log-linear histogram, under 1.6 % error */

struct hist { uint64_t n, max, slot[64 * 64]; };

static void hist_add(struct hist *h, uint64_t v)
{
    unsigned slot = (unsigned)v;
    if (v >= 64) {
        unsigned shift = 58 - (unsigned)__builtin_clzll(v); /* leaves v >> shift in [32, 64) */
        slot = shift * 32 + (unsigned)(v >> shift);
    }
    h->slot[slot]++;
    h->n++;
    if (v > h->max) h->max = v;
}

static double hist_us(const struct hist *h, double q) /* quantile, microseconds */
{
    uint64_t want = (uint64_t)(q * (double)h->n), seen = 0;
    if (!h->n) return 0;
    for (unsigned i = 0; i < ARRAY(h->slot); i++) {
        seen += h->slot[i];
        if (seen > want || (seen == h->n && seen >= want)) {
            if (i < 64) return i / 1e3;
            unsigned shift = i / 32 - 1; /* inverse of hist_add, middle of the slot */
            return (double)(((uint64_t)(32 + i % 32) << shift) + (1ull << shift) / 2) / 1e3;
        }
    }
    return (double)h->max / 1e3;
}

static void hist_json(const char *name, const struct hist *h)
{
    printf(",\"%s_us\":{\"n\":%lu,\"p50\":%.1f,\"p95\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", name,
           (unsigned long)h->n, hist_us(h, .50), hist_us(h, .95), hist_us(h, .99), hist_us(h, .999), (double)h->max / 1e3);
}

/* ------------------------------------------------- resource use, from /proc */

struct usage { double cpu, self, others, steal, kthreads; uint64_t rss, hwm, wrote; };

#define PF_KTHREAD 0x00200000u

/* CPU seconds of one process, and of its children already waited for. */
static bool proc_cpu(const char *pid, double *own, double *children, unsigned *flags)
{
    char path[300], line[1024], *end;
    unsigned long long ut, kt, cut, ckt;
    double tick = (double)sysconf(_SC_CLK_TCK);
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *f = fopen(path, "r");
    bool ok = f && fgets(line, sizeof line, f) && (end = strrchr(line, ')')) &&
              sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %llu %llu %llu %llu", flags, &ut, &kt, &cut, &ckt) == 5;
    if (f) fclose(f);
    if (ok) *own = (double)(ut + kt) / tick, *children = (double)(cut + ckt) / tick;
    return ok;
}

static uint64_t proc_field(const char *pid, const char *file, const char *key)
{
    char path[64], line[256];
    uint64_t v = 0;
    snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) v = strtoull(line + strlen(key), NULL, 10);
    if (f) fclose(f);
    return v;
}

static bool is_broker(const char *pids, const char *pid)
{
    size_t n = strlen(pid);
    for (const char *p = pids; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (!strncmp(p, pid, n) && (!p[n] || p[n] == ',')) return true;
    return false;
}

/* `pids`: the broker's processes, with commas between, or NULL.
 * Everything running is put in one of four classes: the broker, this process,
 * kernel threads (writeback, journal), and others, which are noise. */
static struct usage usage_now(const char *pids)
{
    struct usage u = {0};
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    u.self = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
             (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        const char *pid = e->d_name;
        double own, children;
        unsigned flags;
        if (*pid < '1' || *pid > '9' || atoi(pid) == getpid() || !proc_cpu(pid, &own, &children, &flags)) continue;
        if (is_broker(pids, pid)) {
            u.cpu += own;
            u.rss += proc_field(pid, "status", "VmRSS:");
            u.hwm += proc_field(pid, "status", "VmHWM:");
            u.wrote += proc_field(pid, "io", "write_bytes:");
        } else if (flags & PF_KTHREAD) u.kthreads += own;
        else u.others += own + children;
    }
    if (d) closedir(d);
    FILE *f = fopen("/proc/stat", "r");
    unsigned long long steal;
    if (f && fscanf(f, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &steal) == 1) u.steal = (double)steal / (double)sysconf(_SC_CLK_TCK);
    if (f) fclose(f);
    return u;
}

/* Ends the JSON object that was begun on stdout: what `units` messages took between two readings. */
static void usage_json(const struct usage *u0, const struct usage *u1, uint64_t units, const char *pids)
{
    double cpu = u1->cpu - u0->cpu, self = u1->self - u0->self;
    printf(",\"self_cpu_us_per_msg\":%.3f", units ? self * 1e6 / (double)units : 0);
    if (pids)
        printf(",\"broker_cpu_s\":%.2f,\"broker_cpu_us_per_msg\":%.3f,\"broker_rss_mib\":%.1f,\"broker_peak_mib\":%.1f,"
               "\"broker_wrote_mib\":%.1f", cpu, units ? cpu * 1e6 / (double)units : 0, (double)u1->rss / 1024,
               (double)u1->hwm / 1024, (double)(u1->wrote - u0->wrote) / 1048576);
    printf(",\"kthread_cpu_s\":%.2f,\"other_cpu_s\":%.2f,\"steal_s\":%.2f}\n", u1->kthreads - u0->kthreads,
           u1->others - u0->others, u1->steal - u0->steal);
}
