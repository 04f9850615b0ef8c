/* text.c - strings as characters: UTF-8, white space, case, splitting and replacing.
 *
 * Case mapping is Unicode's simple one plus what it lacks that occurs in real text (sharp s,
 * ligatures, the final sigma, the dotted I).  Bytes that are no UTF-8 stand for themselves. */
#include "model/template/internal.h"

#include <utf8proc.h>

/* ---- characters ------------------------------------------------------------------- */

uint32_t char_at(const char *s, size_t n, size_t *len)
{
    unsigned char c = (unsigned char)*s;
    *len = 1;
    if (c < 0x80)
        return c;
    utf8proc_int32_t cp;
    size_t want = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)s,
                                            (utf8proc_ssize_t)(n < want ? n : want), &cp);
    if (got <= 0)
        return c;
    *len = (size_t)got;
    return (uint32_t)cp;
}

size_t char_before(const char *s, size_t n)
{
    for (size_t back = 1, len; back <= 4 && back <= n; back++) {
        char_at(s + n - back, back, &len);
        if (len == back && (back > 1 || !((unsigned char)s[n - 1] & 0x80)))
            return back;
    }
    return 1;
}

bool is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t space_start(const char *s, size_t n)
{
    size_t at = 0, len;
    while (at < n && is_space(char_at(s + at, n - at, &len)))
        at += len;
    return at;
}

size_t space_end(const char *s, size_t n)
{
    while (n > 0) {
        size_t back = char_before(s, n), len;
        if (!is_space(char_at(s + n - back, back, &len)))
            break;
        n -= back;
    }
    return n;
}

size_t count_chars(const char *s, size_t n)
{
    size_t count = 0, len;
    for (size_t at = 0; at < n; at += len, count++)
        char_at(s + at, n - at, &len);
    return count;
}

size_t char_offset(const char *s, size_t n, size_t index)
{
    size_t at = 0, len;
    for (; at < n && index > 0; at += len, index--)
        char_at(s + at, n - at, &len);
    return at;
}

void add_char(struct buf *b, uint32_t c)
{
    utf8proc_uint8_t s[4];
    buf_add(b, s, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, s));
}

/* ---- stripping -------------------------------------------------------------------- */

static bool among(struct value chars, const char *s, size_t len)
{
    return find_bytes(chars.s, chars.n, s, len) != NULL;
}

struct value strip(struct value v, struct value chars, int sides)
{
    size_t from = 0, to = v.n, len;
    bool space = chars.kind != V_STR;
    if (sides & STRIP_LEFT) {
        if (space)
            from = space_start(v.s, v.n);
        for (; !space && from < to; from += len) {
            char_at(v.s + from, to - from, &len);
            if (!among(chars, v.s + from, len))
                break;
        }
    }
    if (sides & STRIP_RIGHT) {
        if (space)
            to = from + space_end(v.s + from, to - from);
        for (; !space && to > from; to -= len) {
            len = char_before(v.s + from, to - from);
            if (!among(chars, v.s + to - len, len))
                break;
        }
    }
    struct value out = v_str(v.s + from, to - from);
    out.markup = v.markup;
    return out;
}

/* ---- case ------------------------------------------------------------------------- */

