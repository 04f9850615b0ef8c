/* steps.c - the normalizer, pre_tokenizer and decoder of a tokenizer.json, read into the lists
 * of steps that the rest of this folder runs.
 *
 * Each of the three is one element or a Sequence of them, whose sequences are laid flat.  An
 * element that is not known is refused by its place in the file and its type, and so is an
 * option that changes what an element does. */
#include "model/tokenizer/tokenizer.h"

#include <utf8proc.h>

enum { DEPTH_MAX = 16 };

/* One element of the file and where it stands ("pre_tokenizer.pretokenizers[1]"). */
struct place {
    struct tokenizer *t;
    const json_t *o;
    char at[160];
    int depth;
    struct err *err;
};

static int refuse(const struct place *p, int code, const char *what)
{
    return err_set(p->err, code, "%s: %s: %s", p->t->where, p->at, what);
}

static int no_memory(const struct place *p)
{
    return refuse(p, ERR_MEMORY, "no memory");
}

static const char *type_of(const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "type"));
    return s ? s : "";
}

static int get_bool(const struct place *p, const char *key, bool dflt, bool *out)
{
    return json_bool_or(p->o, key, dflt, out, p->at, p->err);
}

/* A string, kept as long as the tokenizer. */
static int get_text(const struct place *p, const char *key, const char *dflt, const char **out,
                    size_t *n)
{
    int rc = json_str_or(p->o, key, dflt, out, p->at, p->err);
    if (rc == 0 && !*out)
        rc = err_set(p->err, ERR_FORMAT, "%s: %s: '%s' is missing", p->t->where, p->at, key);
    if (rc == 0 && !(*out = arena_strdup(&p->t->arena, *out)))
        rc = no_memory(p);
    if (rc == 0 && n)
        *n = strlen(*out);
    return rc;
}

/* {"Regex": "..."} or {"String": "..."}. */
static int get_pattern(const struct place *p, struct regex *out)
{
    const json_t *o = json_object_get(p->o, "pattern");
    const char *re = json_string_value(json_object_get(o, "Regex")),
               *text = json_string_value(json_object_get(o, "String"));
    char where[480];
    snprintf(where, sizeof where, "%s: %s", p->t->where, p->at);
    if (re)
        return regex_compile(out, re, where, p->err);
    return text && *text ? regex_literal(out, text, p->err)
                         : refuse(p, ERR_FORMAT, "expected a pattern with Regex or String");
}

/* ---- lists -------------------------------------------------------------------------- */

struct kind {
    const char *type;
    int (*load)(struct place *p);
};

static int load_any(struct place *p, const struct kind *kinds, const char *list);

static int load_list(struct place *p, const struct kind *kinds, const char *list)
{
    const json_t *items = json_object_get(p->o, list);
    if (!json_is_array(items))
        return refuse(p, ERR_FORMAT, "a Sequence without its list");
    int rc = p->depth < DEPTH_MAX ? 0 : refuse(p, ERR_UNSUPPORTED, "sequences lie too deep");
    for (size_t i = 0; i < json_array_size(items) && rc == 0; i++) {
        struct place one = *p;
        one.o = json_array_get(items, i);
        one.depth++;
        size_t n = strlen(p->at);
        snprintf(one.at + n, sizeof one.at - n, ".%s[%zu]", list, i);
        rc = load_any(&one, kinds, list);
    }
    return rc;
}

static int load_any(struct place *p, const struct kind *kinds, const char *list)
{
    struct buf known = {0};
    if (!strcmp(type_of(p->o), "Sequence"))
        return load_list(p, kinds, list);
    for (const struct kind *k = kinds; k->type; k++)
        if (!strcmp(type_of(p->o), k->type))
            return k->load(p);
    for (const struct kind *k = kinds; k->type; k++)
        buf_addf(&known, "%s, ", k->type);
    err_set(p->err, ERR_UNSUPPORTED, "%s: %s has type '%.60s'; supported: %sSequence",
            p->t->where, p->at, type_of(p->o), known.s && !known.failed ? known.s : "");
    buf_release(&known);
    return ERR_UNSUPPORTED;
}

/* ---- normalizer ---------------------------------------------------------------------- */

static int add_normal(struct place *p, struct normal n)
{
    if (p->t->n_normal == STEPS_MAX) {
        regex_release(&n.re);
        return refuse(p, ERR_UNSUPPORTED, "too many normalizers");
    }
    p->t->normal[p->t->n_normal++] = n;
    return 0;
}

static int add_form(struct place *p, int options)
{
    return add_normal(p, (struct normal){.kind = NORMAL_FORM, .form = options});
}

