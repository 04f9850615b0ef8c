/* feedback/judge/pairs.c - which of two outputs: AlpacaEval's two ways of asking, with or
 * without a reference. */
#include <ctype.h>
#include <math.h>

#include "feedback/judge/judge.h"

enum { UNIT = 1024 };
#define JUDGE_PROTOCOL "judge 1"

void judge_defaults(struct judge_options *o)
{
    *o = (struct judge_options){.kind = JUDGE_WEIGHTED, .order = JUDGE_RANDOM};
}

/* ---- the question ------------------------------------------------------------------------ */

static const char *const label[2][2] = {{"Output (a)", "Output (b)"},
                                        {"m", "M"}}; // by kind, by slot

char *judge_question(const struct judge_options *o, const struct judge_item *item, bool swapped)
{
    const char *one = swapped ? item->second : item->first,
               *two = swapped ? item->first : item->second;
    const char *const *name = label[o->kind];
    struct buf b = {0};
    buf_adds(&b, "Two assistants were given the same instruction. Decide whose output a person "
                 "who gave it would rather have: the "
                 "one that does what was asked, is correct, and is clear.\n\n");
    buf_addf(&b, "# Instruction\n%s\n\n", item->instruction);
    if (item->reference)
        buf_addf(&b, "# A good answer, to compare with\n%s\n\n", item->reference);
    if (o->kind == JUDGE_TEXT)
        buf_addf(&b, "# %s\n%s\n\n# %s\n%s\n\n", name[0], one, name[1], two);
    else
        buf_addf(&b, "# Output of model %s\n%s\n\n# Output of model %s\n%s\n\n", name[0], one,
                 name[1], two);
    buf_addf(&b, "# Verdict\nWhich is better? Write nothing but %s or %s.", name[0], name[1]);
    if (!o->chat)
        buf_adds(&b, o->kind == JUDGE_TEXT ? "\n" : "\nThe better model:");
    return buf_take(&b);
}

/* ---- the answer -------------------------------------------------------------------------- */

static const char *skip_marks(const char *p)
{
    while (*p && (isspace((unsigned char)*p) || strchr("*#_>\"'`", *p)))
        p++;
    return p;
}

/* The first line that begins with one of the two, with or without "Output". */
static double read_text(const char *s)
{
    for (const char *line = s; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *p = skip_marks(line);
        if (!strncasecmp(p, "output", 6))
            p = skip_marks(p + 6);
        if (p[0] == '(' && (p[1] == 'a' || p[1] == 'b') && p[2] == ')')
            return p[1] == 'b';
    }
    return NAN;
}

static double read_letter(const char *s)
{
    const char *p = skip_marks(s);
    return (*p == 'm' || *p == 'M') && !isalnum((unsigned char)p[1]) ? *p == 'M' : NAN;
}

double judge_read(const struct reply *r, enum judge_kind kind)
{
    if (r->state != REPLY_OK)
        return NAN;
    if (kind == JUDGE_TEXT)
        return r->text ? read_text(r->text) : NAN;
    if (!r->has_logps)
        return r->text ? read_letter(r->text) : NAN;
    bool one = isfinite(r->word[0].sum), two = isfinite(r->word[1].sum);
    if (!one || !two)
        return !one && !two ? NAN : two;
    return 1 / (1 + exp(r->word[0].sum - r->word[1].sum));
}

static const char *raw_of(const struct reply *r, struct arena *arena)
{
    if (!r->has_logps)
        return arena_strdup(arena, r->text ? r->text : "");
    json_t *o = json_object();
    for (int k = 0; k < 2; k++)
        json_object_set_new(o, label[JUDGE_WEIGHTED][k],
                            isfinite(r->word[k].sum) ? json_real(r->word[k].sum) : json_null());
    struct buf b = {0};
    json_add_text(&b, o, 0);
    const char *s = b.failed ? NULL : arena_strdup(arena, b.s);
    buf_release(&b);
    json_decref(o);
    return s;
}

/* ---- asking ------------------------------------------------------------------------------ */

