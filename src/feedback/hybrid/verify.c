/* feedback/hybrid/verify.c - is an answer right?  Decided by rule, against a reference.
 *
 * A final answer is looked for where its author marks it (answer.c), else where it usually
 * stands: the last number, the last option letter, the first or last sentence.  The rule errs
 * where an author hides the answer, never where a text is merely long or beautiful; how often
 * is measured (tests, docs/hybrid.md). */
#include "feedback/hybrid/hybrid.h"

#include <ctype.h>

enum { MOST = 1 << 20, MAX_OPTIONS = 26 };

static const char *const category_names[CATEGORIES + 1] = {
    "math",          "multiple choice",    "closed QA", "open QA", "extraction",
    "summarization", "classification",     "rewriting", "writing", "translation",
    "code",          "toxicity rejection", NULL,
};

const char *category_name(enum category c)
{
    return category_names[c];
}

int category_from_name(enum category *out, const char *name, struct err *err)
{
    for (int i = 0; i < CATEGORIES; i++) {
        const char *a = name, *b = category_names[i];
        while (*a && *b &&
               (tolower((unsigned char)*a) == tolower((unsigned char)*b) ||
                (*b == ' ' && strchr("-_", *a))))
            a++, b++;
        if (!*a && !*b) {
            *out = (enum category)i;
            return 0;
        }
    }
    const char *near = str_nearest(name, category_names);
    return err_set(err, ERR_VALUE,
                   "category \"%s\" is unknown%s%s%s; there are math, multiple choice, closed "
                   "QA, open QA, extraction, "
                   "summarization, classification, rewriting, writing, translation, code and "
                   "toxicity rejection",
                   name, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

const char *correctness_name(enum correctness v)
{
    static const char *const names[] = {"wrong", "right", "unreadable"};
    return names[v];
}

/* ---- math ------------------------------------------------------------------------------ */

/* GSM8K's calculator notes "<<16-3=13>>" are no part of the answer. */
static char *without_notes(const char *s, size_t n)
{
    char *t = mem_alloc(n + 1, 1);
    size_t k = 0;
    for (size_t i = 0; t && i < n; i++) {
        const char *close = s[i] == '<' && i + 1 < n && s[i + 1] == '<'
                                ? memmem(s + i, n - i < 256 ? n - i : 256, ">>", 2)
                                : NULL;
        if (close)
            i = (size_t)(close - s) + 1;
        else
            t[k++] = s[i];
    }
    return t;
}

struct span {
    const char *at;
    size_t n;
};

/* The text behind the last "=": "2 * 9 = 18" answers 18. */
static struct span behind_equals(struct span a)
{
    const char *e = memrchr(a.at, '=', a.n);
    return e && (size_t)(e + 1 - a.at) < a.n
               ? (struct span){e + 1, a.n - (size_t)(e + 1 - a.at)}
               : a;
}

static void found(struct rule_verdict *out, const char *how, struct span a)
{
    while (a.n && isspace((unsigned char)a.at[0]))
        a.at++, a.n--;
    while (a.n && (isspace((unsigned char)a.at[a.n - 1])))
        a.n--;
    size_t n = a.n < sizeof out->found ? a.n : sizeof out->found - 1;
    n = utf8_valid(a.at, n);
    memcpy(out->found, a.at, n);
    out->found[n] = 0;
    out->how = how;
}

/* The reference's own final answer: of a solution the marked one, of a short answer all of it.
 */
static struct span reference_span(const char *text)
{
    struct span a = {text, strlen(text)};
    const char *how;
    final_answer(&a.at, &a.n, &how, text);
    return a;
}

/* Symbols compared as text: no spaces, no emphasis, no sizes of brackets. */
static bool same_symbols(struct span a, struct span b)
{
    static const char *const nothing[] = {" ",   "\t", "\\left", "\\right", "\\,",
                                          "\\!", "$",  "*",      "\\(",     "\\)"};
    struct buf t[2] = {{0}, {0}};
    struct span both[2] = {a, b};
    for (int k = 0; k < 2; k++) {
        while (both[k].n && strchr(" .\n", both[k].at[both[k].n - 1]))
            both[k].n--;
        for (size_t i = 0; i < both[k].n;) {
            size_t skip = 0;
            for (size_t j = 0; j < ARRAY_LEN(nothing) && !skip; j++)
                if (i + strlen(nothing[j]) <= both[k].n &&
                    !memcmp(both[k].at + i, nothing[j], strlen(nothing[j])))
                    skip = strlen(nothing[j]);
            if (!skip)
                buf_add(&t[k], both[k].at + i, 1);
            i += skip ? skip : 1;
        }
    }
    bool same = !t[0].failed && !t[1].failed && t[0].len && t[0].len == t[1].len &&
                !strncasecmp(t[0].s, t[1].s, t[0].len);
    buf_release(&t[0]);
    buf_release(&t[1]);
    return same;
}

static void verify_math(struct rule_verdict *out, const struct reference *ref,
                        const char *answer)
{
    struct span marked = {answer, 0};
    struct quantity q, gold;
    size_t at = 0, len = 0;
    const char *how = "last number";
    bool has = final_answer(&marked.at, &marked.n, &how, answer), number = false;
    if (has) {
        struct span v = behind_equals(marked);
        number = quantity_parse(&q, v.at, v.n);
        if (number)
            found(out, how, v);
        else if ((number = quantity_find(&q, v.at, v.n, false, &at, &len)))
            found(out, how, (struct span){v.at + at, len});
        else
            found(out, how, marked);
    }
    if (!number) {
        number = quantity_find(&q, answer, strlen(answer), true, &at, &len);
        if (number && !has)
            found(out, "last number", (struct span){answer + at, len});
    }
    out->verdict = number || has ? ANSWER_WRONG : ANSWER_UNREADABLE;
    for (int i = 0; i < ref->n && out->verdict != ANSWER_RIGHT; i++) {
        struct span r = reference_span(ref->text[i]);
        struct span v = behind_equals(r);
        bool symbols = has && same_symbols(marked, r);
        if (symbols ||
            (number && quantity_parse(&gold, v.at, v.n) && quantity_equal(&q, &gold)))
            out->verdict = ANSWER_RIGHT;
        if (number && !symbols && has && out->verdict == ANSWER_RIGHT && !out->found[0])
            found(out, "last number", (struct span){answer + at, len});
    }
}

/* ---- multiple choice --------------------------------------------------------------------- */

struct option_texts {
    char *text[MAX_OPTIONS];
    int n;
}; // normalised

static void options_release(struct option_texts *c)
{
    for (int i = 0; i < c->n; i++)
        free(c->text[i]);
}

static void options_read(struct option_texts *c, const struct reference *ref)
{
    const char *at[26];
    size_t n[26];
    int found = ref->n_options || !ref->prompt ? 0 : options_find(at, n, ref->prompt);
    c->n = 0;
    for (int i = 0; i < ref->n_options && i < MAX_OPTIONS; i++)
        c->text[c->n++] = answer_normalize(ref->option[i], strlen(ref->option[i]));
    for (int i = 0; i < found; i++)
        c->text[c->n++] = answer_normalize(at[i], n[i]);
}

/* An option letter that stands alone at i, or -1.  Bare "A" and "I" before a word are an
 * article and a pronoun. */
static int letter_at(struct span s, size_t i, int options)
{
    char ch = s.at[i], before = i ? s.at[i - 1] : ' ', after = i + 1 < s.n ? s.at[i + 1] : ' ';
    bool bracket = (before == '(' || before == '[' || before == '{') &&
                   (after == ')' || after == ']' || after == '}');
    int k = isupper((unsigned char)ch)                                ? ch - 'A'
            : islower((unsigned char)ch) && (bracket || after == ')') ? ch - 'a'
                                                                      : -1;
    if (k < 0 || k >= options || isalnum((unsigned char)before) ||
        isalnum((unsigned char)after) || before == '\'' || after == '\'' ||
        (unsigned char)before >= 0x80 || before == '_' || after == '_')
        return -1;
    bool word_follows = after == ' ' && i + 2 < s.n && islower((unsigned char)s.at[i + 2]);
    return (ch == 'A' || ch == 'I') && word_follows && !bracket ? -1 : k;
}

static int letter_find(struct span s, int options, bool last, size_t *where)
{
    int found = -1;
    for (size_t i = 0; i < s.n && (found < 0 || last); i++) {
        int k = letter_at(s, i, options);
        if (k >= 0) {
            found = k;
            *where = i;
        }
    }
    return found;
}

static int option_by_text(const struct option_texts *c, struct span s)
{
    char *t = answer_normalize(s.at, s.n);
    int found = -1;
    for (int i = 0; t && i < c->n && *t; i++)
        if (c->text[i] && !strcmp(t, c->text[i]))
            found = i;
    free(t);
    return found;
}

static struct span last_line(const char *s)
{
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    const char *nl = memrchr(s, '\n', n);
    return nl ? (struct span){nl + 1, (size_t)(s + n - nl - 1)} : (struct span){s, n};
}

/* The option that a text settles on, or -1. */
static int option_of(const char **how, struct span *where, const struct option_texts *c,
                     const char *s)
{
    struct span marked = {s, 0}, all = {s, strlen(s)}, line = last_line(s);
    int options = c->n ? c->n : MAX_OPTIONS, k;
    size_t i = 0;
    if (final_answer(&marked.at, &marked.n, how, s)) {
        *where = marked;
        if ((k = option_by_text(c, marked)) >= 0 ||
            (k = letter_find(marked, options, false, &i)) >= 0)
            return k;
    }
    *how = "option text";
    *where = all;
    if ((k = option_by_text(c, all)) >= 0)
        return k;
    *where = line;
    if ((k = option_by_text(c, line)) >= 0)
        return k;
    *how = "letter";
    k = letter_find(all, options, true, &i);
    *where = (struct span){s + i, 1};
    return k;
}

static void verify_choice(struct rule_verdict *out, const struct reference *ref,
                          const char *answer)
{
    struct option_texts c;
    struct span where = {"", 0};
    const char *how = NULL;
    options_read(&c, ref);
    int k = option_of(&how, &where, &c, answer);
    out->verdict = k < 0 ? ANSWER_UNREADABLE : ANSWER_WRONG;
    if (k >= 0)
        found(out, how, where);
    for (int i = 0; i < ref->n && k >= 0; i++) {
        const char *h;
        struct span at;
        if (option_of(&h, &at, &c, ref->text[i]) == k)
            out->verdict = ANSWER_RIGHT;
    }
    options_release(&c);
}

/* ---- closed questions -------------------------------------------------------------------- */

static void closed_try(struct rule_verdict *out, const struct reference *ref, const char *how,
                       struct span a)
{
    char *t = answer_normalize(a.at, a.n);
    for (int i = 0; t && i < ref->n && out->verdict != ANSWER_RIGHT; i++) {
        struct span r = reference_span(ref->text[i]);
        char *g = answer_normalize(r.at, r.n);
        struct quantity x, y;
        bool exact = g && *g && !strcmp(t, g);
        bool number = quantity_parse(&x, a.at, a.n) && quantity_parse(&y, r.at, r.n) &&
                      quantity_equal(&x, &y) && x.unit == y.unit;
        double f1 = exact || number ? 1 : g && *g ? answer_f1(t, g) : 0;
        if (f1 > out->f1 || !out->how) {
            out->f1 = f1;
            found(out, how, a);
        }
        if (f1 >= CLOSED_QA_F1)
            out->verdict = ANSWER_RIGHT;
        free(g);
    }
    free(t);
}

static void verify_closed(struct rule_verdict *out, const struct reference *ref,
                          const char *answer)
{
    struct span all = {answer, strlen(answer)}, marked = {answer, 0};
    const char *how;
    out->verdict = ANSWER_WRONG;
    if (final_answer(&marked.at, &marked.n, &how, answer))
        closed_try(out, ref, how, marked);
    closed_try(out, ref, "whole answer", all);
    closed_try(out, ref, "first line", (struct span){answer, strcspn(answer, "\n.")});
    closed_try(out, ref, "last line", last_line(answer));
}

void verify_rule(struct rule_verdict *out, const struct reference *ref, const char *answer)
{
    *out = (struct rule_verdict){.verdict = ANSWER_UNREADABLE, .how = NULL};
    size_t n = strlen(answer), from = n > MOST ? n - MOST : 0;
    while (from && from < n && ((unsigned char)answer[from] & 0xc0) == 0x80)
        from++;
    const char *start = answer + from;
    if (ref->n == 0 || strspn(start, " \t\r\n") == strlen(start))
        return;
    char *plain = without_notes(start, strlen(start));
    if (!plain)
        return;
    switch (ref->category) {
    case CATEGORY_MATH:
        verify_math(out, ref, plain);
        break;
    case CATEGORY_CHOICE:
        verify_choice(out, ref, plain);
        break;
    case CATEGORY_CLOSED_QA:
        verify_closed(out, ref, plain);
        break;
    default:
        break; // nothing that a rule could check
    }
    free(plain);
}

void hybrid_verify_rule(struct hybrid_item *it)
{
    if (!category_checkable(it->category) || it->ref.n == 0)
        return;
    for (int i = 0; i < it->n; i++) {
        struct hybrid_answer *a = &it->answer[i];
        verify_rule(&a->rule, &it->ref, a->text);
        a->ruled = true;
        a->verdict = a->rule.verdict;
        a->by = "rule";
    }
}