static int load_form(struct place *p)
{
    const char *type = type_of(p->o);
    return add_form(p, UTF8PROC_STABLE |
                           (strchr(type, 'D') ? UTF8PROC_DECOMPOSE : UTF8PROC_COMPOSE) |
                           (strchr(type, 'K') ? UTF8PROC_COMPAT : 0));
}

static int load_prepend(struct place *p)
{
    struct normal n = {.kind = NORMAL_PREPEND};
    int rc = get_text(p, "prepend", NULL, &n.text, &n.n);
    return rc ? rc : add_normal(p, n);
}

static int load_replace(struct place *p)
{
    struct normal n = {.kind = NORMAL_REPLACE};
    int rc = get_text(p, "content", NULL, &n.text, &n.n);
    if (rc == 0)
        rc = get_pattern(p, &n.re);
    return rc ? rc : add_normal(p, n);
}

static int load_strip(struct place *p)
{
    struct normal n = {.kind = NORMAL_STRIP};
    int rc = get_bool(p, "strip_left", true, &n.left);
    if (rc == 0)
        rc = get_bool(p, "strip_right", true, &n.right);
    return rc ? rc : add_normal(p, n);
}

static int load_chars(struct place *p)
{
    static const struct {
        const char *type;
        enum normal_kind kind;
    } kinds[] = {{"Lowercase", NORMAL_LOWER},
                 {"StripAccents", NORMAL_UNMARK},
                 {"Nmt", NORMAL_NMT},
                 {"ByteLevel", NORMAL_BYTES}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!strcmp(type_of(p->o), kinds[i].type))
            return add_normal(p, (struct normal){.kind = kinds[i].kind});
    return refuse(p, ERR_UNSUPPORTED, "not a normalizer");
}

static int load_charsmap(struct place *p)
{
    struct normal n = {.kind = NORMAL_CHARSMAP};
    const char *text = json_string_value(json_object_get(p->o, "precompiled_charsmap"));
    char *blob = NULL;
    size_t size = 0;
    if (!text)
        return refuse(p, ERR_FORMAT, "precompiled_charsmap is missing");
    if (!*text)
        return 0;
    int rc = base64_read(&p->t->arena, &blob, &size, text);
    if (rc)
        return refuse(p, rc,
                      rc == ERR_MEMORY ? "no memory" : "precompiled_charsmap is not base64");
    rc = charsmap_read(&n.map, blob, size, p->t->where, p->err);
    return rc ? rc : add_normal(p, n);
}

static int load_bert(struct place *p)
{
    bool clean, chinese, lower, accents;
    int rc = get_bool(p, "clean_text", true, &clean);
    if (rc == 0)
        rc = get_bool(p, "handle_chinese_chars", true, &chinese);
    if (rc == 0)
        rc = get_bool(p, "lowercase", true, &lower);
    if (rc == 0)
        rc = get_bool(p, "strip_accents", lower, &accents); // null: as lowercase
    if (rc == 0 && clean)
        rc = add_normal(p, (struct normal){.kind = NORMAL_CLEAN});
    if (rc == 0 && chinese)
        rc = add_normal(p, (struct normal){.kind = NORMAL_CHINESE});
    if (rc == 0 && accents)
        rc = add_form(p, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    if (rc == 0 && accents)
        rc = add_normal(p, (struct normal){.kind = NORMAL_UNACCENT});
    if (rc == 0 && lower)
        rc = add_normal(p, (struct normal){.kind = NORMAL_LOWER});
    return rc;
}

static const struct kind NORMALIZERS[] = {{"NFC", load_form},
                                          {"NFD", load_form},
                                          {"NFKC", load_form},
                                          {"NFKD", load_form},
                                          {"Prepend", load_prepend},
                                          {"Replace", load_replace},
                                          {"Strip", load_strip},
                                          {"Lowercase", load_chars},
                                          {"StripAccents", load_chars},
                                          {"Nmt", load_chars},
                                          {"ByteLevel", load_chars},
                                          {"Precompiled", load_charsmap},
                                          {"BertNormalizer", load_bert},
                                          {NULL, NULL}};

/* ---- pre_tokenizer -------------------------------------------------------------------- */

static int add_split(struct place *p, struct split s)
{
    if (p->t->n_splits == STEPS_MAX) {
        regex_release(&s.re);
        return refuse(p, ERR_UNSUPPORTED, "too many pre-tokenizers");
    }
    p->t->split[p->t->n_splits++] = s;
    return 0;
}

static int add_regex(struct place *p, const char *re, enum behavior behavior, bool invert)
{
    struct split s = {.behavior = behavior, .invert = invert};
    int rc = regex_compile(&s.re, re, p->at, p->err);
    return rc ? rc : add_split(p, s);
}

static int get_behavior(const struct place *p, const char *dflt, enum behavior *out)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *s;
    int rc = json_str_or(p->o, "behavior", dflt, &s, p->at, p->err);
    for (size_t i = 0; i < ARRAY_LEN(names) && rc == 0 && s; i++)
        if (!strcmp(s, names[i])) {
            *out = (enum behavior)i;
            return 0;
        }
    return rc ? rc
              : err_set(p->err, ERR_UNSUPPORTED, "%s: %s: behavior '%.40s' is not known",
                        p->t->where, p->at, s ? s : "");
}

