/* report/draw.c - charts as inline SVG.
 *
 * Each drawing has a fixed view box about as wide as a phone, so its text stays readable when it
 * fills a narrow screen, and colours come from the page's scheme. */
#include "report/draw.h"

#include <math.h>

void html_text(struct buf *b, const char *s)
{
    for (; s && *s; s++) {
        switch (*s) {
        case '&': buf_adds(b, "&amp;"); break;
        case '<': buf_adds(b, "&lt;"); break;
        case '>': buf_adds(b, "&gt;"); break;
        case '"': buf_adds(b, "&quot;"); break;
        default: buf_add(b, s, 1);
        }
    }
}

void html_element(struct buf *b, const char *tag, const char *class, const char *text)
{
    buf_addf(b, class ? "<%s class='%s'>" : "<%s>", tag, class);
    html_text(b, text);
    buf_addf(b, "</%s>", tag);
}

void html_head(struct buf *b, const char *title, const char *lead, bool warning)
{
    buf_adds(b, "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
                "<meta name='viewport' content='width=device-width,initial-scale=1'>"
                "<meta name='color-scheme' content='light dark'><title>");
    html_text(b, title);
    buf_addf(b, "</title><style>%s</style></head><body><main>", report_style);
    html_element(b, "h1", NULL, title);
    html_element(b, "p", warning ? "lead warn" : "lead", lead);
}

void html_foot(struct buf *b, const char *command, const char *footer)
{
    buf_adds(b, "<footer><p>Made by <code>");
    html_text(b, command);
    buf_adds(b, "</code></p>");
    html_element(b, "p", NULL, footer);
    buf_adds(b, "</footer></main></body></html>\n");
}

/* ---- axes ------------------------------------------------------------------------------- */

enum { W = 340, H = 200, LEFT = 44, RIGHT = 12, TOP = 12, BOTTOM = 30 };

struct axis { double lo, hi, step; };

/* Round limits around lo..hi with three to six steps between. */
static struct axis axis_round(double lo, double hi)
{
    if (!(hi > lo)) {
        double pad = fabs(lo) > 0 ? fabs(lo) * 0.1 : 1;
        lo -= pad;
        hi += pad;
    }
    double raw = (hi - lo) / 4, unit = pow(10, floor(log10(raw))), f = raw / unit;
    struct axis a = { .step = unit * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10) };
    a.lo = floor(lo / a.step + 1e-9) * a.step;
    a.hi = ceil(hi / a.step - 1e-9) * a.step;
    return a;
}

static double px(const struct axis *a, double x)
{
    return LEFT + (x - a->lo) / (a->hi - a->lo) * (W - LEFT - RIGHT);
}

static double py(const struct axis *a, double y)
{
    return H - BOTTOM - (y - a->lo) / (a->hi - a->lo) * (H - TOP - BOTTOM);
}

static void number(struct buf *b, double v, double step)
{
    int digits = step >= 1 ? 0 : (int)ceil(-log10(step) - 1e-9);
    buf_addf(b, "%.*f", digits, fabs(v) < step * 1e-6 ? 0.0 : v);
}

static void y_axis(struct buf *b, const struct axis *y)
{
    for (double v = y->lo; v <= y->hi + y->step * 0.5; v += y->step) {
        buf_addf(b, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' stroke='var(--line)'/>", LEFT,
                 W - RIGHT, py(y, v), py(y, v));
        buf_addf(b, "<text x='%d' y='%.1f' text-anchor='end'>", LEFT - 6, py(y, v) + 4);
        number(b, v, y->step);
        buf_adds(b, "</text>");
    }
}

static void x_ticks(struct buf *b, const struct axis *x, double step)
{
    for (double v = x->lo; v <= x->hi + step * 0.01; v += step) {
        buf_addf(b, "<text x='%.1f' y='%d' text-anchor='middle'>", px(x, v), H - BOTTOM + 15);
        number(b, v, step);
        buf_adds(b, "</text>");
    }
}

static void open_svg(struct buf *b, int height, const char *title)
{
    buf_addf(b, "<svg viewBox='0 0 %d %d' role='img' aria-label=\"", W, height);
    html_text(b, title);
    buf_adds(b, "\">");
}

