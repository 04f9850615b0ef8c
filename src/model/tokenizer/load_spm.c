/* load_spm.c - a SentencePiece model (tokenizer.model), read where there is no tokenizer.json.
 *
 * The file is a protobuf message.  Each field begins with a number, field << 3 | kind, written
 * seven bits at a time; kinds are 0 a number of that form, 1 eight bytes, 2 a length and that
 * many bytes, 5 four bytes.  What is read of it:
 *
 *     ModelProto      1 pieces (many)   2 trainer_spec    3 normalizer_spec
 *     SentencePiece   1 piece           2 score (float)   3 type
 *     TrainerSpec     3 model_type (1 unigram, 2 BPE)     24 treat_whitespace_as_suffix
 *                     35 byte_fallback  40 unk_id         41 bos_id  42 eos_id  43 pad_id
 *     NormalizerSpec  2 precompiled_charsmap              3 add_dummy_prefix
 *                     4 remove_extra_whitespaces          5 escape_whitespaces
 *
 * Types of pieces: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.  Control
 * and user defined pieces are added tokens here, as they are in transformers, and so are those
 * that tokenizer_config.json and added_tokens.json list.  Left out: models of type word and
 * char, and white space as a suffix. */
#include "model/tokenizer/tokenizer.h"

#include <math.h>

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };
enum { SPM_UNIGRAM = 1, SPM_BPE };

struct wire {
    const unsigned char *p, *end;
};
struct field {
    uint64_t number, value; // value: of kind 0
    struct wire bytes;      // of kinds 1, 2 and 5
};
struct piece_entry {
    const char *s;
    uint32_t n;
    float score;
    int type;
};
struct spm {
    struct piece_entry *piece;
    int n;
    size_t cap;
    int model_type, unk, bos, eos, pad;
    bool byte_fallback, suffix, prefix, squeeze, escape;
    struct wire charsmap;
};

/* ---- protobuf -------------------------------------------------------------------------- */

static bool varint(struct wire *w, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && w->p < w->end; shift += 7) {
        unsigned char c = *w->p++;
        *out |= (uint64_t)(c & 127) << shift;
        if (c < 128)
            return true;
    }
    return false;
}

/* 1: a field, 0: the end, -1: no protobuf. */
static int next_field(struct wire *w, struct field *f)
{
    uint64_t tag, size;
    if (w->p == w->end)
        return 0;
    if (!varint(w, &tag))
        return -1;
    f->number = tag >> 3;
    switch (tag & 7) {
    case 0:
        return varint(w, &f->value) ? 1 : -1;
    case 1:
        size = 8;
        break;
    case 2:
        if (!varint(w, &size))
            return -1;
        break;
    case 5:
        size = 4;
        break;
    default:
        return -1;
    }
    if (size > (uint64_t)(w->end - w->p))
        return -1;
    f->bytes = (struct wire){w->p, w->p + size};
    w->p += size;
    return 1;
}

static int bad(const struct tokenizer *t, const char *what, struct err *err)
{
    return err_set(err, ERR_FORMAT, "%s: not a SentencePiece model: %s", t->where, what);
}

static int read_piece(const struct tokenizer *t, struct spm *m, struct wire w, struct err *err)
{
    struct piece_entry e = {.type = TYPE_NORMAL}, *list;
    struct field f = {0};
    int more;
    while ((more = next_field(&w, &f)) > 0) {
        size_t n = f.bytes.p ? (size_t)(f.bytes.end - f.bytes.p) : 0;
        if (f.number == 1 && f.bytes.p) {
            e.s = (const char *)f.bytes.p;
            e.n = n < UINT32_MAX ? (uint32_t)n : 0;
        } else if (f.number == 2 && n == 4) {
            memcpy(&e.score, f.bytes.p, 4);
        } else if (f.number == 3) {
            e.type = f.value < 100 ? (int)f.value : 0;
        }
    }
    if (more < 0 || !e.s || !e.n || utf8_valid(e.s, e.n) != e.n || e.type < 1 ||
        e.type > TYPE_BYTE || !isfinite(e.score) || m->n >= TOKEN_LIMIT) {
        char what[80];
        snprintf(what, sizeof what, "piece %d is broken", m->n);
        return bad(t, what, err);
    }
    list = mem_grow(m->piece, &m->cap, (size_t)m->n + 1, sizeof *list);
    if (!list)
        return err_set(err, ERR_MEMORY, "%s: no memory for %d pieces", t->where, m->n + 1);
    m->piece = list;
    list[m->n++] = e;
    return 0;
}