static bool is_cased(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

static const char *special_upper(uint32_t c)
{
    static const char *const ligature[] = {"FF", "FI", "FL", "FFI", "FFL", "ST", "ST"};
    return c == 0xDF ? "SS" : c >= 0xFB00 && c <= 0xFB06 ? ligature[c - 0xFB00] : NULL;
}

static const char *special_title(uint32_t c)
{
    static const char *const ligature[] = {"Ff", "Fi", "Fl", "Ffi", "Ffl", "St", "St"};
    return c == 0xDF ? "Ss" : c >= 0xFB00 && c <= 0xFB06 ? ligature[c - 0xFB00] : NULL;
}

/* Is the sigma that ends at byte `end` the last letter of a word? */
static bool final_sigma(const char *s, size_t n, size_t start, size_t end)
{
    size_t len;
    bool before = start > 0;
    if (before) {
        size_t back = char_before(s, start);
        before = is_cased(char_at(s + start - back, back, &len));
    }
    return before && !(end < n && is_cased(char_at(s + end, n - end, &len)));
}

static void add_lower(struct buf *b, uint32_t c, const char *s, size_t n, size_t at, size_t len)
{
    if (c == 0x3A3 && final_sigma(s, n, at, at + len))
        add_char(b, 0x3C2);
    else if (c == 0x130)
        buf_adds(b, "i\xCC\x87");
    else
        add_char(b, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

static void add_upper(struct buf *b, uint32_t c, bool title)
{
    const char *special = title ? special_title(c) : special_upper(c);
    if (special)
        buf_adds(b, special);
    else
        add_char(b, (uint32_t)(title ? utf8proc_totitle((utf8proc_int32_t)c)
                                     : utf8proc_toupper((utf8proc_int32_t)c)));
}

/* Does a word of Jinja's |title begin behind this character? */
static bool begins_word(uint32_t c)
{
    return is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
}

struct value change_case(struct run *r, struct value v, enum text_case how)
{
    size_t len;
    bool start = true; // of a word
    struct buf *b = text_begin(r);
    charge(r, 4 * (size_t)v.n);
    for (size_t at = 0; at < v.n; at += len) {
        uint32_t c = char_at(v.s + at, v.n - at, &len);
        bool is_upper = utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LU;
        bool up =
            how == CASE_UPPER || (how == CASE_SWAP ? !is_upper : how != CASE_LOWER && start);
        if (len == 1 && c >= 0x80)
            buf_add(b, v.s + at, 1);
        else if (up)
            add_upper(b, c, how == CASE_TITLE || how == CASE_CAPITAL);
        else
            add_lower(b, c, v.s, v.n, at, len);
        start = how == CASE_TITLE         ? !is_cased(c)
                : how == CASE_JINJA_TITLE ? begins_word(c)
                                          : false;
    }
    struct value out = text_end(r);
    out.markup = v.markup;
    return out;
}

static bool char_is(uint32_t c, enum text_class what)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    bool letter = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO,
         decimal = k == UTF8PROC_CATEGORY_ND,
         super =
             c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2089),
         numeric = decimal || super || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
    return what == IS_DIGIT     ? decimal || super
           : what == IS_DECIMAL ? decimal
           : what == IS_NUMERIC ? numeric
           : what == IS_ALPHA   ? letter
           : what == IS_ALNUM   ? letter || numeric
           : what == IS_SPACE   ? is_space(c)
                                : c < 0x80;
}

bool is_class(struct value v, enum text_class what)
{
    size_t len;
    bool any = what == IS_ASCII;
    for (size_t at = 0; at < v.n; at += len) {
        uint32_t c = char_at(v.s + at, v.n - at, &len);
        if (what == IS_UPPER ||
            what == IS_LOWER) { // at least one cased character, none of the other case
            utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c),
                                good = what == IS_UPPER ? UTF8PROC_CATEGORY_LU
                                                        : UTF8PROC_CATEGORY_LL;
            any |= k == good;
            if (is_cased(c) && k != good)
                return false;
        } else if (char_is(c, what)) {
            any = true;
        } else {
            return false;
        }
    }
    return any;
}

/* ---- parts ------------------------------------------------------------------------ */

const char *find_bytes(const char *s, size_t n, const char *part, size_t m)
{
    return m ? memmem(s, n, part, m) : s;
}

struct value replace_text(struct run *r, struct value s, struct value old, struct value by,
                          int64_t count)
{
    const char *at = s.s, *end = s.s + s.n;
    struct buf *b = text_begin(r);
    size_t len;
    charge(r, s.n);
    for (; count != 0; count--) {
        const char *hit = find_bytes(at, (size_t)(end - at), old.s, old.n);
        if (!hit)
            break;
        put(r, b, at, (size_t)(hit - at));
        put(r, b, by.s, by.n);
        at = hit + old.n;
        if (old.n == 0) { // between all characters
            if (at == end)
                break;
            char_at(at, (size_t)(end - at), &len);
            put(r, b, at, len);
            at += len;
        }
    }
    put(r, b, at, (size_t)(end - at));
    return text_end(r);
}

