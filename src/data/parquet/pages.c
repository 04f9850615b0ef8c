/* pages.c - a column chunk, page by page, entry by entry.
 *
 *   chunk     [dictionary page] data page, data page, ...
 *   page      header (Thrift), body of the size it says
 *   body v1   compressed as a whole: repetition levels, definition levels (each: 4 bytes of
 * length, runs), values body v2   repetition levels, definition levels (lengths in the header,
 * never compressed), values
 *
 * An entry is a pair of levels, and a value where the definition level is the highest.  Values
 * that are not there are not stored. */
#include "data/parquet/parquet.h"

#include <zlib.h>

enum { PAGE_DATA, PAGE_INDEX, PAGE_DICTIONARY, PAGE_DATA_V2 };
enum {
    ENC_PLAIN,
    ENC_PLAIN_DICTIONARY = 2,
    ENC_RLE,
    ENC_BIT_PACKED,
    ENC_DELTA,
    ENC_DELTA_LENGTH,
    ENC_DELTA_BYTES,
    ENC_RLE_DICTIONARY,
    ENC_SPLIT,
    ENCODINGS
};
static const size_t PAGE_MAX = (size_t)512 << 20;

int column_err(const struct column *c, struct err *err, int code, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(err, code, "%s: row group %zu, column '%.200s': %s", c->file->path,
                   c->file->at_group - 1, c->path, text);
}

static int damaged(const struct column *c, struct err *err, const char *what)
{
    return column_err(c, err, ERR_FORMAT, "%s", what);
}

static int bits_for(int most)
{
    return most ? 32 - __builtin_clz((unsigned)most) : 0;
}

static size_t physical_width(const struct node *leaf)
{
    static const size_t width[] = {0, 4, 8, 12, 4, 8, 0, 0};
    return leaf->type == PHYS_FIXED ? (size_t)leaf->width : width[leaf->type];
}

/* ---- page headers ------------------------------------------------------------ */

struct header {
    int type, size, stored, values, encoding, def_encoding, rep_encoding, def_bytes, rep_bytes;
    int64_t crc; // -1: none
    bool compressed, v2, seen;
};

static void read_sub_header(struct header *h, struct thrift *t)
{
    struct field f = {0};
    h->seen = true;
    while (thrift_next(t, &f))
        if (f.id == 1)
            h->values = thrift_i32(t, &f);
        else if (f.id == (h->v2 ? 4 : 2))
            h->encoding = thrift_i32(t, &f);
        else if (f.id == 3 && h->type == PAGE_DATA)
            h->def_encoding = thrift_i32(t, &f);
        else if (f.id == 4 && h->type == PAGE_DATA)
            h->rep_encoding = thrift_i32(t, &f);
        else if (f.id == 5 && h->v2)
            h->def_bytes = thrift_i32(t, &f);
        else if (f.id == 6 && h->v2)
            h->rep_bytes = thrift_i32(t, &f);
        else if (f.id == 7 && h->v2)
            h->compressed = thrift_bool(t, &f);
        else
            thrift_skip(t, f.type);
}

static int read_header(struct column *c, struct header *h, struct err *err)
{
    struct thrift t = {.p = c->at, .end = c->end};
    struct field f = {0};
    *h = (struct header){.type = -1,
                         .crc = -1,
                         .compressed = true,
                         .def_encoding = ENC_RLE,
                         .rep_encoding = ENC_RLE};
    while (thrift_next(&t, &f)) {
        int sub = h->type == PAGE_DATA         ? 5
                  : h->type == PAGE_DICTIONARY ? 7
                  : h->type == PAGE_DATA_V2    ? 8
                                               : 0;
        if (f.id == 1)
            h->v2 = (h->type = thrift_i32(&t, &f)) == PAGE_DATA_V2;
        else if (f.id == 2)
            h->size = thrift_i32(&t, &f);
        else if (f.id == 3)
            h->stored = thrift_i32(&t, &f);
        else if (f.id == 4)
            h->crc = (uint32_t)thrift_i32(&t, &f);
        else if (sub && f.id == sub && thrift_struct(&t, &f))
            read_sub_header(h, &t);
        else
            thrift_skip(&t, f.type);
    }
    bool known = h->type == PAGE_DATA || h->type == PAGE_DICTIONARY || h->v2;
    if (t.bad || h->type < 0 || h->size < 0 || h->stored < 0 || h->values < 0 ||
        (known && !h->seen))
        return damaged(c, err, "a page's header is damaged");
    if (h->stored > t.end - t.p)
        return column_err(c, err, ERR_FORMAT,
                          "a page of %d bytes reaches beyond the column's end", h->stored);
    c->at = t.p;
    return 0;
}

