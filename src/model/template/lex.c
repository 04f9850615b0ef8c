/* lex.c - a template's text as tokens.
 *
 *   data ─ "{{" print "}}" ─ "{%" tag "%}" ─ "{#" comment "#}" ─ "{% raw %}" data "{% endraw
 * %}"
 *
 * White space around tags is decided here, as Jinja2's lexer does with trim_blocks and
 * lstrip_blocks: a line break after "%}" and "#}" goes away unless "+%}" is written; spaces
 * between the start of a line and "{%" or "{#" go away unless "{%+" is; "-" on either side
 * takes all white space there.  One line break at the very end of the text is dropped. */
#include "model/template/internal.h"

#include <ctype.h>
#include <errno.h>

struct lexer {
    struct parser *p;
    const char *s;
    size_t n, at;
    int line;
    bool line_starting; // nothing but white space can have come before on this line
};

static struct token_at *push(struct lexer *l, int kind)
{
    struct parser *p = l->p;
    struct token_at *t = mem_grow(p->token, &p->cap, (size_t)p->n + 1, sizeof *t);
    if (!t)
        parse_fail(p, 0, "no memory");
    p->token = t;
    t += p->n++;
    *t = (struct token_at){.kind = (uint8_t)kind, .line = l->line};
    return t;
}

static void count_lines(struct lexer *l, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        l->line += l->s[i] == '\n';
}

static bool starts(const struct lexer *l, size_t at, const char *what)
{
    size_t n = strlen(what);
    return l->n - at >= n && !memcmp(l->s + at, what, n);
}

static size_t skip_space(const struct lexer *l, size_t at)
{
    return at + space_start(l->s + at, l->n - at);
}

/* "{%", sign, "raw" or "endraw", and "%}" after it; returns where it ends, or 0. */
static size_t raw_tag(const struct lexer *l, size_t at, const char *word, bool *minus,
                      bool *plus)
{
    if (!starts(l, at, "{%"))
        return 0;
    at += 2;
    if (at < l->n && (l->s[at] == '-' || l->s[at] == '+'))
        at++;
    at = skip_space(l, at);
    if (!starts(l, at, word))
        return 0;
    at = skip_space(l, at + strlen(word));
    *minus = starts(l, at, "-%}");
    *plus = starts(l, at, "+%}");
    at += *minus || *plus;
    return starts(l, at, "%}") ? at + 2 : 0;
}

/* Text up to a tag whose sign is given. */
static void add_data(struct lexer *l, size_t from, size_t to, char sign, bool is_tag)
{
    size_t end = to;
    if (sign == '-') {
        end = from + space_end(l->s + from, to - from);
    } else if (sign != '+' && is_tag) {
        size_t line = to;
        while (line > from && l->s[line - 1] != '\n')
            line--;
        if ((line > from || l->line_starting) &&
            space_start(l->s + line, to - line) == to - line)
            end = line;
    }
    if (end > from)
        push(l, T_DATA)->value = v_str(l->s + from, end - from);
    count_lines(l, from, to);
}

static char sign_at(const struct lexer *l, size_t at)
{
    return at < l->n && (l->s[at] == '-' || l->s[at] == '+') ? l->s[at] : 0;
}

/* Behind "%}" or "#}": what trim_blocks and "-" take as well. */
static size_t after_tag(const struct lexer *l, size_t at, bool minus, bool plus)
{
    if (minus)
        return skip_space(l, at);
    return !plus && at < l->n && l->s[at] == '\n' ? at + 1 : at;
}

static void pass(struct lexer *l, size_t to)
{
    count_lines(l, l->at, to);
    l->line_starting = to > l->at && l->s[to - 1] == '\n';
    l->at = to;
}

static void comment(struct lexer *l, size_t from)
{
    size_t at = from;
    while (at < l->n && !starts(l, at, "#}"))
        at++;
    if (at >= l->n)
        parse_fail(l->p, l->line, "a comment {# has no end #}");
    // the sign may stand right behind "{#" only when it is not the one before "#}"
    bool minus = at > from && l->s[at - 1] == '-', plus = at > from && l->s[at - 1] == '+';
    pass(l, after_tag(l, at + 2, minus, plus));
}

static void raw(struct lexer *l, size_t body)
{
    bool minus, plus;
    for (size_t at = body; at < l->n; at++) {
        size_t end = raw_tag(l, at, "endraw", &minus, &plus);
        if (!end)
            continue;
        add_data(l, body, at, sign_at(l, at + 2), true);
        l->at = at;
        pass(l, after_tag(l, end, minus, plus));
        return;
    }
    parse_fail(l->p, l->line, "{%% raw %%} has no {%% endraw %%}");
}