static int load_split(struct place *p)
{
    struct split s = {.kind = SPLIT_PATTERN};
    int rc = get_behavior(p, NULL, &s.behavior);
    if (rc == 0)
        rc = get_bool(p, "invert", false, &s.invert);
    if (rc == 0)
        rc = get_pattern(p, &s.re);
    return rc ? rc : add_split(p, s);
}

static int load_byte_level(struct place *p)
{
    bool space, regex;
    int rc = get_bool(p, "add_prefix_space", true, &space);
    if (rc == 0)
        rc = get_bool(p, "use_regex", true, &regex);
    if (rc == 0 && space)
        rc = add_split(p, (struct split){.kind = SPLIT_SPACE});
    if (rc == 0 && regex)
        rc = add_regex(p, SPLIT_GPT2, SPLIT_ISOLATED, false);
    return rc ? rc : add_split(p, (struct split){.kind = SPLIT_BYTES});
}

static int load_digits(struct place *p)
{
    bool each;
    int rc = get_bool(p, "individual_digits", false, &each);
    return rc ? rc : add_regex(p, "\\p{N}", each ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, false);
}

static int load_metaspace(struct place *p)
{
    static const char *const schemes[] = {"never", "first", "always"};
    struct split s = {.kind = SPLIT_METASPACE};
    const char *scheme;
    bool prefix;
    int rc = get_text(p, "replacement", "\xE2\x96\x81", &s.mark, NULL);
    if (rc == 0)
        rc = get_bool(p, "add_prefix_space", true, &prefix);
    if (rc == 0)
        rc = json_str_or(p->o, "prepend_scheme", prefix ? "always" : "never", &scheme, p->at,
                         p->err);
    if (rc == 0)
        rc = get_bool(p, "split", true, &s.cut);
    if (rc)
        return rc;
    int found = -1;
    for (int i = 0; i < 3; i++)
        found = strcmp(scheme, schemes[i]) ? found : i;
    if (found < 0 || !*s.mark || char_length(s.mark) != strlen(s.mark))
        return refuse(p, ERR_FORMAT,
                      "expected one character as replacement and prepend_scheme never, first "
                      "or always");
    s.prepend = (enum prepend)found;
    s.behavior = SPLIT_WITH_NEXT;
    rc = regex_literal(&s.re, s.mark, p->err);
    return rc ? rc : add_split(p, s);
}

/* \\w as the regex crate of Rust means it. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}"
#define PUNCTUATION "[!-/:-@\\[-`{-~\\p{P}]"

static int load_plain(struct place *p)
{
    static const char white[] = "\\s";
    const char *type = type_of(p->o), *text;
    enum behavior behavior = SPLIT_ISOLATED;
    int rc = 0;
    if (!strcmp(type, "Whitespace"))
        return add_regex(p, "[" WORD "]+|[^\\s" WORD "]+", SPLIT_REMOVED, true);
    if (!strcmp(type, "WhitespaceSplit"))
        return add_regex(p, white, SPLIT_REMOVED, false);
    if (!strcmp(type, "Punctuation")) {
        rc = get_behavior(p, "Isolated", &behavior);
        return rc ? rc : add_regex(p, PUNCTUATION, behavior, false);
    }
    if (!strcmp(type, "BertPreTokenizer")) {
        rc = add_regex(p, white, SPLIT_REMOVED, false);
        return rc ? rc : add_regex(p, PUNCTUATION, SPLIT_ISOLATED, false);
    }
    struct split s = {.behavior = SPLIT_REMOVED}; // CharDelimiterSplit
    rc = get_text(p, "delimiter", NULL, &text, NULL);
    if (rc == 0)
        rc = regex_literal(&s.re, text, p->err);
    return rc ? rc : add_split(p, s);
}

static const struct kind PRE_TOKENIZERS[] = {
    {"ByteLevel", load_byte_level},     {"Split", load_split},
    {"Metaspace", load_metaspace},      {"Digits", load_digits},
    {"Whitespace", load_plain},         {"WhitespaceSplit", load_plain},
    {"Punctuation", load_plain},        {"BertPreTokenizer", load_plain},
    {"CharDelimiterSplit", load_plain}, {NULL, NULL}};

/* ---- decoder --------------------------------------------------------------------------- */