/* ---- bodies ------------------------------------------------------------------ */

/* The bytes of in as they were before the codec, n of them: in itself, or *room (owned by the
 * column). */
static int open_bytes(struct column *c, struct bytes in, size_t n, uint8_t **room, size_t *cap,
                      struct bytes *out, struct err *err)
{
    *out = in;
    if (c->codec == CODEC_NONE && in.n != n)
        return column_err(c, err, ERR_FORMAT, "a page stores %zu bytes and claims to hold %zu",
                          in.n, n);
    if (c->codec == CODEC_NONE || n == 0) {
        out->n = n;
        return 0;
    }
    if (n > PAGE_MAX || !codec_may_become(c->codec, in.n, n))
        return column_err(c, err, ERR_FORMAT, "a page of %zu bytes claims to become %zu", in.n,
                          n);
    if (n > *cap) {
        free(*room);
        *room = mem_aligned(n);
        *cap = *room ? n : 0;
    }
    if (!*room)
        return column_err(c, err, ERR_MEMORY, "no memory for a page of %zu bytes", n);
    const char *why = codec_open(c->codec, *room, n, in);
    *out = (struct bytes){*room, n};
    return why ? damaged(c, err, why) : 0;
}

/* ---- values ------------------------------------------------------------------ */

static void fixed_value(enum physical type, struct bytes s, union raw *out)
{
    int32_t i32;
    float f32;
    switch (type) {
    case PHYS_INT32:
        memcpy(&i32, s.p, 4);
        out->i = i32;
        break;
    case PHYS_INT64:
        memcpy(&out->i, s.p, 8);
        break;
    case PHYS_FLOAT:
        memcpy(&f32, s.p, 4);
        out->d = (double)f32;
        break;
    case PHYS_DOUBLE:
        memcpy(&out->d, s.p, 8);
        break;
    default:
        out->s = s;
    }
}

static bool take_bytes(struct column *c, int64_t n, struct bytes *out)
{
    if (n < 0 || n > c->v_end - c->v)
        return false;
    *out = (struct bytes){c->v, (size_t)n};
    c->v += n;
    return true;
}

static bool plain_value(struct column *c, union raw *out)
{
    uint32_t len = (uint32_t)physical_width(c->leaf);
    struct bytes s;
    if (c->leaf->type == PHYS_BOOLEAN) {
        if (c->bit / 8 >= (size_t)(c->v_end - c->v))
            return false;
        out->i = c->v[c->bit / 8] >> (c->bit % 8) & 1;
        c->bit++;
        return true;
    }
    if (c->leaf->type == PHYS_BYTES) {
        if (!take_bytes(c, 4, &s))
            return false;
        memcpy(&len, s.p, 4);
    }
    if (!take_bytes(c, len, &s))
        return false;
    fixed_value(c->leaf->type, s, out);
    return true;
}

/* Byte k of every value lies in stream k. */
static bool split_value(struct column *c, union raw *out)
{
    size_t width = physical_width(c->leaf), count = (size_t)(c->v_end - c->v) / width;
    if (c->bit >= count)
        return false;
    buf_clear(&c->last);
    for (size_t k = 0; k < width; k++)
        buf_add(&c->last, c->v + k * count + c->bit, 1);
    c->bit++;
    if (c->last.failed)
        return false;
    fixed_value(c->leaf->type, (struct bytes){(const uint8_t *)c->last.s, width}, out);
    return true;
}

/* A prefix of the value before, then bytes of its own. */
static bool delta_bytes_value(struct column *c, union raw *out)
{
    int64_t prefix, n;
    struct bytes own;
    if (!delta_next(&c->delta, &prefix) || !delta_next(&c->suffix, &n) || prefix < 0 ||
        prefix > (int64_t)c->last.len || !take_bytes(c, n, &own))
        return false;
    c->last.len = (size_t)prefix;
    buf_add(&c->last, own.p, own.n);
    out->s = (struct bytes){(const uint8_t *)c->last.s, c->last.len};
    return !c->last.failed &&
           (c->leaf->type == PHYS_BYTES || out->s.n == physical_width(c->leaf));
}