/* ---- inside tags ------------------------------------------------------------------ */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static uint32_t hex_digits(struct lexer *l, const char *s, size_t left, int n)
{
    uint32_t c = 0;
    for (int i = 0; i < n; i++) {
        if ((size_t)i >= left || !isxdigit((unsigned char)s[i]))
            parse_fail(l->p, l->line, "a string has a broken \\%s escape",
                       n == 2   ? "x"
                       : n == 4 ? "u"
                                : "U");
        c = c * 16 +
            (uint32_t)(isdigit((unsigned char)s[i]) ? s[i] - '0' : (s[i] | 32) - 'a' + 10);
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
        parse_fail(l->p, l->line, "a string's escape \\%c%0*x is no character",
                   n == 4 ? 'u' : 'U', n, c);
    return c;
}

/* What follows a backslash, as Python reads it; returns the bytes used. */
static size_t escape(struct lexer *l, struct buf *b, const char *s, size_t left)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *p = memchr(from, *s, sizeof from - 1);
    if (*s == '\n')
        return 1;
    if (p) {
        buf_add(b, to + (p - from), 1);
        return 1;
    }
    int digits = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0;
    if (digits) {
        add_char(b, hex_digits(l, s + 1, left - 1, digits));
        return 1 + (size_t)digits;
    }
    if (*s >= '0' && *s <= '7') {
        uint32_t c = 0;
        size_t n = 0;
        for (; n < 3 && n < left && s[n] >= '0' && s[n] <= '7'; n++)
            c = c * 8 + (uint32_t)(s[n] - '0');
        add_char(b, c);
        return n;
    }
    if (*s == 'N')
        parse_fail(l->p, l->line, "a string has an escape \\N{NAME}, which is not supported");
    buf_add(b, "\\", 1);
    return 0;
}

static void string(struct lexer *l)
{
    char quote = l->s[l->at];
    size_t at = l->at + 1;
    while (at < l->n && l->s[at] != quote)
        at += l->s[at] == '\\' ? 2 : 1;
    if (at >= l->n)
        parse_fail(l->p, l->line, "a string has no end %c", quote);
    struct buf *b = &l->p->text;
    const char *s = l->s + l->at + 1, *end = l->s + at;
    buf_clear(b);
    while (s < end) {
        if (*s != '\\') {
            buf_add(b, s++, 1);
            continue;
        }
        s++;
        s += escape(l, b, s, (size_t)(end - s));
    }
    if (b->failed)
        parse_fail(l->p, 0, "no memory");
    char *copy = parse_alloc(l->p, b->len + 1); // it may hold NUL
    memcpy(copy, b->len ? b->s : "", b->len);
    push(l, T_STRING)->value = v_str(copy, b->len);
    pass(l, at + 1);
}

/* Digits with single underscores between them; returns where they end. */
static size_t digits(const struct lexer *l, size_t at)
{
    while (at < l->n &&
           (isdigit((unsigned char)l->s[at]) ||
            (l->s[at] == '_' && at + 1 < l->n && isdigit((unsigned char)l->s[at + 1]))))
        at++;
    return at;
}

/* End of a float that begins at `at`, or `at` when there is none. */
static size_t float_end(const struct lexer *l, size_t at)
{
    size_t whole = digits(l, at), end = whole;
    if (at > 0 && l->s[at - 1] == '.')
        return at;
    if (end + 1 < l->n && l->s[end] == '.' && isdigit((unsigned char)l->s[end + 1]))
        end = digits(l, end + 1);
    if (end < l->n && (l->s[end] | 32) == 'e') {
        size_t e = end + 1;
        e += e < l->n && (l->s[e] == '+' || l->s[e] == '-');
        if (e < l->n && isdigit((unsigned char)l->s[e]))
            end = digits(l, e);
    }
    return end == whole ? at : end;
}

static void number(struct lexer *l)
{
    size_t end = float_end(l, l->at), n = 0;
    bool real = end > l->at, based = false;
    char text[400];
    if (!real) {
        char kind = l->at + 1 < l->n && l->s[l->at] == '0' ? (char)(l->s[l->at + 1] | 32) : 0;
        based = (kind == 'x' || kind == 'o' || kind == 'b') && l->at + 2 < l->n &&
                isxdigit((unsigned char)l->s[l->at + 2]);
        if (based)
            for (end = l->at + 2;
                 end < l->n && (isxdigit((unsigned char)l->s[end]) || l->s[end] == '_');)
                end++;
        else if (l->s[l->at] == '0')
            for (end = l->at + 1; end < l->n && (l->s[end] == '0' ||
                                                 (l->s[end] == '_' && l->s[end + 1] == '0'));)
                end++;
        else
            end = digits(l, l->at);
    }
    for (size_t i = l->at; i < end && n + 1 < sizeof text; i++)
        if (l->s[i] != '_')
            text[n++] = l->s[i];
    text[n] = 0;
    struct value v;
    int64_t i;
    if (real)
        v = v_float(strtod(text, NULL));
    else if (parse_int(v_str(text, n), based ? 0 : 10, &i))
        v = v_int(i);
    else
        parse_fail(l->p, l->line, "the number %.40s does not fit 64 bits", text);
    push(l, T_NUMBER)->value = v;
    pass(l, end);
}

