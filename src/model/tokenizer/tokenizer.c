/* tokenizer.c - text to ids and back: the order of the steps, and the small questions about
 * tokens.
 *
 * Bytes that are not UTF-8 become U+FFFD before anything else, one for each maximal part of a
 * character, as Python's errors="replace" does on the way into transformers. */
#include "model/tokenizer/tokenizer.h"

/* ---- opening -------------------------------------------------------------------- */

static int load_gguf_file(struct tokenizer *t, struct err *err)
{
    struct file_map map;
    struct gguf g = {0};
    int rc = file_map_open(&map, t->path, err);
    if (rc)
        return rc;
    rc = gguf_open(&g, map.p, map.n, t->path, err);
    if (rc == 0)
        rc = tokenizer_load_gguf(t, &g, err);
    gguf_release(&g);
    file_map_close(&map);
    return rc;
}

int tokenizer_open(struct tokenizer **out, const char *path, struct err *err)
{
    struct tokenizer *t = mem_alloc(1, sizeof *t);
    if (t)
        t->path = str_printf("%s", path);
    if (!t || !t->path) {
        tokenizer_free(t);
        return err_set(err, ERR_MEMORY, "%s: no memory", path);
    }
    t->unk = t->bos = t->eos = t->pad = t->unk_named = -1;
    int rc;
    if (dir_exists(path))
        rc = tokenizer_load_folder(t, err);
    else if (file_exists(path) && gguf_is(path))
        rc = load_gguf_file(t, err);
    else if (file_exists(path) && str_ends(path, ".model"))
        rc = tokenizer_load_file(t, err);
    else
        rc = err_set(err, ERR_MISSING,
                     "%s: no tokenizer here; expected a folder with tokenizer.json or "
                     "tokenizer.model, a .model or a "
                     ".gguf file",
                     path);
    if (rc == 0)
        *out = t;
    else
        tokenizer_free(t);
    return rc;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    for (int i = 0; i < STEPS_MAX; i++) {
        regex_release(&t->normal[i].re);
        regex_release(&t->split[i].re);
        regex_release(&t->decode[i].re);
    }
    unigram_free(t->unigram);
    json_decref(t->made);
    for (int i = 0; i < t->n_files; i++) {
        free(t->file[i].name);
        free(t->file[i].bytes);
    }
    free(t->token);
    free(t->words.slot);
    free(t->merges.slot);
    free(t->raw.item);
    free(t->late.item);
    chat_free(t->chat);
    arena_release(&t->arena);
    free(t->path);
    free(t);
}

void tokens_release(struct tokens *t)
{
    free(t->id);
    *t = (struct tokens){0};
}

/* ---- encoding ------------------------------------------------------------------- */

/* What one call of tokenize works with. */
struct work {
    const struct tokenizer *t;
    struct tokens *out;
    struct bpe *bpe;
    struct splitting splitting;
    struct buf form, scratch; // normal form of a part; of the model
    bool parse_special;
    struct err *err;
};
/* Part of a text; first: it begins where the text begins. */
struct span {
    const char *s;
    size_t n;
    bool first;
};

static void repair_utf8(struct buf *out, const char *s, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t good = utf8_valid(s + at, n - at);
        buf_add(out, s + at, good);
        at += good;
        if (at < n) {
            buf_adds(out, "\xEF\xBF\xBD");
            bool unfinished;
            at += char_broken(s + at, n - at, &unfinished);
        }
    }
}

static int encode_piece(struct work *w, const char *s, size_t n)
{
    switch (w->t->model) {
    case MODEL_BPE:
        return bpe_encode(w->t, w->bpe, w->out, s, n, w->err);
    case MODEL_UNIGRAM:
        return unigram_encode(w->t, &w->scratch, w->out, s, n, w->err);
    default:
        return wordpiece_encode(w->t, &w->scratch, w->out, s, n, w->err);
    }
}

static int encode_plain(struct work *w, struct span p)
{
    int rc = split_text(w->t, &w->splitting, p.s, p.n, p.first, w->err);
    for (int i = 0; i < w->splitting.now.n && rc == 0; i++)
        rc = encode_piece(w, w->splitting.now.item[i].s, w->splitting.now.item[i].n);
    return rc;
}

/* Each part is an added token or goes through `plain`. */
static int encode_parts(struct work *w, const struct added_set *set, struct span p,
                        int (*plain)(struct work *, struct span))
{
    if (!set->n)
        return plain(w, p);
    struct founds parts = {0};
    int rc = added_cut(set, &parts, p.s, p.n, w->parse_special, w->err);
    for (int i = 0; i < parts.n && rc == 0; i++) {
        const struct found *f = &parts.item[i];
        struct span part = {p.s + f->start, f->end - f->start, p.first && f->start == 0};
        rc = f->id >= 0 ? tokens_add(w->out, f->id, w->err) : plain(w, part);
    }
    free(parts.item);
    return rc;
}