static bool next_raw(struct column *c, union raw *out)
{
    int64_t n;
    uint32_t bit;
    switch (c->encoding) {
    case ENC_PLAIN:
        return plain_value(c, out);
    case ENC_RLE:
        if (!rle_next(&c->index, &bit))
            return false;
        out->i = bit;
        return true;
    case ENC_DELTA:
        if (!delta_next(&c->delta, &out->i))
            return false;
        if (c->leaf->type == PHYS_INT32)
            out->i = (int32_t)out->i;
        return true;
    case ENC_DELTA_LENGTH:
        return delta_next(&c->delta, &n) && take_bytes(c, n, &out->s);
    case ENC_DELTA_BYTES:
        return delta_bytes_value(c, out);
    case ENC_SPLIT:
        return split_value(c, out);
    }
    return false;
}

/* The lengths come first: where they end is where what follows begins. */
static bool begin_lengths(struct delta *d, const uint8_t **p, const uint8_t *end)
{
    struct delta ahead;
    if (!delta_begin(d, *p, end))
        return false;
    ahead = *d;
    *p = delta_end(&ahead);
    return *p != NULL;
}

static bool begin_runs(struct rle *r, struct bytes *s, int width)
{
    uint32_t n;
    if (s->n < 4)
        return false;
    memcpy(&n, s->p, 4);
    if (n > s->n - 4)
        return false;
    *r = (struct rle){.p = s->p + 4, .end = s->p + 4 + n, .width = width};
    *s = (struct bytes){s->p + 4 + n, s->n - 4 - n};
    return true;
}

static bool begin_indices(struct column *c, struct bytes s)
{
    if (s.n && s.p[0] > 32)
        return false;
    c->index = (struct rle){.p = s.p + (s.n > 0), .end = s.p + s.n, .width = s.n ? s.p[0] : 0};
    return true;
}

static int begin_values(struct column *c, int encoding, struct bytes s, struct err *err)
{
    enum physical type = c->leaf->type;
    bool bytes = type == PHYS_BYTES, fixed = type == PHYS_FIXED, ok = true;
    c->encoding = encoding == ENC_PLAIN_DICTIONARY ? ENC_RLE_DICTIONARY : encoding;
    c->v = s.p;
    c->v_end = s.p + s.n;
    c->bit = 0;
    switch (c->encoding) {
    case ENC_PLAIN:
        return 0;
    case ENC_RLE_DICTIONARY:
        if (!c->dict)
            return damaged(c, err, "a page of dictionary indices, but no dictionary before it");
        ok = begin_indices(c, s);
        break;
    case ENC_RLE:
        ok = type == PHYS_BOOLEAN && begin_runs(&c->index, &s, 1);
        break;
    case ENC_DELTA:
        ok =
            (type == PHYS_INT32 || type == PHYS_INT64) && delta_begin(&c->delta, s.p, c->v_end);
        break;
    case ENC_DELTA_LENGTH:
        ok = bytes && begin_lengths(&c->delta, &c->v, c->v_end);
        break;
    case ENC_DELTA_BYTES:
        buf_clear(&c->last);
        ok = (bytes || fixed) && begin_lengths(&c->delta, &c->v, c->v_end) &&
             begin_lengths(&c->suffix, &c->v, c->v_end);
        break;
    case ENC_SPLIT:
        ok =
            physical_width(c->leaf) && type != PHYS_INT96 && s.n % physical_width(c->leaf) == 0;
        break;
    default:
        return column_err(c, err, ERR_UNSUPPORTED, "values in the encoding %d", encoding);
    }
    return ok ? 0
              : column_err(c, err, ERR_FORMAT,
                           "values in the encoding %d: their beginning is damaged", encoding);
}

/* ---- dictionaries ------------------------------------------------------------ */

static void dictionary_release(struct column *c)
{
    for (uint32_t i = 0; i < c->n_dict && c->shared; i++)
        json_decref(c->shared[i]);
    free(c->dict);
    free(c->shared);
    free(c->dict_page);
    c->dict = NULL;
    c->shared = NULL;
    c->dict_page = NULL;
    c->n_dict = 0;
}

