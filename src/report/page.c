/* report/page.c - the page from top to bottom: result, pipeline, shares, curves, labels, texts,
 * figures. */
#include "report/draw.h"

static void head(struct buf *b, const struct report *r)
{
    html_head(b, r->title, r->lead, r->lead_is_warning);
    if (r->note)
        html_element(b, "p", "soft", r->note);
}

static void pipeline(struct buf *b, const struct report *r)
{
    buf_adds(b, "<h2>The pipeline</h2><ul class='flow'>");
    for (int i = 0; i < r->n_boxes; i++) {
        buf_adds(b, "<li><div class='box'>");
        html_element(b, "b", NULL, r->box[i].name);
        html_element(b, "span", NULL, r->box[i].what);
        html_element(b, "span", NULL, r->box[i].count);
        buf_adds(b, "</div>");
        if (i + 1 < r->n_boxes)
            buf_adds(b, "<svg viewBox='0 0 24 16' aria-hidden='true'><path d='M3 8h15m-5-5 5 5-5 5' fill='none' "
                        "stroke='var(--soft)' stroke-width='1.6'/></svg>");
        buf_adds(b, "</li>");
    }
    buf_adds(b, "</ul>");
}

static void shares(struct buf *b, const struct report *r)
{
    if (r->n_rates == 0 && r->n_bins == 0 && r->n_position == 0)
        return;
    buf_adds(b, "<h2>How good is each link?</h2><div class='grid'>");
    if (r->n_rates) {
        buf_adds(b, "<div class='card'><h3>Shares in per cent, with 95 % intervals</h3>");
        draw_rates(b, r->rate, r->n_rates);
        buf_adds(b, "<p class='soft'>The dashed line is chance.</p></div>");
    }
    if (r->n_bins) {
        buf_adds(b, "<div class='card'><h3>Are the labels to be believed?</h3>");
        draw_reliability(b, r->bin, r->n_bins);
        buf_adds(b, "<p class='soft'>Observed share against the label, both orders averaged; on the dashed line a label "
                    "means what it says. Larger dots hold more pairs.</p></div>");
    }
    if (r->n_position) {
        buf_adds(b, "<div class='card'><h3>Position bias of the labeler</h3>");
        draw_bars(b, r->position, r->n_position);
        buf_adds(b, "<p class='soft'>Same slot: the labeler preferred the first (or the second) place in both orders, "
                    "whatever stood there. Averaging both orders turns such a pair into a label near one half.</p></div>");
    }
    buf_adds(b, "</div>");
}

static void matrix(struct buf *b, const struct report *r)
{
    if (r->matrix.n == 0)
        return;
    buf_adds(b, "<h2>Who beats whom</h2>");
    draw_matrix(b, &r->matrix);
    buf_adds(b, "<p class='soft'>Row beats column, per cent of held-out prompts, ties one half, with 95 % intervals.</p>");
}

static void curves(struct buf *b, const struct report *r)
{
    if (r->n_charts == 0)
        return;
    buf_adds(b, "<h2>Learning</h2><div class='grid'>");
    for (int i = 0; i < r->n_charts; i++)
        draw_chart(b, &r->chart[i]);
    buf_adds(b, "</div>");
}

/* Without white space around it: completions begin with a space. */
static void said(struct buf *b, const char *s)
{
    size_t from = strspn(s, " \n\t"), end = strlen(s);
    while (end > from && strchr(" \n\t", s[end - 1]))
        end--;
    char *kept = str_printf("%.*s", (int)(end - from), s + from);
    html_text(b, kept);
    free(kept);
}

static void sample(struct buf *b, const struct sample *s)
{
    buf_adds(b, "<div class='card sample'><details><summary>");
    html_text(b, "prompt");
    buf_adds(b, "</summary><p class='say'>");
    said(b, s->prompt);
    buf_adds(b, "</p></details><hr><div class='pair'><div><p class='tag'>before</p><p class='say'>");
    said(b, s->before);
    buf_adds(b, "</p></div><div class='after'><p class='tag'>after</p><p class='say'>");
    said(b, s->after);
    buf_adds(b, "</p></div></div>");
    if (s->verdict)
        html_element(b, "p", "soft", s->verdict);
    buf_adds(b, "</div>");
}

static void samples(struct buf *b, const struct report *r)
{
    if (r->n_samples == 0)
        return;
    buf_adds(b, "<h2>Texts before and after</h2><p class='soft'>The first held-out prompts, not chosen.</p>");
    if (r->fold)
        buf_adds(b, "<details><summary>Show them (the texts of this data set can be offensive)</summary>");
    for (int i = 0; i < r->n_samples; i++)
        sample(b, &r->sample[i]);
    if (r->fold)
        buf_adds(b, "</details>");
}

static void figures(struct buf *b, const struct report *r)
{
    buf_adds(b, "<h2>Every figure, and the command that makes it</h2><div class='card scroll'><table><tr><th>figure</th>"
                "<th>value</th><th>95 % interval</th><th>from</th></tr>");
    for (int i = 0; i < r->n_figures; i++) {
        buf_adds(b, "<tr>");
        html_element(b, "td", NULL, r->figure[i].name);
        html_element(b, "td", "n", r->figure[i].value);
        html_element(b, "td", "n", r->figure[i].interval);
        buf_adds(b, "<td>");
        html_element(b, "code", NULL, r->figure[i].command);
        buf_adds(b, "</td></tr>");
    }
    buf_adds(b, "</table></div>");
}

static void costs(struct buf *b, const struct report *r)
{
    if (r->n_costs) {
        buf_adds(b, "<h2>What it cost</h2><div class='card'>");
        draw_bars(b, r->cost, r->n_costs);
        buf_adds(b, "</div>");
    }
    html_foot(b, r->command, r->footer);
}

int report_write(const struct report *r, const char *path, struct err *err)
{
    struct buf b = { 0 };
    head(&b, r);
    pipeline(&b, r);
    matrix(&b, r);
    shares(&b, r);
    curves(&b, r);
    samples(&b, r);
    figures(&b, r);
    costs(&b, r);
    int rc =
        b.failed ? err_set(err, ERR_MEMORY, "writing %s", path) : file_write(path, b.s, b.len, err);
    buf_release(&b);
    return rc;
}