/* ---- line charts -------------------------------------------------------------------------- */

static const char *const colours[] = { "var(--a)", "var(--b)", "var(--c)" };

static void limits(const struct chart *c, double *x0, double *x1, double *y0, double *y1)
{
    *x0 = *y0 = INFINITY;
    *x1 = *y1 = -INFINITY;
    for (int i = 0; i < c->n; i++)
        for (int k = 0; k < c->s[i].n; k++) {
            double x = c->s[i].x[k], y = c->s[i].y[k];
            if (!isfinite(x) || !isfinite(y))
                continue;
            *x0 = fmin(*x0, x), *x1 = fmax(*x1, x);
            *y0 = fmin(*y0, y), *y1 = fmax(*y1, y);
        }
    if (c->has_floor)
        *y0 = fmin(*y0, c->floor);
}

static void polyline(struct buf *b, const struct series *s, const struct axis *x,
                     const struct axis *y, const char *colour)
{
    bool open = false;
    for (int k = 0; k < s->n; k++) {
        bool ok = isfinite(s->x[k]) && isfinite(s->y[k]);
        if (ok && !open)
            buf_adds(b,
                     "<polyline fill='none' stroke-width='1.8' stroke-linejoin='round' points='");
        if (ok)
            buf_addf(b, "%.1f,%.1f ", px(x, s->x[k]), py(y, s->y[k]));
        if (!ok && open)
            buf_addf(b, "' stroke='%s'/>", colour);
        open = ok;
    }
    if (open)
        buf_addf(b, "' stroke='%s'/>", colour);
}

static void legend(struct buf *b, const struct chart *c)
{
    double x = LEFT + 6;
    for (int i = 0; c->n > 1 && i < c->n; i++) {
        buf_addf(b, "<rect x='%.0f' y='%d' width='10' height='3' fill='%s'/><text x='%.0f' y='%d'>", x, TOP + 4,
                 colours[i], x + 14, TOP + 9);
        html_text(b, c->s[i].name);
        buf_adds(b, "</text>");
        x += 24 + 6.2 * (double)strlen(c->s[i].name);
    }
}

void draw_chart(struct buf *b, const struct chart *c)
{
    double x0, x1, y0, y1;
    limits(c, &x0, &x1, &y0, &y1);
    buf_adds(b, "<div class='card'><h3>");
    html_text(b, c->title);
    buf_adds(b, "</h3>");
    if (isfinite(x0) && isfinite(y0)) {
        struct axis y = axis_round(y0, y1), rx = axis_round(x0, x1),
                    x = { x0, x1 > x0 ? x1 : x0 + 1, rx.step };
        open_svg(b, H, c->title);
        y_axis(b, &y);
        struct axis ticks = { ceil(x.lo / rx.step - 1e-9) * rx.step, x.hi, rx.step };
        for (double v = ticks.lo; v <= x.hi + rx.step * 0.01; v += rx.step) {
            buf_addf(b, "<text x='%.1f' y='%d' text-anchor='middle'>", px(&x, v), H - BOTTOM + 15);
            number(b, v, rx.step);
            buf_adds(b, "</text>");
        }
        if (c->has_floor)
            buf_addf(b, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' stroke='var(--soft)' stroke-dasharray='4 3'/>", LEFT,
                     W - RIGHT, py(&y, c->floor), py(&y, c->floor));
        for (int i = 0; i < c->n; i++)
            polyline(b, &c->s[i], &x, &y, colours[i]);
        legend(b, c);
        buf_addf(b, "<text x='%d' y='%d' text-anchor='end'>", W - RIGHT, H - 2);
        html_text(b, c->x_label);
        buf_adds(b, "</text></svg>");
    }
    if (c->caption) {
        buf_adds(b, "<p class='soft'>");
        html_text(b, c->caption);
        buf_adds(b, "</p>");
    }
    buf_adds(b, "</div>");
}

/* ---- shares against one half ----------------------------------------------------------------- */