static int dictionary_begin(struct column *c, const struct header *h, struct bytes stored,
                            struct err *err)
{
    size_t cap = 0;
    struct bytes s;
    if (c->dict)
        return damaged(c, err, "a second dictionary");
    if (h->encoding != ENC_PLAIN && h->encoding != ENC_PLAIN_DICTIONARY)
        return column_err(c, err, ERR_UNSUPPORTED, "a dictionary in the encoding %d",
                          h->encoding);
    int rc = open_bytes(c, stored, (size_t)h->size, &c->dict_page, &cap, &s, err);
    if (rc)
        return rc;
    size_t least = c->leaf->type == PHYS_BYTES ? 4 : physical_width(c->leaf),
           n = (size_t)h->values;
    if (least == 0 || n > s.n / least)
        return column_err(c, err, ERR_FORMAT, "a dictionary of %zu bytes claims %zu values",
                          s.n, n);
    c->dict = mem_alloc(n, sizeof *c->dict);
    c->shared = mem_alloc(n, sizeof *c->shared);
    if (!c->dict || !c->shared)
        return column_err(c, err, ERR_MEMORY, "no memory for a dictionary of %zu values", n);
    rc = begin_values(c, ENC_PLAIN, s, err);
    for (c->n_dict = 0; rc == 0 && c->n_dict < n; c->n_dict++)
        if (!plain_value(c, &c->dict[c->n_dict]))
            rc = damaged(c, err, "the dictionary ends too early");
    return rc;
}

static json_t *new_value(struct column *c, union raw raw, struct err *err)
{
    bool bytes = c->leaf->type >= PHYS_BYTES;
    if (parquet_spend(c->file, c, bytes ? (int64_t)raw.s.n : 0, err))
        return NULL;
    char why[128] = "";
    json_t *v = value_json(c->leaf, raw, why, sizeof why);
    if (!v)
        column_err(c, err, ERR_MEMORY, "no memory for a value");
    if (why[0] && !c->file->why[0])
        snprintf(c->file->why, sizeof c->file->why, "column '%.100s': %s", c->path, why);
    return v;
}

/* Texts that appear again share one string: roles, sources, system prompts. */
static json_t *dictionary_value(struct column *c, struct err *err)
{
    uint32_t i;
    if (!rle_next(&c->index, &i)) {
        damaged(c, err, "the dictionary indices end too early");
        return NULL;
    }
    if (i >= c->n_dict) {
        column_err(c, err, ERR_FORMAT, "dictionary index %u of a dictionary of %u", i,
                   c->n_dict);
        return NULL;
    }
    bool text = c->leaf->type == PHYS_BYTES && c->leaf->meaning <= AS_TEXT;
    if (text && c->shared[i])
        return parquet_spend(c->file, c, 0, err) ? NULL : json_incref(c->shared[i]);
    json_t *v = new_value(c, c->dict[i], err);
    if (text && json_is_string(v))
        c->shared[i] = json_incref(v);
    return v;
}

json_t *column_value(struct column *c, struct err *err)
{
    union raw raw;
    if (c->encoding == ENC_RLE_DICTIONARY)
        return dictionary_value(c, err);
    if (!next_raw(c, &raw)) {
        if (c->last.failed)
            column_err(c, err, ERR_MEMORY, "no memory for a value");
        else
            damaged(c, err, "the values of a page end too early or are damaged");
        return NULL;
    }
    return new_value(c, raw, err);
}

/* ---- pages ------------------------------------------------------------------- */

static int data_begin(struct column *c, const struct header *h, struct bytes stored,
                      struct err *err)
{
    struct bytes s;
    int rc = open_bytes(c, stored, (size_t)h->size, &c->page, &c->page_cap, &s, err);
    if (rc)
        return rc;
    if ((c->max_rep && h->rep_encoding != ENC_RLE) ||
        (c->max_def && h->def_encoding != ENC_RLE))
        return column_err(
            c, err, ERR_UNSUPPORTED, "levels in the encoding %d (only RLE is read)",
            c->max_def && h->def_encoding != ENC_RLE ? h->def_encoding : h->rep_encoding);
    if ((c->max_rep && !begin_runs(&c->reps, &s, bits_for(c->max_rep))) ||
        (c->max_def && !begin_runs(&c->defs, &s, bits_for(c->max_def))))
        return damaged(c, err, "the levels reach beyond the page");
    return begin_values(c, h->encoding, s, err);
}

