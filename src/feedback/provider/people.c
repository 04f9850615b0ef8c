/* provider/people.c - the screen: layout in columns, keys.
 *
 * Texts are not trusted: what could steer a terminal is shown as a replacement character.  What
 * is left out: scrolling (a terminal has its own), colours, the mouse. */
#include "feedback/provider/people.h"

#include <ctype.h>
#include <errno.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <utf8proc.h>

enum { WIDTH = 80, LEAST_WIDTH = 24, MOST_WIDTH = 400, GAP = 3 };

struct people_screen {
    int in, out, width;
    bool keys; // in is a terminal, and gives single keys
    struct termios before;
};

/* ---- layout ------------------------------------------------------------------------------ */

/* One character from s: its bytes, and the columns it takes; *text points at what is shown
 * instead where it could harm. */
static int next_char(const char *s, const char **text, int *bytes, int *columns)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &c);
    *text = s;
    *bytes = n > 0 ? (int)n : 1;
    *columns = n > 0 ? utf8proc_charwidth(c) : 1;
    if (n > 0 && c != '\t' && c >= ' ' && (c < 0x7f || c >= 0xa0) &&
        utf8proc_category(c) != UTF8PROC_CATEGORY_CF)
        return *bytes;
    *text = n > 0 && c == '\t' ? " " : "\xef\xbf\xbd";
    *columns = 1;
    return (int)strlen(*text);
}

struct line {
    const char *s;
    int bytes, columns;
};

/* The next line of at most `width` columns, broken at a space where there is one; s moves
 * behind it. */
static struct line next_line(const char **s, int width)
{
    struct line l = {*s, 0, 0}, space = {NULL, 0, 0};
    const char *p = *s;
    while (*p && *p != '\n') {
        const char *text;
        int bytes, columns;
        next_char(p, &text, &bytes, &columns);
        if (l.columns + columns > width)
            break;
        if (*p == ' ')
            space = l;
        l.bytes += bytes;
        l.columns += columns;
        p += bytes;
    }
    if (*p && *p != '\n' && *p != ' ' && space.s && space.bytes) {
        l = space;
        p = l.s + l.bytes;
    }
    if (p == *s && *p && *p != '\n') // wider than the column: alone
        p++, l.bytes = 1, l.columns = width;
    while (*p == ' ')
        p++;
    *s = *p == '\n' ? p + 1 : p;
    return l;
}

static void add_line(struct buf *out, struct line l, int width)
{
    for (int at = 0; at < l.bytes;) {
        const char *text;
        int bytes, columns, n = next_char(l.s + at, &text, &bytes, &columns);
        buf_add(out, text, (size_t)n);
        at += bytes;
    }
    for (int i = l.columns; i < width; i++)
        buf_adds(out, " ");
}

static void add_columns(struct buf *out, const char *left, const char *right, int width)
{
    int each = (width - GAP) / 2;
    while (*left || *right) {
        add_line(out, next_line(&left, each), each);
        buf_adds(out, " | ");
        add_line(out, next_line(&right, each), 0);
        buf_adds(out, "\n");
    }
}

static const char *trimmed(const char *s)
{
    return s + strspn(s, " \n\t\r");
}

void people_layout(struct buf *out, const struct people_pair *p, int width)
{
    for (const char *s = trimmed(p->prompt); *s;) {
        add_line(out, next_line(&s, width), 0);
        buf_adds(out, "\n");
    }
    buf_adds(out, "\n");
    add_columns(out, "[1]", "[2]", width);
    add_columns(out, trimmed(p->left), trimmed(p->right), width);
    buf_addf(out, "\n1 left   2 right   t tie   s skip   u undo   q quit      %s\n", p->status);
}

/* ---- keys -------------------------------------------------------------------------------- */

static int terminal_width(int out)
{
    struct winsize w;
    int64_t columns = 0;
    const char *env = getenv("COLUMNS");
    if (ioctl(out, TIOCGWINSZ, &w) == 0 && w.ws_col)
        columns = w.ws_col;
    else if (!env || !str_to_i64(env, &columns))
        columns = WIDTH;
    return columns < LEAST_WIDTH  ? LEAST_WIDTH
           : columns > MOST_WIDTH ? MOST_WIDTH
                                  : (int)columns;
}

int people_open(struct people_screen **out, int in, int fd, int width, struct err *err)
{
    struct people_screen *s = mem_alloc(1, sizeof *s);
    if (!s)
        return err_set(err, ERR_MEMORY, "no memory for a screen");
    *s = (struct people_screen){.in = in, .out = fd, .width = width};
    if (isatty(in) && tcgetattr(in, &s->before) == 0) {
        struct termios t = s->before;
        t.c_lflag &= ~(tcflag_t)(ICANON | ECHO); // Ctrl-C stays what it is
        t.c_cc[VMIN] = 1;
        t.c_cc[VTIME] = 0;
        s->keys = tcsetattr(in, TCSANOW, &t) == 0;
    }
    *out = s;
    return 0;
}

void people_close(struct people_screen *s)
{
    if (s && s->keys)
        tcsetattr(s->in, TCSANOW, &s->before);
    free(s);
}

static void put(const struct people_screen *s, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(s->out, p, n);
        if (w <= 0)
            return; // nobody looks any more: the next key will be the end of the input
        p += w;
        n -= (size_t)w;
    }
}

static enum people_key read_key(const struct people_screen *s)
{
    static const char keys[] = "12tsuq";
    for (;;) {
        char c;
        ssize_t n = read(s->in, &c, 1);
        if (interrupted() || n == 0 || (n < 0 && errno != EINTR) || (n == 1 && c == 4))
            return PEOPLE_QUIT;
        const char *k = n == 1 && c ? strchr(keys, tolower((unsigned char)c)) : NULL;
        if (k)
            return (enum people_key)(k - keys);
    }
}

enum people_key people_show(struct people_screen *s, const struct people_pair *p)
{
    struct buf b = {0};
    if (s->keys)
        buf_adds(&b, "\033[H\033[2J");
    people_layout(&b, p, s->width > 0 ? s->width : terminal_width(s->out));
    if (!b.failed)
        put(s, b.s, b.len);
    buf_release(&b);
    return read_key(s);
}