static int read_trainer(const struct tokenizer *t, struct spm *m, struct wire w,
                        struct err *err)
{
    struct field f = {0};
    int more;
    while ((more = next_field(&w, &f)) > 0) {
        int v = (int)(int64_t)f.value;
        if (f.number == 3)
            m->model_type = v;
        else if (f.number == 24)
            m->suffix = v;
        else if (f.number == 35)
            m->byte_fallback = v;
        else if (f.number >= 40 && f.number <= 43)
            *(f.number == 40   ? &m->unk
              : f.number == 41 ? &m->bos
              : f.number == 42 ? &m->eos
                               : &m->pad) = v;
    }
    return more ? bad(t, "its trainer_spec is broken", err) : 0;
}

static int read_normalizer(const struct tokenizer *t, struct spm *m, struct wire w,
                           struct err *err)
{
    struct field f = {0};
    int more;
    while ((more = next_field(&w, &f)) > 0) {
        if (f.number == 2)
            m->charsmap = f.bytes;
        else if (f.number == 3)
            m->prefix = f.value;
        else if (f.number == 4)
            m->squeeze = f.value;
        else if (f.number == 5)
            m->escape = f.value;
    }
    return more ? bad(t, "its normalizer_spec is broken", err) : 0;
}

static int read_model(const struct tokenizer *t, struct spm *m, const struct saved_file *file,
                      struct err *err)
{
    struct wire w = {(const unsigned char *)file->bytes,
                     (const unsigned char *)file->bytes + file->n};
    struct field f = {0};
    int more, rc = 0;
    *m = (struct spm){.model_type = SPM_UNIGRAM,
                      .bos = 1,
                      .eos = 2,
                      .pad = -1,
                      .prefix = true,
                      .squeeze = true,
                      .escape = true};
    while (rc == 0 && (more = next_field(&w, &f)) != 0) {
        if (more < 0)
            return bad(t, "it ends in the middle of a field, or is none", err);
        rc = f.number == 1   ? read_piece(t, m, f.bytes, err)
             : f.number == 2 ? read_trainer(t, m, f.bytes, err)
             : f.number == 3 ? read_normalizer(t, m, f.bytes, err)
                             : 0;
    }
    if (rc)
        return rc;
    if (!m->n)
        return bad(t, "it has no pieces", err);
    if (m->model_type != SPM_UNIGRAM && m->model_type != SPM_BPE)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: trainer_spec.model_type is %d; supported: 1 (unigram), 2 (BPE)",
                       t->where, m->model_type);
    if (m->suffix || !m->escape)
        return err_set(err, ERR_UNSUPPORTED, "%s: %s", t->where,
                       m->suffix ? "trainer_spec.treat_whitespace_as_suffix is set"
                                 : "normalizer_spec.escape_whitespaces is not set");
    return 0;
}

/* ---- tokens ------------------------------------------------------------------------------ */

static const json_t *listed(const json_t *config, const char *key)
{
    const json_t *v = json_object_get(config, key);
    return json_is_object(v) ? v : NULL;
}

/* Ids that the files beside the model add to its own: {"32000": {"content": ...}} in
 * tokenizer_config.json, {"content": 32000} in added_tokens.json. */
static int put_extra(struct tokenizer *t, int64_t id, const char *s, const json_t *flags,
                     int pieces, struct err *err)
{
    struct added a = {.id = (int)id, .special = true};
    struct token *k;
    if (!s || !*s || id < 0 || id >= TOKEN_LIMIT)
        return err_set(err, ERR_FORMAT, "%s: added token '%.60s': its id is no token", t->where,
                       s ? s : "");
    if (id >= t->vocab) {
        k = realloc(t->token, ((size_t)id + 1) * sizeof *k);
        if (!k)
            return err_set(err, ERR_MEMORY, "%s: no memory for added tokens", t->where);
        memset(k + t->vocab, 0, ((size_t)id + 1 - (size_t)t->vocab) * sizeof *k);
        t->token = k;
        t->vocab = (int)id + 1;
    }
    k = &t->token[id];
    if (k->added)
        return 0; // listed twice, or a piece that is one already
    if (k->s && strcmp(k->s, s))
        return err_set(err, ERR_FORMAT, "%s: tokens '%.60s' and '%.60s' have the same id %d",
                       t->where, k->s, s, (int)id);
    if (!k->s)
        *k = (struct token){.s = arena_strdup(&t->arena, s), .n = (uint32_t)strlen(s)};
    if (!k->s)
        return err_set(err, ERR_MEMORY, "%s: no memory for added tokens", t->where);
    if (flags) {
        a.special = json_is_true(json_object_get(flags, "special"));
        a.lstrip = json_is_true(json_object_get(flags, "lstrip"));
        a.rstrip = json_is_true(json_object_get(flags, "rstrip"));
        a.single_word = json_is_true(json_object_get(flags, "single_word"));
        a.normalized = json_is_true(json_object_get(flags, "normalized"));
    }
    k->added = true;
    k->apart = id >= pieces;
    k->special = a.special;
    a.s = k->s;
    a.n = k->n;
    return put_added(t, &a, err);
}