void draw_rates(struct buf *b, const struct rate *r, int n)
{
    enum { ROW = 28, NAME = 138 };
    double lo = 0.5, hi = 0.5;
    for (int i = 0; i < n; i++) {
        lo = fmin(lo, fmin(r[i].value, r[i].lo <= r[i].hi ? r[i].lo : r[i].value));
        hi = fmax(hi, fmax(r[i].value, r[i].lo <= r[i].hi ? r[i].hi : r[i].value));
    }
    lo = fmax(0, floor(lo * 10 - 0.2) / 10);
    hi = fmin(1, ceil(hi * 10 + 0.2) / 10);
    int height = ROW * n + 26;
    double scale = (W - NAME - 46) / (hi - lo);
#define AT(v) (NAME + ((v) - lo) * scale)
    open_svg(b, height, "shares with their intervals");
    for (double v = lo; v <= hi + 1e-9; v += 0.1) {
        buf_addf(b, "<line x1='%.1f' x2='%.1f' y1='4' y2='%d' stroke='var(--line)'/>", AT(v), AT(v),
                 height - 20);
        buf_addf(b, "<text x='%.1f' y='%d' text-anchor='middle'>%.0f</text>", AT(v), height - 6,
                 v * 100);
    }
    buf_addf(b, "<line x1='%.1f' x2='%.1f' y1='4' y2='%d' stroke='var(--soft)' stroke-dasharray='4 3'/>", AT(0.5),
             AT(0.5), height - 20);
    for (int i = 0; i < n; i++) {
        double y = ROW * i + 20;
        buf_addf(b, "<text x='%d' y='%.1f' text-anchor='end'>", NAME - 10, y + 4);
        html_text(b, r[i].name);
        buf_adds(b, "</text>");
        if (r[i].lo <= r[i].hi)
            buf_addf(b, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='var(--a)' stroke-width='7' "
                     "stroke-linecap='round' opacity='.35'/>", AT(r[i].lo), AT(r[i].hi), y, y);
        buf_addf(b, "<circle cx='%.1f' cy='%.1f' r='4.5' fill='var(--a)'/>", AT(r[i].value), y);
        buf_addf(b, "<text class='strong' x='%d' y='%.1f' text-anchor='end'>%.1f</text>", W - 4,
                 y + 4, r[i].value * 100);
    }
    buf_adds(b, "</svg>");
#undef AT
}

/* ---- reliability ------------------------------------------------------------------------- */

void draw_reliability(struct buf *b, const struct bin *bin, int n)
{
    struct axis x = { 0, 1, 0.2 }, y = { 0, 1, 0.2 };
    int most = 1;
    for (int i = 0; i < n; i++)
        most = bin[i].n > most ? bin[i].n : most;
    open_svg(b, H, "reliability of the labels");
    y_axis(b, &y);
    x_ticks(b, &x, x.step);
    buf_addf(b, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='var(--soft)' stroke-dasharray='4 3'/>",
             px(&x, 0), py(&y, 0), px(&x, 1), py(&y, 1));
    struct series s = { 0 };
    double *v = mem_alloc((size_t)(2 * n + 1), sizeof *v);
    for (int i = 0; v && i < n; i++)
        if (bin[i].n > 0) {
            v[s.n] = bin[i].label;
            v[n + s.n] = bin[i].observed;
            s.n++;
        }
    s.x = v;
    s.y = v ? v + n : NULL;
    polyline(b, &s, &x, &y, "var(--a)");
    for (int i = 0; i < n; i++)
        if (bin[i].n > 0)
            buf_addf(b, "<circle cx='%.1f' cy='%.1f' r='%.1f' fill='var(--a)' fill-opacity='.75'/>",
                     px(&x, bin[i].label), py(&y, bin[i].observed),
                     2.5 + 5 * sqrt((double)bin[i].n / most));
    buf_addf(b, "<text x='%d' y='%d' text-anchor='end'>label: probability given to a candidate</text></svg>",
             W - RIGHT, H - 2);
    free(v);
}

/* ---- dots with intervals ----------------------------------------------------------------- */

