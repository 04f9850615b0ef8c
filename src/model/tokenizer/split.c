/* split.c - cutting text into the pieces within which bytes may merge.
 *
 * Every pre-tokenizer this program knows is a list of steps, each a regular expression run by
 * PCRE2 (UTF, Unicode properties, JIT) over the pieces of the step before.  \s is rewritten to
 * exactly Unicode's White_Space, which Hugging Face's engine and llama.cpp use; PCRE2 counts
 * U+180E as well.  \d is a decimal digit (Nd), \w letters, numbers and "_".  Text is valid
 * UTF-8 here (tokenizer.c sees to that). */
#include "model/tokenizer/tokenizer.h"

enum { MATCH_LIMIT = 50 * 1000 * 1000 };
static const char SPACE[] = "\\t-\\r \\x{85}\\p{Z}";

/* \s and \S as sets of our own.  Inside [...] \S cannot be spelled as a range and stays
 * PCRE2's. */
static void rewrite(struct buf *out, const char *re)
{
    bool in_class = false;
    for (const char *p = re; *p; p++) {
        bool escape = *p == '\\' && p[1];
        if (escape && p[1] == 's')
            buf_addf(out, in_class ? "%s" : "[%s]", SPACE);
        else if (escape && p[1] == 'S' && !in_class)
            buf_addf(out, "[^%s]", SPACE);
        else
            buf_add(out, p, escape ? 2 : 1);
        if (!escape && *p == '[')
            in_class = true;
        else if (!escape && *p == ']')
            in_class = false;
        p += escape;
    }
}

static int compile(pcre2_code **out, const char *re, const char *path, struct err *err)
{
    int code;
    PCRE2_SIZE at;
    struct buf b = {0};
    rewrite(&b, re);
    if (b.failed || !b.s) {
        buf_release(&b);
        return err_set(err, b.failed ? ERR_MEMORY : ERR_FORMAT,
                       "%s: pre-tokenizer with an empty regular expression", path);
    }
    *out = pcre2_compile((PCRE2_SPTR)b.s, b.len,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (!*out) {
        char why[120] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        err_set(err, ERR_UNSUPPORTED,
                "%s: regular expression '%.200s' of the pre-tokenizer: %s", path, re, why);
    }
    buf_release(&b);
    if (*out)
        pcre2_jit_compile(
            *out,
            PCRE2_JIT_COMPLETE); // where there is no JIT the interpreter does the same, slower
    return *out ? 0 : ERR_UNSUPPORTED;
}

int split_add(struct tokenizer *t, const char *regex, bool invert, bool removed,
              bool prefix_space, struct err *err)
{
    if (t->n_splits == SPLITS_MAX)
        return err_set(err, ERR_UNSUPPORTED, "%s: more than %d pre-tokenizers in a sequence",
                       t->path, SPLITS_MAX);
    struct split s = {.drop_matches = removed && !invert,
                      .drop_others = removed && invert,
                      .prefix_space = prefix_space};
    int rc = regex ? compile(&s.re, regex, t->path, err) : 0;
    if (rc == 0)
        t->split[t->n_splits++] = s;
    return rc;
}

/* ---- running -------------------------------------------------------------------- */

static int add_piece(struct pieces *out, const char *s, size_t n, struct err *err)
{
    if (!n)
        return 0;
    struct piece *p = (size_t)out->n < out->cap
                          ? out->item
                          : mem_grow(out->item, &out->cap, (size_t)out->n + 1, sizeof *p);
    if (!p)
        return err_set(err, ERR_MEMORY, "no memory for %d pieces of text", out->n + 1);
    out->item = p;
    p[out->n++] = (struct piece){s, n};
    return 0;
}

/* In place: the piece now begins with a space. */
static int add_space(struct pieces *out, struct piece *p, struct err *err)
{
    if (p->s[0] == ' ')
        return 0;
    char *s = arena_alloc(&out->arena, p->n + 2);
    if (!s)
        return err_set(err, ERR_MEMORY, "no memory for a piece of %zu bytes", p->n);
    s[0] = ' ';
    memcpy(s + 1, p->s, p->n);
    *p = (struct piece){s, p->n + 1};
    return 0;
}

struct run {
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

static int next_match(const struct split *step, const struct run *r, const struct piece *p,
                      size_t from, size_t *start, size_t *end, struct err *err)
{
    int rc = pcre2_match(step->re, (PCRE2_SPTR)p->s, p->n, from, PCRE2_NO_UTF_CHECK, r->match,
                         r->limits);
    if (rc == PCRE2_ERROR_NOMATCH) {
        *start = *end = p->n;
        return 0;
    }
    if (rc < 0) {
        char why[120] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(err, ERR_VALUE, "splitting a text of %zu bytes: %s", p->n, why);
    }
    *start = pcre2_get_ovector_pointer(r->match)[0];
    *end = pcre2_get_ovector_pointer(r->match)[1];
    return 0;
}

static int cut(const struct split *step, const struct run *r, const struct piece *p,
               struct pieces *out, struct err *err)
{
    size_t done = 0, from = 0, start = 0, end = 0;
    while (from < p->n) {
        int rc = next_match(step, r, p, from, &start, &end, err);
        if (rc)
            return rc;
        if (end <= start && start < p->n) { // an empty match: look again one character on
            do
                from = ++start;
            while (from < p->n && ((unsigned char)p->s[from] & 0xC0) == 0x80);
            continue;
        }
        if (!step->drop_others)
            rc = add_piece(out, p->s + done, start - done, err);
        if (rc == 0 && !step->drop_matches)
            rc = add_piece(out, p->s + start, end - start, err);
        if (rc)
            return rc;
        done = from = end > start ? end : p->n;
    }
    return step->drop_others ? 0 : add_piece(out, p->s + done, p->n - done, err);
}

/* One step over all pieces.  `out` receives what becomes of those in `in`. */
static int run_step(const struct split *step, struct pieces *in, struct pieces *out,
                    struct err *err)
{
    int rc = 0;
    for (int i = 0; step->prefix_space && i < in->n && rc == 0; i++)
        rc = add_space(in, &in->item[i], err);
    if (rc || !step->re)
        return rc;
    struct run r = {pcre2_match_data_create(1, NULL), pcre2_match_context_create(NULL)};
    if (!r.match || !r.limits)
        rc = err_set(err, ERR_MEMORY, "no memory to split text");
    else
        pcre2_set_match_limit(r.limits, MATCH_LIMIT);
    out->n = 0;
    for (int i = 0; i < in->n && rc == 0; i++)
        rc = cut(step, &r, &in->item[i], out, err);
    pcre2_match_data_free(r.match);
    pcre2_match_context_free(r.limits);
    if (rc == 0) { // what was cut becomes what is cut next; `in` keeps its arena
        struct piece *item = in->item;
        size_t cap = in->cap;
        in->item = out->item, in->cap = out->cap, in->n = out->n;
        out->item = item, out->cap = cap;
    }
    return rc;
}

int split_text(const struct tokenizer *t, struct pieces *out, const char *s, size_t n,
               struct err *err)
{
    struct pieces other = {0};
    out->n = 0;
    int rc = add_piece(out, s, n, err);
    for (int i = 0; i < t->n_splits && rc == 0; i++)
        rc = run_step(&t->split[i], out, &other, err);
    pieces_release(&other);
    return rc;
}

void pieces_release(struct pieces *p)
{
    free(p->item);
    arena_release(&p->arena);
    *p = (struct pieces){0};
}
