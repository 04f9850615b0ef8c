/* system.c - clocks, memory, processors, and being asked to stop. */
#include "base/base.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

double time_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

char *time_iso(void)
{
    char s[32];
    struct tm tm;
    time_t now = time(NULL);
    gmtime_r(&now, &tm);
    strftime(s, sizeof s, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return str_printf("%s", s);
}

/* A line of /proc/self/status, in kB; 0: not there. */
static double status_kb(const char *name)
{
    char line[256];
    double kb = 0;
    size_t n = strlen(name);
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, name, n) && sscanf(line + n, ": %lf kB", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb;
}

/* VmHWM, because ru_maxrss also remembers the process that started us. */
double mem_peak_mb(void)
{
    double kb = status_kb("VmHWM");
    struct rusage u;
    if (kb == 0 && getrusage(RUSAGE_SELF, &u) == 0)
        kb = (double)u.ru_maxrss;
    return kb / 1024.0;
}

double mem_now_mb(void)
{
    return status_kb("VmRSS") / 1024.0;
}

void mem_peak_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f) {
        fputs("5", f);
        fclose(f);
    }
}

int threads_default(void)
{
    const char *s = getenv("RLAIF_THREADS");
    int64_t n;
    if (s && str_to_i64(s, &n) && n >= 1 && n <= 1024)
        return (int)n;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    return 1;
}

static volatile sig_atomic_t stop_asked;

static void on_signal(int sig)
{
    if (stop_asked)
        _exit(128 + sig);
    stop_asked = 1;
}

/* SIGXFSZ is ignored so that a file-size limit is an error of the write, like a full disk. */
void interrupt_install(void)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    signal(SIGXFSZ, SIG_IGN);
}

bool interrupted(void)
{
    return stop_asked;
}