static struct value split_words(struct run *r, struct value v, int64_t max)
{
    struct building b = {0};
    size_t at = 0, len;
    for (;;) {
        at += space_start(v.s + at, v.n - at);
        size_t from = at;
        if (at >= v.n)
            return built(r, &b, V_LIST);
        if (max-- == 0) {
            build(r, &b, v_str(v.s + at, space_end(v.s + at, v.n - at)));
            return built(r, &b, V_LIST);
        }
        while (at < v.n && !is_space(char_at(v.s + at, v.n - at, &len)))
            at += len;
        build(r, &b, v_str(v.s + from, at - from));
    }
}

static void turn_round(struct value list)
{
    for (uint32_t i = 0, j = list.list->n; i + 1 < j; i++) {
        struct value t = list.list->v[i];
        list.list->v[i] = list.list->v[--j];
        list.list->v[j] = t;
    }
}

static struct value rsplit_words(struct run *r, struct value v, int64_t max)
{
    struct building b = {0};
    size_t end = v.n, len;
    for (;;) {
        end = space_end(v.s, end);
        size_t to = end;
        if (end == 0)
            break;
        if (max-- == 0) {
            build(r, &b, v_str(v.s, end));
            break;
        }
        while (end > 0) {
            size_t back = char_before(v.s, end);
            if (is_space(char_at(v.s + end - back, back, &len)))
                break;
            end -= back;
        }
        build(r, &b, v_str(v.s + end, to - end));
    }
    struct value out = built(r, &b, V_LIST);
    turn_round(out);
    return out;
}

/* The last place of part in s, or NULL. */
static const char *find_last(const char *s, size_t n, const char *part, size_t m)
{
    for (size_t i = n >= m ? n - m + 1 : 0; i-- > 0;)
        if (!memcmp(s + i, part, m))
            return s + i;
    return NULL;
}

static struct value rsplit_by(struct run *r, struct value v, struct value sep, int64_t max)
{
    struct building b = {0};
    size_t end = v.n;
    while (max-- != 0) {
        const char *hit = find_last(v.s, end, sep.s, sep.n);
        if (!hit)
            break;
        size_t at = (size_t)(hit - v.s) + sep.n;
        build(r, &b, v_str(v.s + at, end - at));
        end = (size_t)(hit - v.s);
    }
    build(r, &b, v_str(v.s, end));
    struct value out = built(r, &b, V_LIST);
    turn_round(out);
    return out;
}

struct value split_text_by(struct run *r, struct value v, struct value sep, int64_t max,
                           bool from_right)
{
    struct building b = {0};
    charge(r, v.n);
    if (sep.kind != V_STR)
        return from_right ? rsplit_words(r, v, max) : split_words(r, v, max);
    if (sep.n == 0)
        run_fail(r, "split: the separator is empty");
    if (from_right)
        return rsplit_by(r, v, sep, max);
    const char *at = v.s, *end = v.s + v.n;
    while (max-- != 0) {
        const char *hit = find_bytes(at, (size_t)(end - at), sep.s, sep.n);
        if (!hit)
            break;
        build(r, &b, v_str(at, (size_t)(hit - at)));
        at = hit + sep.n;
    }
    build(r, &b, v_str(at, (size_t)(end - at)));
    return built(r, &b, V_LIST);
}

static bool ends_line(uint32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

struct value split_lines(struct run *r, struct value v, bool keep_ends)
{
    struct building b = {0};
    size_t from = 0, at = 0, len;
    charge(r, v.n);
    while (at < v.n) {
        uint32_t c = char_at(v.s + at, v.n - at, &len);
        size_t end = at;
        at += len;
        if (!ends_line(c))
            continue;
        if (c == '\r' && at < v.n && v.s[at] == '\n')
            at++;
        build(r, &b, v_str(v.s + from, (keep_ends ? at : end) - from));
        from = at;
    }
    if (from < v.n)
        build(r, &b, v_str(v.s + from, v.n - from));
    return built(r, &b, V_LIST);
}

struct value html_escape(struct run *r, struct value v)
{
    static const char from[] = "&<>'\"", *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;",
                                                        "&#34;"};
    if (v.markup)
        return v;
    struct buf *b = text_begin(r);
    for (size_t i = 0; i < v.n; i++) {
        const char *p = memchr(from, v.s[i], sizeof from - 1);
        put(r, b, p ? to[p - from] : v.s + i, p ? strlen(to[p - from]) : 1);
    }
    struct value out = text_end(r);
    out.markup = true;
    return out;
}