static int put_extras(struct tokenizer *t, const json_t *config, const json_t *added,
                      int pieces, struct err *err)
{
    const char *key;
    json_t *v;
    int rc = 0;
    json_object_foreach((json_t *)listed(config, "added_tokens_decoder"), key, v)
    {
        int64_t id = -1;
        if (rc == 0 && !str_to_i64(key, &id))
            id = -1;
        if (rc == 0)
            rc = put_extra(t, id, json_string_value(json_object_get(v, "content")), v, pieces,
                           err);
    }
    json_object_foreach((json_t *)added, key, v)
    {
        if (rc == 0)
            rc = put_extra(t, json_is_integer(v) ? json_integer_value(v) : -1, key, NULL,
                           pieces, err);
    }
    return rc;
}

static int put_pieces(struct tokenizer *t, const struct spm *m, struct err *err)
{
    int rc = 0;
    t->token = mem_alloc((size_t)m->n, sizeof *t->token);
    if (!t->token)
        return err_set(err, ERR_MEMORY, "%s: no memory for %d pieces", t->where, m->n);
    t->vocab = m->n;
    for (int id = 0; id < m->n && rc == 0; id++) {
        const struct piece_entry *e = &m->piece[id];
        struct token *k = &t->token[id];
        *k = (struct token){.s = arena_strndup(&t->arena, e->s, e->n), .n = e->n};
        if (!k->s)
            return err_set(err, ERR_MEMORY, "%s: no memory for %d pieces", t->where, m->n);
        if (e->type == TYPE_UNKNOWN || e->type == TYPE_CONTROL || e->type == TYPE_USER) {
            struct added a = {.s = k->s, .n = k->n, .id = id, .special = e->type != TYPE_USER};
            k->added = true;
            k->special = a.special;
            rc = put_added(t, &a, err);
        }
    }
    return rc;
}

/* ---- steps ------------------------------------------------------------------------------- */

static json_t *base64_json(struct wire w)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct buf b = {0};
    for (const unsigned char *p = w.p; p < w.end; p += 3) {
        size_t left = (size_t)(w.end - p);
        uint32_t v =
            (uint32_t)p[0] << 16 | (left > 1 ? (uint32_t)p[1] << 8 : 0) | (left > 2 ? p[2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                        left > 1 ? digits[v >> 6 & 63] : '=', left > 2 ? digits[v & 63] : '='};
        buf_add(&b, four, 4);
    }
    json_t *text = b.failed ? NULL : json_string(b.s ? b.s : "");
    buf_release(&b);
    return text;
}