void draw_dots(struct buf *b, const char *title, const char *x_label, const struct dot *dot, int n)
{
    double x0 = 0, x1 = 0, y0 = INFINITY, y1 = -INFINITY;
    for (int i = 0; i < n; i++) {
        bool ci = dot[i].lo <= dot[i].hi;
        x1 = fmax(x1, dot[i].x);
        y0 = fmin(y0, ci ? dot[i].lo : dot[i].y);
        y1 = fmax(y1, ci ? dot[i].hi : dot[i].y);
    }
    struct axis x = axis_round(x0, x1 * 1.25), y = axis_round(100 * y0, 100 * y1);
    buf_adds(b, "<div class='card'>");
    html_element(b, "h3", NULL, title);
    open_svg(b, H, title);
    y_axis(b, &y);
    x_ticks(b, &x, x.step);
    for (int i = 0; i < n; i++) {
        double cx = px(&x, dot[i].x), cy = py(&y, 100 * dot[i].y);
        if (dot[i].lo <= dot[i].hi)
            buf_addf(b, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='var(--a)' stroke-width='5' stroke-linecap='round' "
                     "opacity='.35'/>", cx, cx, py(&y, 100 * dot[i].lo), py(&y, 100 * dot[i].hi));
        buf_addf(b, "<circle cx='%.1f' cy='%.1f' r='4' fill='var(--a)'/><text x='%.1f' y='%.1f'>", cx, cy, cx + 7, cy - 4);
        html_text(b, dot[i].name);
        buf_adds(b, "</text>");
    }
    buf_addf(b, "<text x='%d' y='%d' text-anchor='end'>", W - RIGHT, H - 2);
    html_text(b, x_label);
    buf_adds(b, "</text></svg></div>");
}

/* ---- bars -------------------------------------------------------------------------------- */

void draw_bars(struct buf *b, const struct bar *bar, int n)
{
    buf_adds(b, "<div class='bars'>");
    for (int i = 0; i < n; i++) {
        buf_adds(b, "<div>");
        html_text(b, bar[i].name);
        buf_addf(b, "</div><div class='track'><i style='width:%.1f%%'></i></div><div class='n'>",
                 fmin(100, fmax(0, bar[i].value * 100)));
        html_text(b, bar[i].note);
        buf_adds(b, "</div>");
    }
    buf_adds(b, "</div>");
}

/* ---- who beats whom ---------------------------------------------------------------------- */

static void matrix_cell(struct buf *b, const struct rate *r)
{
    if (!isfinite(r->value)) {
        buf_adds(b, "<td class='n'></td>");
        return;
    }
    // the further from one half, the stronger the colour of the winner
    double strength = fmin(100, fabs(r->value - 0.5) * 200);
    buf_addf(b, "<td class='n' style='background:color-mix(in srgb,%s %.0f%%,transparent)'>%.1f<br><span class='soft'>"
             "%.1f to %.1f</span></td>", r->value >= 0.5 ? "var(--a)" : "var(--b)", strength * 0.7, r->value * 100,
             r->lo * 100, r->hi * 100);
}

void draw_matrix(struct buf *b, const struct matrix *m)
{
    buf_adds(b, "<div class='card scroll'><table class='matrix'><tr><th></th>");
    for (int k = 0; k < m->n; k++) {
        buf_adds(b, "<th>");
        html_text(b, m->name[k]);
        buf_adds(b, "</th>");
    }
    buf_adds(b, "<th>KL, nats</th><th>oracle</th></tr>");
    for (int i = 0; i < m->n; i++) {
        buf_adds(b, "<tr><th>");
        html_text(b, m->name[i]);
        buf_adds(b, "</th>");
        for (int k = 0; k < m->n; k++)
            matrix_cell(b, &m->cell[i * m->n + k]);
        buf_addf(b, isfinite(m->kl[i]) ? "<td class='n'>%.2f</td>" : "<td></td>", m->kl[i]);
        buf_addf(b, isfinite(m->oracle[i]) ? "<td class='n'>%.3f</td></tr>" : "<td></td></tr>",
                 m->oracle[i]);
    }
    buf_adds(b, "</table></div>");
}
