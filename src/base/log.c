/* log.c - messages and progress on stderr, one line at a time.
 *
 * On a terminal the progress line is redrawn in place and messages step around it; elsewhere a
 * plain line appears every ten seconds.  Each finished piece of work leaves one line. */
#include "base/base.h"

#include <pthread.h>
#include <unistd.h>

static enum log_level level_max = LOG_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool line_open;      // a progress line stands on the terminal without a newline

static void step_aside(void)
{
    if (line_open)
        fputs("\r\033[K", stderr);
    line_open = false;
}

enum log_level log_set_level(enum log_level level)
{
    enum log_level before = level_max;
    level_max = level;
    return before;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    va_list ap;
    if (level > level_max)
        return;
    pthread_mutex_lock(&lock);
    step_aside();
    fputs(prefix[level], stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    pthread_mutex_unlock(&lock);
}

/* True when the comma-separated RLAIF_TRACE names the room, or says "all". */
bool trace_on(const char *room)
{
    const char *s = getenv("RLAIF_TRACE");
    size_t len = strlen(room);
    while (s && *s) {
        size_t n = strcspn(s, ",");
        if ((n == len && strncmp(s, room, n) == 0) || (n == 3 && strncmp(s, "all", 3) == 0))
            return true;
        s += n + (s[n] == ',');
    }
    return false;
}

/* ---- progress ----------------------------------------------------------------------- */

void progress_begin(struct progress *p, const char *what, const char *unit, double total)
{
    double now = time_now();
    *p = (struct progress){.what = what, .unit = unit, .total = total, .start = now, .last = now};
    p->tty = isatty(STDERR_FILENO);
}

static void add_duration(struct buf *b, double s)
{
    long t = (long)(s + 0.5);
    if (t >= 3600)
        buf_addf(b, "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
    else
        buf_addf(b, "%ld:%02ld", t / 60, t % 60);
}

static void add_bar(struct buf *b, double share)
{
    enum { WIDTH = 24 };
    int full = (int)(share * WIDTH);
    buf_adds(b, " [");
    for (int i = 0; i < WIDTH; i++)
        buf_adds(b, i < full ? "=" : i == full ? ">" : " ");
    buf_adds(b, "]");
}

/* Rates are of this process: work done before a resume is not counted as speed. */
static void draw(const struct progress *p, const char *note, double now)
{
    struct buf b = {0};
    double seconds = now - p->start, rate = seconds > 0 ? p->done / seconds : 0;
    buf_adds(&b, p->what);
    if (p->tty && p->total > 0)
        add_bar(&b, p->done >= p->total ? 1.0 : p->done / p->total);
    buf_addf(&b, " %.0f", p->done);
    if (p->total > 0)
        buf_addf(&b, "/%.0f", p->total);
    buf_addf(&b, " %s, %.*f/s", p->unit, rate < 10 ? 2 : 0, rate);
    if (p->total > p->done && rate > 0) {
        buf_adds(&b, ", ETA ");
        add_duration(&b, (p->total - p->done) / rate);
    }
    if (note && note[0])
        buf_addf(&b, ", %s", note);
    pthread_mutex_lock(&lock);
    step_aside();
    if (!b.failed)
        fputs(b.s, stderr);
    if (!p->tty)
        fputc('\n', stderr);
    line_open = p->tty;
    fflush(stderr);
    pthread_mutex_unlock(&lock);
    buf_release(&b);
}

void progress_add(struct progress *p, double n, const char *note)
{
    double now = time_now();
    p->done += n;
    if (level_max < LOG_INFO || now - p->last < (p->tty ? 0.1 : 10.0))
        return;
    p->last = now;
    draw(p, note, now);
}

void progress_end(struct progress *p)
{
    double now = time_now();
    if (level_max < LOG_INFO || !p->what)
        return;
    struct buf b = {0};
    add_duration(&b, now - p->start);
    pthread_mutex_lock(&lock);
    step_aside();
    double seconds = now - p->start;
    fprintf(stderr, "%s: %.0f %s in %s", p->what, p->done, p->unit, b.failed ? "?" : b.s);
    if (seconds >= 1)
        fprintf(stderr, " (%.*f/s)", p->done / seconds < 10 ? 2 : 0, p->done / seconds);
    fputc('\n', stderr);
    pthread_mutex_unlock(&lock);
    buf_release(&b);
    *p = (struct progress){0};
}
