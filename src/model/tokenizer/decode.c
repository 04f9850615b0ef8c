/* decode.c - ids to text: the decoders of a tokenizer.json over the spellings of the tokens, in
 * one go or as the ids come.
 *
 * Text is made of bytes here: where the tokens of a text do not form characters, detokenize
 * gives the bytes as they are, and a text_stream a U+FFFD for each part that is none.  (Hugging
 * Face's ByteFallback gives one for each byte of such a run.)  An added token stands for its
 * own spelling even where that could be read as bytes in GPT-2's alphabet. */
#include "model/tokenizer/tokenizer.h"

/* Strings laid end to end, each with what a decoder may ask of it. */
struct part {
    size_t end;
    bool added, byte; // an added token; a byte by its name
};
struct parts {
    struct buf text;
    struct part *item;
    int n;
    size_t cap;
};

static bool put(struct parts *p, const char *s, size_t n, bool added, bool byte)
{
    struct part *item = mem_grow(p->item, &p->cap, (size_t)p->n + 1, sizeof *item);
    if (!item)
        return false;
    p->item = item;
    buf_add(&p->text, s, n);
    item[p->n++] = (struct part){p->text.len, added, byte};
    return !p->text.failed;
}

static void parts_release(struct parts *p)
{
    buf_release(&p->text);
    free(p->item);
}

/* ---- one token --------------------------------------------------------------------- */

static bool in_alphabet(const char *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k)
        if (byte_unspell(s + i, n - i, &k) < 0)
            return false;
    return true;
}

static void byte_level(struct buf *out, const char *s, size_t n, bool added)
{
    if (added || !in_alphabet(s, n)) {
        buf_add(out, s, n);
        return;
    }
    for (size_t i = 0, k; i < n; i += k) {
        char c = (char)byte_unspell(s + i, n - i, &k);
        buf_add(out, &c, 1);
    }
}

static void strip(const struct decode *d, struct buf *out, const char *s, size_t n)
{
    for (int i = 0; i < d->start && n >= d->n && !memcmp(s, d->text, d->n); i++)
        s += d->n, n -= d->n;
    for (int i = 0; i < d->stop && n >= d->n && !memcmp(s + n - d->n, d->text, d->n); i++)
        n -= d->n;
    buf_add(out, s, n);
}

static int replace(const struct decode *d, struct buf *out, const char *s, size_t n)
{
    struct matching m = {0};
    struct finder f = {&d->re, &m, s, n, 0, 0};
    size_t done = 0, start, end;
    int found;
    while ((found = finder_next(&f, &start, &end, NULL)) > 0) {
        buf_add(out, s + done, start - done);
        buf_add(out, d->text, d->n);
        done = end;
    }
    matching_release(&m);
    buf_add(out, s + done, n - done);
    return found;
}

/* Marks become spaces; those of the first token nothing. */
static void metaspace(const struct decode *d, struct buf *out, const char *s, size_t n,
                      bool first)
{
    for (size_t i = 0, k; i < n; i += k) {
        bool mark = n - i >= d->n && !memcmp(s + i, d->text, d->n);
        k = mark ? d->n : 1;
        if (!mark)
            buf_add(out, s + i, 1);
        else if (!first)
            buf_adds(out, " ");
    }
}

/* WordPiece's cleanup: no space before signs and contractions. */
static void tidy(struct buf *out, size_t from)
{
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t p = 0; p < ARRAY_LEN(pairs) && !out->failed && out->s; p++) {
        size_t a = strlen(pairs[p][0]), b = strlen(pairs[p][1]), to = from;
        for (size_t i = from; i < out->len;) { // a replacement is never longer
            bool here = out->len - i >= a && !memcmp(out->s + i, pairs[p][0], a);
            if (here) {
                memcpy(out->s + to, pairs[p][1], b);
                to += b;
                i += a;
            } else {
                out->s[to++] = out->s[i++];
            }
        }
        out->len = to;
        out->s[to] = 0;
    }
}