/* first: only the beginning of a text gets a mark (transformers' legacy: false). */
static json_t *steps_json(const struct spm *m, bool first)
{
    json_t *o = metaspace_json(m->prefix && !first),
           *list = json_object_get(json_object_get(o, "normalizer"), "normalizers");
    if (m->squeeze) { // in front of the marks, in this order
        json_array_insert_new(list, 0,
                              json_pack("{ss s{ss} ss}", "type", "Replace", "pattern", "Regex",
                                        " {2,}", "content", " "));
        json_array_insert_new(list, 0,
                              json_pack("{ss s{ss} ss}", "type", "Replace", "pattern", "Regex",
                                        "\\A +| +\\z", "content", ""));
    }
    if (m->charsmap.p < m->charsmap.end)
        json_array_insert_new(list, 0,
                              json_pack("{ss so}", "type", "Precompiled",
                                        "precompiled_charsmap", base64_json(m->charsmap)));
    if (!m->prefix || !first)
        return o;
    json_array_remove(list, json_array_size(list) - 1);
    json_object_set_new(o, "pre_tokenizer",
                        json_pack("{ss ss ss sb}", "type", "Metaspace", "replacement",
                                  "\xE2\x96\x81", "prepend_scheme", "first", "split", 0));
    json_array_append_new(
        json_object_get(json_object_get(o, "decoder"), "decoders"),
        json_pack("{ss ss si si}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    return o;
}

/* ---- all of it ----------------------------------------------------------------------------
 */

static int load_bpe(struct tokenizer *t, const struct spm *m, struct err *err)
{
    float *score = mem_alloc((size_t)t->vocab, sizeof *score);
    bool *usable = mem_alloc((size_t)t->vocab, sizeof *usable);
    int rc =
        score && usable ? 0 : err_set(err, ERR_MEMORY, "%s: no memory for scores", t->where);
    for (int id = 0; id < m->n && rc == 0; id++) {
        score[id] = m->piece[id].score;
        usable[id] = m->piece[id].type == TYPE_NORMAL || m->piece[id].type == TYPE_UNUSED;
    }
    if (rc == 0)
        rc = merges_from_scores(t, score, usable, err);
    free(score);
    free(usable);
    return rc;
}

/* What is no piece of text has no score, and is not looked for. */
static int load_unigram(struct tokenizer *t, const struct spm *m, struct err *err)
{
    double *score = mem_alloc((size_t)m->n, sizeof *score);
    if (!score)
        return err_set(err, ERR_MEMORY, "%s: no memory for scores", t->where);
    for (int id = 0; id < m->n; id++)
        score[id] = m->piece[id].type == TYPE_NORMAL ? (double)m->piece[id].score : NAN;
    int rc = unigram_build(t, score, m->n, true, err);
    free(score);
    return rc;
}

static int special_id(const struct tokenizer *t, int id)
{
    return id >= 0 && id < t->vocab && t->token[id].s ? id : -1;
}

static int load_ends(struct tokenizer *t, const struct spm *m, const json_t *config,
                     struct err *err)
{
    bool bos = m->model_type == SPM_BPE, eos = false;
    char where[400];
    snprintf(where, sizeof where, "%s: tokenizer_config.json", t->path);
    int rc = config ? json_bool_or(config, "add_bos_token", bos, &bos, where, err) : 0;
    if (rc == 0 && config)
        rc = json_bool_or(config, "add_eos_token", false, &eos, where, err);
    t->unk = t->unk_named = special_id(t, m->unk);
    t->bos = special_id(t, m->bos);
    t->eos = special_id(t, m->eos);
    t->pad = special_id(t, m->pad);
    json_t *post = template_json(t, bos ? t->bos : -1, eos ? t->eos : -1);
    json_object_set_new(t->made, "post_processor", post);
    return rc ? rc : post_load(t, post, err);
}

static int load(struct tokenizer *t, const struct spm *m, const json_t *config,
                const json_t *added, struct err *err)
{
    const json_t *legacy = json_object_get(config, "legacy");
    t->model = m->model_type == SPM_BPE ? MODEL_BPE : MODEL_UNIGRAM;
    t->byte_fallback = m->byte_fallback;
    t->fuse_unk = true;
    t->made = steps_json(m, json_is_false(legacy));
    int rc = t->made ? steps_load(t, t->made, err)
                     : err_set(err, ERR_MEMORY, "%s: no memory for the tokenizer", t->where);
    if (rc == 0)
        rc = put_pieces(t, m, err);
    if (rc == 0)
        rc = put_extras(t, config, added, m->n, err);
    added_sort(&t->raw);
    added_sort(&t->late);
    if (rc == 0)
        rc = words_build(t, true, err);
    if (rc == 0)
        bytes_index(t);
    if (rc == 0)
        rc = m->model_type == SPM_BPE ? load_bpe(t, m, err) : load_unigram(t, m, err);
    return rc ? rc : load_ends(t, m, config, err);
}

int tokenizer_load_spm(struct tokenizer *t, const struct saved_file *file, const json_t *config,
                       const json_t *added, struct err *err)
{
    struct spm m;
    int rc = read_model(t, &m, file, err);
    if (rc == 0)
        rc = load(t, &m, config, added, err);
    free(m.piece);
    return rc;
}
