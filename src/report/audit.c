/* report/audit.c - the audit's page: a table of labelings, whether they differ, what accuracy
 * costs, a card for each. */
#include "report/audit.h"

#include <math.h>

#include "report/draw.h"

static void table(struct buf *b, const struct audit_page *p)
{
    buf_adds(b, "<h2>Labelings</h2><div class='card scroll'><table><tr><th>labeling</th>");
    for (int c = 0; c < p->n_columns; c++) {
        buf_adds(b, "<th title=\"");
        html_text(b, p->column_help[c]);
        buf_adds(b, "\">");
        html_text(b, p->column[c]);
        buf_adds(b, "</th>");
    }
    buf_adds(b, "</tr>");
    for (int i = 0; i < p->n; i++) {
        buf_adds(b, "<tr>");
        html_element(b, "th", NULL, p->labeler[i].name);
        for (int c = 0; c < p->n_columns; c++)
            html_element(b, "td", "n", p->labeler[i].cell[c]);
        buf_adds(b, "</tr>");
    }
    buf_adds(b, "</table></div><details><summary>What the columns mean</summary><dl>");
    for (int c = 0; c < p->n_columns; c++) {
        html_element(b, "dt", NULL, p->column[c]);
        html_element(b, "dd", NULL, p->column_help[c]);
    }
    buf_adds(b, "</dl></details>");
}

static void differences(struct buf *b, const struct audit_page *p)
{
    if (!p->p_value || p->n < 2)
        return;
    buf_adds(b, "<h2>Do they differ?</h2><div class='card scroll'><table class='matrix'><tr><th></th>");
    for (int k = 0; k < p->n; k++)
        html_element(b, "th", NULL, p->labeler[k].name);
    buf_adds(b, "</tr>");
    for (int i = 0; i < p->n; i++) {
        buf_adds(b, "<tr>");
        html_element(b, "th", NULL, p->labeler[i].name);
        for (int k = 0; k < p->n; k++)
            html_element(b, "td", "n", p->p_value[i * p->n + k]);
        buf_adds(b, "</tr>");
    }
    buf_adds(b, "</table></div><p class='soft'>Exact McNemar test on the pairs that both answered: pairs that only the row's labeling got "
                "right, that only the column's did, and how probable a difference this large is if they are equally good.</p>");
}

/* What accuracy costs: a dot for each labeling. */
static void scatter(struct buf *b, const struct audit_page *p, bool price)
{
    struct dot *dot = mem_alloc((size_t)p->n + 1, sizeof *dot);
    int n = 0;
    for (int i = 0; dot && i < p->n; i++) {
        const struct audit_labeler *l = &p->labeler[i];
        double x = price ? l->price : l->seconds;
        if (isfinite(x) && isfinite(l->accuracy))
            dot[n++] = (struct dot){l->name, x, l->accuracy, l->lo, l->hi};
    }
    if (n > 1)
        draw_dots(b, price ? "Agreement against price" : "Agreement against time",
                  price ? "dollars per 1,000 labels" : "seconds per 1,000 labels", dot, n);
    free(dot);
}

static void card(struct buf *b, const struct audit_labeler *l)
{
    buf_adds(b, "<h2>");
    html_text(b, l->name);
    buf_adds(b, "</h2><div class='grid'>");
    if (l->n_rates) {
        buf_adds(b, "<div class='card'><h3>Agreement with gold labels, in per cent</h3>");
        draw_rates(b, l->rate, l->n_rates);
        buf_adds(b, "<p class='soft'>With 95 % intervals; the dashed line is chance. Confidence is the distance of a label from one half, in "
                    "thirds of the pairs.</p></div>");
    }
    if (l->n_bins) {
        buf_adds(b, "<div class='card'><h3>Does a label mean what it says?</h3>");
        draw_reliability(b, l->bin, l->n_bins);
        buf_adds(b, "<p class='soft'>Observed share against the label; on the dashed line a label means what it says.</p></div>");
    }
    if (l->n_position) {
        buf_adds(b, "<div class='card'><h3>What it leans to</h3>");
        draw_bars(b, l->position, l->n_position);
        buf_adds(b, "</div>");
    }
    if (l->n_probes) {
        buf_adds(b, "<div class='card'><h3>Can a candidate talk it round?</h3>");
        draw_bars(b, l->probe, l->n_probes);
        buf_adds(b, "<p class='soft'>Losing candidates that won once such a text stood behind them, and how far the label moved. Control: harmless "
                    "texts of the same length.</p></div>");
    }
    buf_adds(b, "</div>");
}

int report_write_audit(const struct audit_page *p, const char *path, struct err *err)
{
    struct buf b = {0};
    html_head(&b, p->title, p->lead, p->lead_is_warning);
    table(&b, p);
    differences(&b, p);
    buf_adds(&b, "<div class='grid'>");
    scatter(&b, p, true);
    scatter(&b, p, false);
    buf_adds(&b, "</div>");
    for (int i = 0; i < p->n; i++)
        card(&b, &p->labeler[i]);
    html_foot(&b, p->command, p->footer);
    int rc =
        b.failed ? err_set(err, ERR_MEMORY, "writing %s", path) : file_write(path, b.s, b.len, err);
    buf_release(&b);
    return rc;
}