static void wordpiece(const struct decode *d, struct buf *out, const char *s, size_t n,
                      bool first)
{
    size_t from = out->len;
    bool inside = n >= d->n && !memcmp(s, d->text, d->n);
    if (!first && inside)
        s += d->n, n -= d->n;
    else if (!first)
        buf_adds(out, " ");
    buf_add(out, s, n);
    if (d->tidy)
        tidy(out, from);
}

/* Words end with a suffix; it becomes a space, but at the end of the text. */
static void suffix(const struct decode *d, struct buf *out, const char *s, size_t n, bool last)
{
    for (size_t i = 0; i < n;) {
        bool here = d->n && n - i >= d->n && !memcmp(s + i, d->text, d->n);
        if (!here)
            buf_add(out, s + i, 1);
        else if (!last)
            buf_adds(out, " ");
        i += here ? d->n : 1;
    }
}

/* ---- the chain ------------------------------------------------------------------------ */

/* One part through one decoder; start: it begins the text, and loses what a beginning loses. */
static int decode_part(const struct decode *d, struct buf *out, const char *s, size_t n,
                       const struct part *p, bool start, bool last)
{
    char c;
    switch (d->kind) {
    case DECODE_BYTE_LEVEL:
        byte_level(out, s, n, p->added);
        return 0;
    case DECODE_BYTE_FALLBACK:
        if (byte_named(s, n) < 0) {
            buf_add(out, s, n);
        } else {
            c = (char)byte_named(s, n);
            buf_add(out, &c, 1);
        }
        return 0;
    case DECODE_STRIP:
        strip(d, out, s, n);
        return 0;
    case DECODE_REPLACE:
        return replace(d, out, s, n);
    case DECODE_METASPACE:
        metaspace(d, out, s, n, start && d->first);
        return 0;
    case DECODE_WORDPIECE:
        wordpiece(d, out, s, n, start);
        return 0;
    case DECODE_SUFFIX:
        suffix(d, out, s, n, last);
        return 0;
    default:
        buf_add(out, s, n);
        return 0;
    }
}

/* Neighbours become one: all of them, or those that are bytes. */
static void fuse(struct parts *p, bool all)
{
    int n = 0;
    for (int i = 0; i < p->n; i++) {
        if (n && (all || (p->item[i].byte && p->item[n - 1].byte)))
            p->item[n - 1] = p->item[i];
        else
            p->item[n++] = p->item[i];
    }
    p->n = n;
}

static int run(const struct decode *d, struct parts *in, struct parts *out, bool middle)
{
    size_t from = 0;
    buf_clear(&out->text);
    out->n = 0;
    for (int i = 0; i < in->n; i++) {
        struct part p = in->item[i];
        const char *s = in->text.s ? in->text.s + from : "";
        size_t n = p.end - from;
        bool byte = d->kind == DECODE_BYTE_FALLBACK && byte_named(s, n) >= 0;
        from = p.end;
        if (middle && d->kind == DECODE_STRIP)
            buf_add(&out->text, s, n);
        else if (decode_part(d, &out->text, s, n, &p, i == 0 && !middle,
                             i + 1 == in->n && !middle))
            return ERR_MEMORY;
        if (!put(out, "", 0, p.added, byte))
            return ERR_MEMORY;
    }
    if (d->kind == DECODE_FUSE || d->kind == DECODE_BYTE_FALLBACK)
        fuse(out, d->kind == DECODE_FUSE);
    return 0;
}

static const struct token *token_at(const struct tokenizer *t, int id)
{
    return id >= 0 && id < t->vocab && t->token[id].s ? &t->token[id] : NULL;
}

