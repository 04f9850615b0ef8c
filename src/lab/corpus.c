/* lab/corpus.c - what the lab models learn from: documents of six kinds.
 *
 *     echo       statements nobody could guess, then the same ones in another order: where reading back begins
 *     tldr       a policy prompt and what some writer made of it
 *     marks      a text and two to four summaries, each fact followed by KEY, MINOR, IDLE or, where the
 *                text does not tell it, FALSE (AGAIN, where people mind repetition)
 *     rationale  a labelling prompt whose summaries carry marks, and a verdict
 *     verdict    a labelling prompt and a verdict, nothing between
 *     plain      a post, or loose lines with the same words
 *
 * Marks state what can be read in the text; they teach to match, not to judge.  Verdicts are
 * those of simulated people who lean to the first slot and to the longer summary and have moods;
 * the oracle and the annotators of evaluation have no part in them.  Document i depends on (seed,
 * i) only. */
#include "lab/world.h"

#include <math.h>

struct lab_corpus_options lab_corpus_defaults(void)
{
    return (struct lab_corpus_options){.seed = 1,
                                       .documents = 1000,
                                       .facts_min = 3,
                                       .facts_max = 6,
                                       .tldr = 0.25,
                                       .marks = 0.35,
                                       .rationale = 0.2,
                                       .verdict = 0.1,
                                       .plain = 0.1,
                                       .first = 0.5,
                                       .longer = 0.03,
                                       .noise = 0.7,
                                       .repeat = 0.08,
                                       .again = NAN};
}

int lab_render_plain(void *arg, struct buf *b, const char *prompt, const char *sum1,
                     const char *sum2)
{
    size_t n;
    const char *text = lab_tldr_text(prompt, &n);
    (void)arg;
    buf_addf(b, "%s\n\nText - %.*s\nSummary 1 - %s\nSummary 2 - %s\nPreferred Summary=",
             LAB_TLDR_PREAMBLE, (int)n, text, sum1, sum2);
    return b->failed ? ERR_MEMORY : 0;
}

struct writing {                    // one document in the making
    const struct world *w;
    const struct lab_corpus_options *o;
    struct post post;
    struct rng rng;
    struct buf body, policy, a, b, prompt, completion;     // policy: the policy prompt
};

static int count_words(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += *s == ' ';
    return n + 1;
}

/* What a layman makes of a summary, in key facts. */
static double layman(const struct summary *s, double again)
{
    static const double worth[] = {1.0, 0.3, -0.2, -1.0};
    double sum = 0;
    for (int i = 0; i < s->n; i++)
        sum += !isnan(again) && said_before(s, i) ? again : worth[s->said[i].salience];
    return sum;
}

static const char *verdict(struct writing *d, const struct summary *a, const struct summary *b)
{
    double lean = layman(a, d->o->again) - layman(b, d->o->again) + d->o->first +
                  d->o->longer * (count_words(d->a.s) - count_words(d->b.s));
    return lean + d->o->noise * rng_normal(&d->rng) > 0 ? "1" : "2";
}

static void write_tldr(struct writing *d)
{
    struct summary s;
    buf_adds(&d->prompt, d->policy.s);
    summary_draw(&s, d->w, &d->post, WRITER_ANY, d->o->repeat, &d->rng);
    buf_adds(&d->completion, " ");
    lab_summary_write(&d->completion, d->w, &d->post, &s, MARKS_NONE);
}

/* Where people mind repetition, marks point it out. */
static enum marks marks_of(const struct lab_corpus_options *o)
{
    return isnan(o->again) ? MARKS_TRUE : MARKS_AGAIN;
}

static void write_marks(struct writing *d)
{
    struct summary s;
    int n = 2 + (int)rng_below(&d->rng, 3);
    buf_addf(&d->prompt, "Text - %s\n", d->body.s);
    for (int i = 0; i < n; i++) {
        summary_draw(&s, d->w, &d->post, WRITER_ANY, d->o->repeat, &d->rng);
        buf_addf(&d->completion, "%sMarked - ", i ? "\n" : "");
        lab_summary_write(&d->completion, d->w, &d->post, &s, marks_of(d->o));
    }
}

static void draw_pair(struct writing *d, struct summary *a, struct summary *b, enum marks marks)
{
    summary_draw(a, d->w, &d->post, WRITER_ANY, d->o->repeat, &d->rng);
    summary_draw(b, d->w, &d->post, WRITER_ANY, d->o->repeat, &d->rng);
    lab_summary_write(&d->a, d->w, &d->post, a, marks);
    lab_summary_write(&d->b, d->w, &d->post, b, marks);
}

static void write_rationale(struct writing *d)
{
    struct summary a, b;
    draw_pair(d, &a, &b, marks_of(d->o));
    buf_addf(&d->prompt, "Text - %s\n", d->body.s);
    buf_addf(&d->completion, "Marked 1 - %s\nMarked 2 - %s\nPreferred Summary=%s", d->a.s, d->b.s,
             verdict(d, &a, &b));
}

static void write_verdict(struct writing *d)
{
    struct summary a, b;
    draw_pair(d, &a, &b, MARKS_NONE);
    lab_render render = d->o->render ? d->o->render : lab_render_plain;
    d->prompt.failed |= render(d->o->render_arg, &d->prompt, d->policy.s, d->a.s, d->b.s) != 0;
    buf_adds(&d->completion, verdict(d, &a, &b));
}

