/* regex.c - patterns: regular expressions by PCRE2 (UTF, Unicode properties, JIT) with the
 * meaning Oniguruma gives them, which is the engine of Hugging Face's tokenizers; and plain
 * strings.
 *
 * What differs between the two is rewritten: \s is exactly Unicode's White_Space (PCRE2 counts
 * U+180E as well), \w letters, marks, numbers and connectors, \h a hexadecimal digit; ^ and $
 * match at lines.  Where they cannot be made to agree (intersections of classes), the pattern
 * is refused.  Text is valid UTF-8 here (tokenizer.c sees to that). */
#include "model/tokenizer/tokenizer.h"

enum { MATCH_LIMIT = 50 * 1000 * 1000 };
static const char SPACE[] = "\\t-\\r \\x{85}\\p{Z}", WORD[] = "\\p{L}\\p{M}\\p{N}\\p{Pc}",
                  HEX[] = "0-9A-Fa-f";

/* The set an escape stands for; NULL: PCRE2 means the same by it. */
static const char *meaning(char c)
{
    return c == 's' ? SPACE : c == 'w' ? WORD : c == 'h' ? HEX : NULL;
}

/* Where the set that begins at p ([) has its first member, and where a [:name:] in it ends. */
static const char *set_inside(const char *p)
{
    p += 1 + (p[1] == '^');
    return p + (*p == ']');
}
static const char *name_end(const char *p)
{
    const char *end = p[1] == ':' ? strstr(p, ":]") : NULL;
    return end ? end + 2 : p;
}

/* False where a set holds what PCRE2 has no words for: another set, or &&. */
static bool rewrite(struct buf *out, const char *re)
{
    bool in_set = false;
    for (const char *p = re, *next; *p; p = next) {
        bool escape = *p == '\\' && p[1];
        const char *set = escape ? meaning(p[1]) : NULL,
                   *others = escape && !in_set ? meaning((char)(p[1] | 32)) : NULL;
        next = p + 1 + escape;
        if (!escape && *p == '[')
            next = in_set ? name_end(p) : set_inside(p);
        if (in_set && ((*p == '[' && next == p) || (*p == '&' && p[1] == '&')))
            return false;
        if (set)
            buf_addf(out, in_set ? "%s" : "[%s]", set);
        else if (others)
            buf_addf(out, "[^%s]", others);
        else
            buf_add(out, p, (size_t)(next - p));
        in_set = (in_set || (!escape && *p == '[')) && (escape || *p != ']');
    }
    return true;
}

int regex_compile(struct regex *out, const char *re, const char *where, struct err *err)
{
    int code = 0;
    PCRE2_SIZE at;
    struct buf b = {0};
    bool known = rewrite(&b, re);
    if (b.failed || !b.s || !known) {
        bool failed = b.failed;
        buf_release(&b);
        return failed ? err_set(err, ERR_MEMORY, "%s: no memory for a pattern", where)
                      : err_set(err, ERR_UNSUPPORTED,
                                "%s: regular expression '%.200s': %s is not supported", where,
                                re, known ? "an empty one" : "a set within a set, or &&,");
    }
    pcre2_code *p = pcre2_compile(
        (PCRE2_SPTR)b.s, b.len,
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    buf_release(&b);
    if (!p) {
        char why[120] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(err, ERR_UNSUPPORTED, "%s: regular expression '%.200s': %s", where, re,
                       why);
    }
    // where there is no JIT the interpreter does the same, slower
    pcre2_jit_compile(p, PCRE2_JIT_COMPLETE);
    *out = (struct regex){.code = p};
    return 0;
}

int regex_literal(struct regex *out, const char *s, struct err *err)
{
    *out = (struct regex){.literal = str_printf("%s", s), .n = strlen(s)};
    return out->literal ? 0 : err_set(err, ERR_MEMORY, "no memory for a pattern");
}

void regex_release(struct regex *re)
{
    pcre2_code_free(re->code);
    free(re->literal);
    *re = (struct regex){0};
}

void matching_release(struct matching *m)
{
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    *m = (struct matching){0};
}

/* ---- finding ---------------------------------------------------------------------- */

static bool ready(struct matching *m)
{
    if (!m->data)
        m->data = pcre2_match_data_create(1, NULL);
    if (!m->limits && (m->limits = pcre2_match_context_create(NULL)))
        pcre2_set_match_limit(m->limits, MATCH_LIMIT);
    return m->data && m->limits;
}

static int match(const struct finder *f, size_t *start, size_t *end, struct err *err)
{
    if (!f->re->code) {
        const char *at = f->re->n
                             ? memmem(f->s + f->from, f->n - f->from, f->re->literal, f->re->n)
                             : f->s + f->from;
        if (at) {
            *start = (size_t)(at - f->s);
            *end = *start + f->re->n;
        }
        return at != NULL;
    }
    if (!ready(f->m))
        return err_set(err, ERR_MEMORY, "no memory to match a pattern");
    int rc = pcre2_match(f->re->code, (PCRE2_SPTR)f->s, f->n, f->from, PCRE2_NO_UTF_CHECK,
                         f->m->data, f->m->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) // the interpreter keeps its stack on the heap
        rc = pcre2_match(f->re->code, (PCRE2_SPTR)f->s, f->n, f->from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, f->m->data, f->m->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0) {
        char why[120] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(err, ERR_VALUE, "matching a pattern in a text of %zu bytes: %s", f->n,
                       why);
    }
    *start = pcre2_get_ovector_pointer(f->m->data)[0];
    *end = pcre2_get_ovector_pointer(f->m->data)[1];
    return 1;
}

int finder_next(struct finder *f, size_t *start, size_t *end, struct err *err)
{
    while (f->from <= f->n) {
        int rc = match(f, start, end, err);
        if (rc <= 0)
            return rc;
        if (*end < *start) // \K in a look-behind can do this
            *end = *start;
        if (*start == *end && f->last == *end + 1) {
            f->from = *end < f->n ? *end + char_length(f->s + *end) : f->n + 1;
            continue;
        }
        f->from = *end;
        f->last = *end + 1;
        return 1;
    }
    return 0;
}