/* middle: nothing that only happens at the ends of a text is done. */
static int decode(const struct tokenizer *t, struct buf *out, const int *id, int n,
                  bool skip_special, bool middle)
{
    struct parts a = {0}, b = {0};
    int rc = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        const struct token *k = token_at(t, id[i]);
        if (!k || (skip_special && k->special))
            continue;
        if (t->spaced && a.n)
            buf_adds(&a.text, " ");
        rc = put(&a, k->s, k->n, k->added, false) ? 0 : ERR_MEMORY;
    }
    for (int i = 0; i < t->n_decode && rc == 0; i++) {
        struct parts had = a;
        rc = run(&t->decode[i], &had, &b, middle);
        a = b;
        b = had;
    }
    buf_add(out, a.text.s ? a.text.s : "", a.text.len);
    parts_release(&a);
    parts_release(&b);
    return out->failed ? ERR_MEMORY : rc;
}

/* The usual case without a list: each token for itself, whatever stands beside it. */
static int decode_bytes(const struct tokenizer *t, struct buf *out, const int *id, int n,
                        bool skip_special)
{
    for (int i = 0; i < n; i++) {
        const struct token *k = token_at(t, id[i]);
        if (k && !(skip_special && k->special))
            byte_level(out, k->s, k->n, k->added);
    }
    return out->failed ? ERR_MEMORY : 0;
}

/* Ids that no token has are skipped, as transformers does. */
int detokenize(const struct tokenizer *t, struct buf *out, const int *id, int n,
               bool skip_special)
{
    if (t->n_decode == 1 && t->decode[0].kind == DECODE_BYTE_LEVEL)
        return decode_bytes(t, out, id, n, skip_special);
    return decode(t, out, id, n, skip_special, false);
}

int token_text(const struct tokenizer *t, struct buf *out, int id)
{
    return decode(t, out, &id, 1, false, true);
}

/* ---- as the ids come ------------------------------------------------------------------- */

/* Gives out whole characters; of what is held, only the beginning of one may stay. */
static int give(struct text_stream *s, struct buf *out, bool end)
{
    size_t at = 0, n = s->held.len;
    if (s->bytes) {
        buf_add(out, n ? s->held.s : "", n);
        at = n;
    }
    while (at < n) {
        size_t good = utf8_valid(s->held.s + at, n - at);
        buf_add(out, s->held.s + at, good);
        at += good;
        if (at == n)
            break;
        bool unfinished;
        size_t broken = char_broken(s->held.s + at, n - at, &unfinished);
        if (!end && unfinished)
            break; // the rest of it may come
        buf_adds(out, "\xEF\xBF\xBD");
        at += broken;
    }
    if (at)
        memmove(s->held.s, s->held.s + at, n - at);
    s->held.len -= at;
    return out->failed ? ERR_MEMORY : 0;
}

/* Decoders look at neighbours and at the beginning, so the last ids whose text was given out
 * are kept, and what a new id adds to their text is what is new. */
int text_stream_push(struct text_stream *s, const struct tokenizer *t, struct buf *out, int id)
{
    const struct token *k = token_at(t, id);
    struct buf had = {0}, now = {0};
    if (!k || (s->skip_special && k->special))
        return 0;
    if (tokens_add(&s->ids, id, NULL))
        return ERR_MEMORY;
    int rc = detokenize(t, &had, s->ids.id, s->shown, false);
    if (rc == 0)
        rc = detokenize(t, &now, s->ids.id, s->ids.n, false);
    if (rc == 0 && now.len > had.len) {
        buf_add(&s->held, now.s + had.len, now.len - had.len);
        s->ids.n -= s->shown;
        memmove(s->ids.id, s->ids.id + s->shown, (size_t)s->ids.n * sizeof *s->ids.id);
        s->shown = s->ids.n;
    }
    buf_release(&had);
    buf_release(&now);
    return rc || s->held.failed ? ERR_MEMORY : give(s, out, false);
}

int text_stream_end(struct text_stream *s, struct buf *out)
{
    int rc = give(s, out, true);
    s->ids.n = s->shown = 0;
    return rc;
}

void text_stream_release(struct text_stream *s)
{
    tokens_release(&s->ids);
    buf_release(&s->held);
    s->shown = 0;
}