/* Any person, deed and thing of a topic, so that nothing can be known but by looking back. */
static void write_echo(struct writing *d)
{
    const struct topic *t = &d->w->topic[d->post.topic];
    int n = d->post.n, subject[LAB_SUBJECTS], thing[LAB_THINGS], order[LAB_MAX_FACTS];
    char line[LAB_MAX_FACTS][96];
    for (int i = 0; i < LAB_SUBJECTS; i++)
        subject[i] = i;
    for (int i = 0; i < LAB_THINGS; i++)
        thing[i] = i;
    rng_shuffle(&d->rng, subject, LAB_SUBJECTS);
    rng_shuffle(&d->rng, thing, LAB_THINGS);
    for (int i = 0; i < n; i++) {
        const struct deed *deed = &d->w->deed[rng_below(&d->rng, LAB_DEEDS)];
        snprintf(line[i], sizeof line[i], "My %s %s the %s.", t->subject[subject[i]],
                 deed->verb[rng_below(&d->rng, 2)], t->thing[thing[i]]);
        buf_addf(&d->prompt, "%s%s", i ? " " : "", line[i]);
        order[i] = i;
    }
    rng_shuffle(&d->rng, order, n);
    for (int i = 0; i < n; i++)
        buf_addf(&d->completion, " %s", line[order[i]]);
}

/* A post as it is, or a few loose lines. */
static void write_plain(struct writing *d)
{
    const struct topic *t = &d->w->topic[d->post.topic];
    if (rng_uniform(&d->rng) < 0.5) {
        buf_adds(&d->completion, d->policy.s);
        return;
    }
    for (int i = 0; i < 5; i++) {
        const char *line = list_pick(&d->w->plain, &d->rng);
        int deed[2], person[2], thing[2];
        for (int k = 0; k < 2; k++) {
            thing[k] = (int)rng_below(&d->rng, LAB_THINGS);
            deed[k] = thing_deed(d->post.topic, thing[k]);
            person[k] = thing_subject(thing[k]);
        }
        buf_adds(&d->completion, i ? " " : "");
        for (const char *s = line; *s; s++) {
            if (*s != '{') {
                buf_add(&d->completion, s, 1);
                continue;
            }
            int k = s[2] == '2';
            buf_adds(&d->completion, s[1] == 's' ? t->subject[person[k]] :
                     s[1] == 'v' ? d->w->deed[deed[k]].verb[0] : t->thing[thing[k]]);
            s = strchr(s, '}');
        }
    }
}

static void write_document(struct writing *d, uint64_t item)
{
    const struct lab_corpus_options *o = d->o;
    rng_init(&d->rng, o->seed, RNG_LAB, item, 7);
    struct buf *all[] = {&d->body, &d->policy, &d->a, &d->b, &d->prompt, &d->completion};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_clear(all[i]);
    post_draw(&d->post, d->w,
              o->facts_min + (int)rng_below(&d->rng, (uint32_t)(o->facts_max - o->facts_min + 1)),
              &d->rng);
    post_write(&d->body, d->w, &d->post, &d->rng);
    post_prompt(&d->policy, d->w, &d->post, d->body.s ? d->body.s : "", &d->rng);
    const double share[] = {o->echo, o->tldr, o->marks, o->rationale, o->verdict, o->plain};
    static void (*const write[])(struct writing *) = {write_echo, write_tldr, write_marks,
                                                      write_rationale, write_verdict, write_plain};
    double u = 0;
    for (size_t i = 0; i < ARRAY_LEN(share); i++)
        u += share[i];
    u *= rng_uniform(&d->rng);
    size_t kind = 0;
    while (kind + 1 < ARRAY_LEN(share) && u >= share[kind])
        u -= share[kind++];
    write[kind](d);
}

int corpus_visit(const struct lab_corpus_options *o, corpus_see see, void *ctx, struct err *err)
{
    struct world *w = world_new();
    struct writing d = {.w = w, .o = o};
    int rc = w ? 0 : err_set(err, ERR_MEMORY, "building the lab's world");
    for (int i = 0; rc == 0 && i < o->documents; i++) {
        write_document(&d, (uint64_t)i);
        if (d.prompt.failed || d.completion.failed || d.a.failed || d.b.failed || d.body.failed ||
            d.policy.failed)
            rc = err_set(err, ERR_MEMORY, "writing document %d of the lab's corpus", i + 1);
        else
            rc = see(ctx, d.prompt.len ? d.prompt.s : "", d.completion.s, err);
    }
    struct buf *all[] = {&d.body, &d.policy, &d.a, &d.b, &d.prompt, &d.completion};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_release(all[i]);
    world_free(w);
    return rc;
}

static int row_write(void *ctx, const char *prompt, const char *completion, struct err *err)
{
    FILE *f = ctx;
    json_t *row = *prompt ? json_pack("{s:s,s:s}", "prompt", prompt, "completion", completion)
                          : json_pack("{s:s}", "text", completion);
    int rc = row ? json_dumpf(row, f, JSON_COMPACT | JSON_ENSURE_ASCII) : -1;
    json_decref(row);
    return rc || fputc('\n', f) == EOF ? err_set(err, ERR_IO, "writing a corpus row") : 0;
}

int lab_corpus_write(const char *path, const struct lab_corpus_options *o, struct err *err)
{
    struct file_out out = {0};
    int rc = file_out_open(&out, path, err);
    if (rc == 0)
        rc = corpus_visit(o, row_write, out.f, err);
    if (rc == 0)
        rc = file_out_commit(&out, err);
    else
        err_prefix(err, "%s", path);
    file_out_close(&out);
    return rc;
}