static void name(struct lexer *l)
{
    size_t end = l->at;
    while (end < l->n && is_word(l->s[end]))
        end++;
    push(l, T_NAME)->value = v_str(l->s + l->at, end - l->at);
    pass(l, end);
}

/* An operator; brackets are counted, for a "}}" inside them ends no tag. */
static void operator(struct lexer *l, char *open, int *depth)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = l->s[l->at];
    for (size_t i = 0; i < ARRAY_LEN(two); i++)
        if (starts(l, l->at, two[i])) {
            push(l, T_OP)->op = OP2((uint16_t)two[i][0], (uint16_t)two[i][1]);
            pass(l, l->at + 2);
            return;
        }
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c))
        parse_fail(l->p, l->line, "unexpected character '%c' (byte %d) in a tag",
                   isprint((unsigned char)c) ? c : '?', (unsigned char)c);
    if (strchr("([{", c)) {
        if (*depth >= TEMPLATE_NESTING_MAX)
            parse_fail(l->p, l->line, "brackets are nested deeper than %d",
                       TEMPLATE_NESTING_MAX);
        open[(*depth)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (strchr(")]}", c)) {
        if (*depth == 0)
            parse_fail(l->p, l->line, "unexpected '%c'", c);
        if (open[--*depth] != c)
            parse_fail(l->p, l->line, "unexpected '%c', expected '%c'", c, open[*depth]);
    }
    push(l, T_OP)->op = (uint16_t)c;
    pass(l, l->at + 1);
}

/* Ends the tag when its end stands here. */
static bool tag_end(struct lexer *l, bool print)
{
    const char *close = print ? "}}" : "%}";
    bool minus = l->s[l->at] == '-' && starts(l, l->at + 1, close),
         plus = !print && l->s[l->at] == '+' && starts(l, l->at + 1, close);
    if (!minus && !plus && !starts(l, l->at, close))
        return false;
    push(l, print ? T_PRINT_END : T_TAG_END);
    size_t end = l->at + 2 + (minus || plus);
    pass(l, print ? (minus ? skip_space(l, end) : end) : after_tag(l, end, minus, plus));
    return true;
}

static void tag(struct lexer *l, bool print)
{
    char open[TEMPLATE_NESTING_MAX];
    int depth = 0;
    push(l, print ? T_PRINT : T_TAG);
    while (l->at < l->n) {
        size_t space = space_start(l->s + l->at, l->n - l->at);
        char c = l->s[l->at];
        if (depth == 0 && tag_end(l, print))
            return;
        if (space)
            pass(l, l->at + space);
        else if (isdigit((unsigned char)c))
            number(l);
        else if (is_word(c))
            name(l);
        else if (c == '\'' || c == '"')
            string(l);
        else
            operator(l, open, &depth);
    }
}

/* ---- the whole text --------------------------------------------------------------- */

static bool is_opening(const struct lexer *l, size_t at)
{
    return l->s[at] == '{' && at + 1 < l->n &&
           (l->s[at + 1] == '{' || l->s[at + 1] == '%' || l->s[at + 1] == '#');
}

static void lex_from(struct lexer *l)
{
    while (l->at < l->n) {
        size_t at = l->at;
        while (at < l->n && !is_opening(l, at))
            at++;
        if (at == l->n) {
            add_data(l, l->at, at, '+', false);
            break;
        }
        char sign = sign_at(l, at + 2), kind = l->s[at + 1];
        bool minus, plus;
        size_t body = kind == '%' ? raw_tag(l, at, "raw", &minus, &plus) : 0;
        if (body && plus) // "+%}" is no end of {% raw
            body = 0;
        add_data(l, l->at, at, sign, kind != '{');
        l->at = at;
        if (body) {
            pass(l, minus ? skip_space(l, body) : body);
            raw(l, l->at);
            continue;
        }
        pass(l, at + 2 + (sign != 0));
        l->line_starting = false;
        if (kind == '#')
            comment(l, l->at);
        else
            tag(l, kind == '{');
    }
}

/* "\r\n" and "\r" become "\n"; the last one goes. */
static size_t plain_lines(char *to, const char *s, size_t n)
{
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\r' && i + 1 < n && s[i + 1] == '\n')
            continue;
        to[m++] = s[i] == '\r' ? '\n' : s[i];
    }
    return m > 0 && to[m - 1] == '\n' ? m - 1 : m;
}

void lex(struct parser *p, const char *text, size_t n)
{
    char *copy = parse_alloc(p, n + 1);
    struct lexer l = {.p = p, .s = copy, .line = 1, .line_starting = true};
    l.n = plain_lines(copy, text, n);
    copy[l.n] = 0;
    lex_from(&l);
    push(&l, T_EOF);
}