static int encode_normal(struct work *w, struct span p)
{
    bool moved = false;
    if (w->t->n_normal) {
        int rc = normalize(w->t, &w->splitting.matching, &w->form, p.s, p.n, &moved, w->err);
        if (rc)
            return rc;
        p = (struct span){w->form.s ? w->form.s : "", w->form.len, p.first && !moved};
    }
    return encode_parts(w, &w->t->late, p, encode_plain);
}

static int add_all(struct tokens *out, const int *id, int n, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < n && rc == 0; i++)
        rc = tokens_add(out, id[i], err);
    return rc;
}

int tokenize(const struct tokenizer *t, struct tokens *out, const char *text, size_t n,
             int flags, struct err *err)
{
    PROFILE("tokenize");
    struct work w = {.t = t,
                     .out = out,
                     .bpe = bpe_new(),
                     .parse_special = flags & TOKENIZE_PARSE_SPECIAL,
                     .err = err};
    struct buf fixed = {0};
    bool special = flags & TOKENIZE_SPECIAL;
    int before = out->n, rc = 0;
    if (n && utf8_valid(text, n) < n) {
        repair_utf8(&fixed, text, n);
        text = fixed.s;
        n = fixed.len;
    }
    if (!w.bpe || fixed.failed)
        rc = err_set(err, ERR_MEMORY, "no memory to tokenize a text");
    if (rc == 0 && special)
        rc = add_all(out, t->before, t->n_before, err);
    if (rc == 0 && n)
        rc = encode_parts(&w, &t->raw, (struct span){text, n, true}, encode_normal);
    if (rc == 0 && special)
        rc = add_all(out, t->after, t->n_after, err);
    if (rc)
        out->n = before;
    splitting_release(&w.splitting);
    bpe_free(w.bpe);
    buf_release(&w.form);
    buf_release(&w.scratch);
    buf_release(&fixed);
    return rc;
}

/* ---- questions ----------------------------------------------------- */

static const struct token *token_at(const struct tokenizer *t, int id)
{
    return id >= 0 && id < t->vocab && t->token[id].s ? &t->token[id] : NULL;
}

int tokenizer_id(const struct tokenizer *t, const char *token)
{
    return words_find(t, token, strlen(token));
}

int tokenizer_vocab(const struct tokenizer *t)
{
    return t->vocab;
}

void tokenizer_kind(const struct tokenizer *t, struct buf *out)
{
    static const char *const names[] = {"BPE", "Unigram", "WordPiece", "whole words"};
    buf_addf(out, "%s%s%s", t->byte_level ? "byte-level " : "", names[t->model],
             t->byte_fallback ? " with bytes for what is unknown" : "");
}

bool tokenizer_is_special(const struct tokenizer *t, int id)
{
    const struct token *k = token_at(t, id);
    return k && k->special;
}

int tokenizer_spellings(const struct tokenizer *t, const char *word, int *id, int max)
{
    struct buf b = {0};
    int found = 0;
    size_t n = strlen(word);
    for (int i = 0; i < t->vocab && found < max; i++) {
        const struct token *k = token_at(t, i);
        if (!k || k->special || k->n < n)
            continue; // no decoder makes a token longer
        buf_clear(&b);
        token_text(t, &b, i);
        size_t skip = 0;
        while (skip < b.len && b.s[skip] == ' ')
            skip++;
        if (!b.failed && b.len - skip == n && n && !memcmp(b.s + skip, word, n))
            id[found++] = i;
    }
    buf_release(&b);
    return found;
}

static bool among(int id, const int *list, int n)
{
    for (int i = 0; i < n; i++)
        if (list[i] == id)
            return true;
    return false;
}

int tokenizer_pad(const struct tokenizer *t, int pad, int bos, const int *eos, int n_eos)
{
    static const char *const names[] = {"<pad>", "<|pad|>", "[PAD]", "<|endoftext|>", "<unk>"};
    if (pad >= 0 && !among(pad, eos, n_eos))
        return pad;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int id = tokenizer_id(t, names[i]);
        if (tokenizer_is_special(t, id) && id != bos && !among(id, eos, n_eos))
            return id;
    }
    for (int id = 0; id < t->vocab; id++)
        if (tokenizer_is_special(t, id) && id != bos && !among(id, eos, n_eos))
            return id;
    return -1;
}