/* Up to two questions an item; i: whose, swapped: shown the other way round. */
struct shown {
    int i;
    bool swapped;
};
static bool drawn(const struct judge_options *o, const char *instruction)
{
    struct rng r;
    rng_init(&r, o->seed, RNG_SHUFFLE, hash_bytes(instruction, strlen(instruction)).lo, 0);
    return rng_below(&r, 2);
}

/* Which questions n items make; how many. */
static int list_shown(struct shown *shown, const struct judge_options *o,
                      const struct judge_item *item, int n)
{
    int m = 0;
    for (int i = 0; i < n; i++) {
        if (!strcmp(item[i].first, item[i].second))
            continue;
        bool first = o->order == JUDGE_RANDOM && drawn(o, item[i].instruction);
        shown[m++] = (struct shown){i, first};
        if (o->order == JUDGE_BOTH)
            shown[m++] = (struct shown){i, !first};
    }
    return m;
}

static struct ask judge_ask(const struct judge_options *o)
{
    static const char *const word[] = {"m", "M"}, *const stop[] = {"\n\n"};
    bool text = o->kind == JUDGE_TEXT;
    struct ask ask = {.kind = text ? ASK_TEXT : ASK_WORDS, .protocol = JUDGE_PROTOCOL};
    sampling_defaults(&ask.sampling);
    ask.sampling.temperature = 0;
    ask.sampling.max_new_tokens = text ? 50 : 4;
    ask.sampling.stop = stop;
    ask.sampling.n_stop = text && !o->chat;
    ask.word = text ? NULL : word;
    ask.n_words = text ? 0 : 2;
    return ask;
}

/* What the replies to one item make together. */
static void judge_add(struct judgement *j, const struct judge_options *o, const struct reply *r,
                      bool swapped, struct arena *arena)
{
    double p = judge_read(r, o->kind);
    bool again = j->raw != NULL;
    j->order[again] = isnan(p) ? NAN : 1 + (swapped ? 1 - p : p);
    j->preference =
        again ? (j->order[0] + j->order[1]) / 2 : j->order[0]; // one order unread: all of it is
    j->swapped = again ? j->swapped : swapped;
    j->seconds += r->seconds;
    j->price += r->price;
    j->state = j->state > r->state ? j->state : r->state;
    if (!again)
        j->raw = raw_of(r, arena);
}

static int judge_unit(struct judgement *out, struct asker *a, const struct judge_options *o,
                      const struct judge_item *item, int n, struct arena *arena,
                      struct err *err)
{
    struct ask_list q;
    struct ask ask = judge_ask(o);
    struct shown *shown = mem_alloc(2 * (size_t)n, sizeof *shown);
    int m = shown ? list_shown(shown, o, item, n) : 0, rc = ask_list_init(&q, m, err);
    if (rc == 0 && !shown)
        rc = err_set(err, ERR_MEMORY, "no memory to judge %d pairs", n);
    for (int k = 0; k < m && rc == 0; k++) {
        ask.order = shown[k].swapped;
        rc = ask_list_add(&q, &ask, judge_question(o, &item[shown[k].i], shown[k].swapped), o->chat,
                          err);
    }
    if (rc == 0)
        rc = ask_list_send(&q, a, err);
    for (int i = 0; i < n && rc == 0; i++)
        out[i] = (struct judgement){.preference = 1.5, .order = {NAN, NAN}};
    for (int k = 0; k < m && rc == 0; k++)
        judge_add(&out[shown[k].i], o, &q.reply[k], shown[k].swapped, arena);
    ask_list_release(&q);
    free(shown);
    return rc;
}

int judge_pairs(struct judgement *out, struct asker *a, const struct judge_options *o,
                const struct judge_item *item, int n, struct arena *arena, struct err *err)
{
    int rc = 0;
    for (int at = 0; at < n && rc == 0; at += UNIT)
        rc = judge_unit(out + at, a, o, item + at, n - at < UNIT ? n - at : UNIT, arena, err);
    return rc;
}
