/* normal.c - the normal form of a text: a list of steps, each from one buffer into another.
 *
 * As Hugging Face's normalizers, but without their bookkeeping of where each character came
 * from; all that a later step asks is whether the first character is still the first
 * (Metaspace's prepend_scheme "first"). */
#include "model/tokenizer/tokenizer.h"

#include <utf8proc.h>

/* ---- Unicode's forms --------------------------------------------------------------- */

/* Nothing below these characters changes: ASCII, and for NFC whatever is below the marks. */
static bool is_normal(int form, const char *s, size_t n)
{
    bool nfc = (form & UTF8PROC_COMPOSE) && !(form & UTF8PROC_COMPAT);
    unsigned char limit = nfc ? 0xCC : 0x80; // 0xCC is the first byte of U+0300
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] >= limit)
            return false;
    return true;
}

static int unicode_form(int form, struct buf *out, const char *s, size_t n, struct err *err)
{
    if (is_normal(form, s, n)) {
        buf_add(out, s, n);
        return 0;
    }
    utf8proc_uint8_t *made = NULL;
    utf8proc_ssize_t k = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &made,
                                      (utf8proc_option_t)form);
    if (k < 0)
        return err_set(err, ERR_MEMORY, "normal form of %zu bytes: %s", n, utf8proc_errmsg(k));
    buf_add(out, made, (size_t)k);
    free(made);
    return 0;
}

/* ---- character by character --------------------------------------------------------- */

static bool is_control(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
        return c != '\t' && c != '\n' && c != '\r';
    default:
        return false;
    }
}

static bool is_chinese(int32_t c)
{
    static const int32_t range[][2] = {
        {0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
        {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < ARRAY_LEN(range); i++)
        if (c >= range[i][0] && c <= range[i][1])
            return true;
    return false;
}

/* What SentencePiece's nmt rules make of a character: 0: nothing is left of it. */
static int32_t nmt(int32_t c)
{
    if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
        c == 0x9F)
        return 0;
    if (c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
        (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
        c == 0xFEFF || c == 0xFFFD)
        return ' ';
    return c;
}

/* One character's part in a step that knows no neighbours. */
static void each_char(enum normal_kind kind, struct buf *out, const char *s, size_t k,
                      int32_t c)
{
    char made[4];
    switch (kind) {
    case NORMAL_LOWER:
        if (c == 0x130) { // the only one that becomes two
            buf_adds(out, "i\xCC\x87");
            return;
        }
        c = utf8proc_tolower(c);
        break;
    case NORMAL_UNMARK:
        if (char_is_mark(c))
            return;
        break;
    case NORMAL_UNACCENT:
        if (utf8proc_category(c) == UTF8PROC_CATEGORY_MN)
            return;
        break;
    case NORMAL_NMT:
        if (c && !(c = nmt(c)))
            return;
        break;
    case NORMAL_CLEAN:
        if (c == 0 || c == 0xFFFD || is_control(c))
            return;
        c = char_is_space(c) ? ' ' : c;
        break;
    case NORMAL_CHINESE:
        if (is_chinese(c)) {
            buf_addf(out, " %.*s ", (int)k, s);
            return;
        }
        break;
    default:
        break;
    }
    buf_add(out, made, char_put(made, c));
}

static void all_chars(enum normal_kind kind, struct buf *out, const char *s, size_t n,
                      bool *moved)
{
    for (size_t i = 0, k; i < n; i += k) {
        int32_t c = char_code(s + i, n - i, &k);
        each_char(kind, out, s + i, k, c);
        if (i == 0 && !out->len)
            *moved = true;
    }
}

/* ---- the others ---------------------------------------------------------------------- */

static void strip(const struct normal *step, struct buf *out, const char *s, size_t n,
                  bool *moved)
{
    size_t from = 0, k;
    while (step->left && from < n && char_is_space(char_code(s + from, n - from, &k)))
        from += k;
    while (step->right && n > from) {
        size_t b = char_previous(s, n);
        if (!char_is_space(char_code(s + b, n - b, &k)))
            break;
        n = b;
    }
    *moved |= from > 0;
    buf_add(out, s + from, n - from);
}

static int replace(const struct normal *step, struct matching *m, struct buf *out,
                   const char *s, size_t n, bool *moved, struct err *err)
{
    struct finder f = {&step->re, m, s, n, 0, 0};
    size_t done = 0, start, end;
    int found;
    while ((found = finder_next(&f, &start, &end, err)) > 0) {
        buf_add(out, s + done, start - done);
        buf_add(out, step->text, step->n);
        *moved |= start == 0 && end > 0 && !step->n;
        done = end;
    }
    buf_add(out, s + done, n - done);
    return found;
}

static int run(const struct normal *step, struct matching *m, struct buf *out, const char *s,
               size_t n, bool *moved, struct err *err)
{
    char c[2];
    switch (step->kind) {
    case NORMAL_FORM:
        return unicode_form(step->form, out, s, n, err);
    case NORMAL_PREPEND:
        if (n)
            buf_add(out, step->text, step->n);
        buf_add(out, s, n);
        return 0;
    case NORMAL_REPLACE:
        return replace(step, m, out, s, n, moved, err);
    case NORMAL_STRIP:
        strip(step, out, s, n, moved);
        return 0;
    case NORMAL_CHARSMAP:
        charsmap_apply(&step->map, out, s, n);
        return 0;
    case NORMAL_BYTES:
        for (size_t i = 0; i < n; i++)
            buf_add(out, c, (size_t)byte_spell(c, (unsigned char)s[i]));
        return 0;
    default:
        all_chars(step->kind, out, s, n, moved);
        return 0;
    }
}

int normalize(const struct tokenizer *t, struct matching *m, struct buf *out, const char *s,
              size_t n, bool *moved, struct err *err)
{
    struct buf other = {0};
    int rc = 0;
    *moved = false;
    buf_clear(out);
    for (int i = 0; i < t->n_normal && rc == 0; i++) {
        struct buf had = *out; // what the step before made
        *out = other;
        other = had;
        buf_clear(out);
        rc = run(&t->normal[i], m, out, i ? other.s ? other.s : "" : s, i ? other.len : n,
                 moved, err);
    }
    if (rc == 0 && (out->failed || other.failed))
        rc = err_set(err, ERR_MEMORY, "no memory for the normal form of %zu bytes", n);
    buf_release(&other);
    return rc;
}