static int add_decode(struct place *p, struct decode d)
{
    if (p->t->n_decode == STEPS_MAX) {
        regex_release(&d.re);
        return refuse(p, ERR_UNSUPPORTED, "too many decoders");
    }
    p->t->decode[p->t->n_decode++] = d;
    return 0;
}

static int decode_plain(struct place *p)
{
    enum decode_kind kind = !strcmp(type_of(p->o), "ByteLevel")      ? DECODE_BYTE_LEVEL
                            : !strcmp(type_of(p->o), "ByteFallback") ? DECODE_BYTE_FALLBACK
                                                                     : DECODE_FUSE;
    return add_decode(p, (struct decode){.kind = kind});
}

static int decode_strip(struct place *p)
{
    struct decode d = {.kind = DECODE_STRIP};
    int64_t start = 0, stop = 0;
    int rc = get_text(p, "content", NULL, &d.text, &d.n);
    if (rc == 0)
        rc = json_i64_or(p->o, "start", 0, &start, p->at, p->err);
    if (rc == 0)
        rc = json_i64_or(p->o, "stop", 0, &stop, p->at, p->err);
    if (rc == 0 && (!d.n || start < 0 || stop < 0 || start > INT32_MAX || stop > INT32_MAX))
        rc = refuse(p, ERR_FORMAT, "expected a character as content, and counts");
    d.start = (int)start;
    d.stop = (int)stop;
    return rc ? rc : add_decode(p, d);
}

static int decode_replace(struct place *p)
{
    struct decode d = {.kind = DECODE_REPLACE};
    int rc = get_text(p, "content", NULL, &d.text, &d.n);
    if (rc == 0)
        rc = get_pattern(p, &d.re);
    return rc ? rc : add_decode(p, d);
}

static int decode_metaspace(struct place *p)
{
    struct decode d = {.kind = DECODE_METASPACE};
    const char *scheme;
    bool prefix;
    int rc = get_text(p, "replacement", "\xE2\x96\x81", &d.text, &d.n);
    if (rc == 0)
        rc = get_bool(p, "add_prefix_space", true, &prefix);
    if (rc == 0)
        rc = json_str_or(p->o, "prepend_scheme", prefix ? "always" : "never", &scheme, p->at,
                         p->err);
    if (rc == 0)
        d.first = strcmp(scheme, "never") != 0;
    return rc ? rc : add_decode(p, d);
}

static int decode_words(struct place *p)
{
    struct decode d = {.kind = DECODE_WORDPIECE};
    int rc = get_text(p, "prefix", "##", &d.text, &d.n);
    if (rc == 0)
        rc = get_bool(p, "cleanup", true, &d.tidy);
    return rc ? rc : add_decode(p, d);
}

static int decode_suffix(struct place *p)
{
    struct decode d = {.kind = DECODE_SUFFIX};
    int rc = get_text(p, "suffix", "</w>", &d.text, &d.n);
    return rc ? rc : add_decode(p, d);
}

static const struct kind DECODERS[] = {{"ByteLevel", decode_plain},
                                       {"ByteFallback", decode_plain},
                                       {"Fuse", decode_plain},
                                       {"Strip", decode_strip},
                                       {"Replace", decode_replace},
                                       {"Metaspace", decode_metaspace},
                                       {"WordPiece", decode_words},
                                       {"BPEDecoder", decode_suffix},
                                       {NULL, NULL}};

/* ---- all three --------------------------------------------------------------------------- */

/* The last step gives the merges bytes instead of spelling them out first. */
static void use_bytes(struct tokenizer *t)
{
    for (int i = 0; i + 1 < t->n_splits; i++)
        if (t->split[i].kind == SPLIT_BYTES)
            return;
    if (t->n_splits && t->split[t->n_splits - 1].kind == SPLIT_BYTES && t->model == MODEL_BPE &&
        !t->prefix && !t->suffix) {
        t->byte_level = true;
        t->n_splits--;
    }
}

int steps_load(struct tokenizer *t, const json_t *root, struct err *err)
{
    static const struct {
        const char *key, *list;
        const struct kind *kinds;
    } parts[] = {{"normalizer", "normalizers", NORMALIZERS},
                 {"pre_tokenizer", "pretokenizers", PRE_TOKENIZERS},
                 {"decoder", "decoders", DECODERS}};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts) && rc == 0; i++) {
        struct place p = {.t = t, .o = json_object_get(root, parts[i].key), .err = err};
        snprintf(p.at, sizeof p.at, "%s", parts[i].key);
        if (p.o && !json_is_null(p.o))
            rc = load_any(&p, parts[i].kinds, parts[i].list);
    }
    const json_t *decoder = json_object_get(root, "decoder");
    t->spaced = !decoder || json_is_null(decoder);
    use_bytes(t);
    return rc && err && !strstr(err->msg, t->where) ? err_prefix(err, "%s", t->where) : rc;
}