static int data_v2_begin(struct column *c, const struct header *h, struct bytes stored,
                         struct err *err)
{
    struct bytes s;
    if (h->rep_bytes < 0 || h->def_bytes < 0 ||
        (int64_t)h->rep_bytes + h->def_bytes > h->stored ||
        (int64_t)h->rep_bytes + h->def_bytes > h->size)
        return damaged(c, err, "the levels reach beyond the page");
    size_t reps = (size_t)h->rep_bytes, levels = reps + (size_t)h->def_bytes;
    const uint8_t *p = stored.p;
    c->reps = (struct rle){.p = p, .end = p + reps, .width = bits_for(c->max_rep)};
    c->defs = (struct rle){.p = p + reps, .end = p + levels, .width = bits_for(c->max_def)};
    stored = (struct bytes){p + levels, stored.n - levels};
    int codec = c->codec;
    if (!h->compressed)
        c->codec = CODEC_NONE;
    int rc = open_bytes(c, stored, (size_t)h->size - levels, &c->page, &c->page_cap, &s, err);
    c->codec = codec;
    return rc ? rc : begin_values(c, h->encoding, s, err);
}

static int page_begin(struct column *c, struct err *err)
{
    struct header h;
    int rc = read_header(c, &h, err);
    if (rc)
        return rc;
    struct bytes stored = {c->at, (size_t)h.stored};
    c->at += h.stored;
    if (h.crc >= 0 && crc32(0, stored.p, (uInt)stored.n) != (uLong)h.crc)
        return damaged(c, err, "a page's checksum is wrong: the file is damaged");
    if (h.type == PAGE_DICTIONARY)
        return dictionary_begin(c, &h, stored, err);
    if (h.type != PAGE_DATA && h.type != PAGE_DATA_V2)
        return 0; // indexes, and what is yet to come
    if (h.values > c->left)
        return column_err(c, err, ERR_FORMAT, "a page of %d values where %lld are left",
                          h.values, (long long)c->left);
    c->left -= h.values;
    c->page_left = (uint64_t)h.values;
    return h.v2 ? data_v2_begin(c, &h, stored, err) : data_begin(c, &h, stored, err);
}

static int next_level(struct column *c, struct rle *r, int most, const char *what, uint8_t *out,
                      struct err *err)
{
    uint32_t v;
    if (!rle_next(r, &v))
        return column_err(c, err, ERR_FORMAT, "the %s levels end too early", what);
    if (v > (uint32_t)most)
        return column_err(c, err, ERR_FORMAT, "a %s level of %u, the schema allows %d", what, v,
                          most);
    *out = (uint8_t)v;
    return 0;
}

int column_peek(struct column *c, struct err *err)
{
    int rc = 0;
    while (!c->ready && c->page_left == 0) {
        c->done = c->ready = c->left == 0;
        c->rep = c->def = 0;
        if (!c->ready && c->at >= c->end)
            return column_err(c, err, ERR_FORMAT, "%lld values are missing",
                              (long long)c->left);
        if (!c->ready && (rc = page_begin(c, err)))
            return rc;
    }
    if (c->ready)
        return 0;
    c->page_left--;
    if (c->max_rep)
        rc = next_level(c, &c->reps, c->max_rep, "repetition", &c->rep, err);
    if (c->max_def && rc == 0)
        rc = next_level(c, &c->defs, c->max_def, "definition", &c->def, err);
    c->ready = rc == 0;
    return rc;
}

void column_begin(struct column *c, const uint8_t *at, const uint8_t *end, int codec,
                  int64_t values)
{
    dictionary_release(c);
    c->at = at;
    c->end = end;
    c->codec = codec;
    c->left = values;
    c->page_left = 0;
    c->ready = c->done = false;
    c->rep = c->def = 0;
}

void column_release(struct column *c)
{
    dictionary_release(c);
    buf_release(&c->last);
    free(c->page);
    free(c->path);
}
