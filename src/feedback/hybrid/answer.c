/* feedback/hybrid/answer.c - the final answer of a text, the options of a question, texts made
 * alike.
 *
 * A final answer is what an author marks as one.  Marks, the stronger first: \boxed{...}; "####
 * ..." (GSM8K); the last of "the answer is", "Answer:", and a line that begins with "A:".  What
 * nobody marked is left to verify.c. */
#include "feedback/hybrid/hybrid.h"

#include <ctype.h>
#include <utf8proc.h>

/* ---- the final answer ------------------------------------------------------------------ */

static const char *find_last(const char *s, const char *word)
{
    const char *last = NULL;
    for (const char *p = s; (p = strstr(p, word)); p += strlen(word))
        last = p;
    return last;
}

static bool boxed(const char **at, size_t *n, const char *s)
{
    const char *p = find_last(s, "\\boxed{"), *fbox = find_last(s, "\\fbox{");
    if (fbox && (!p || fbox > p))
        p = fbox;
    if (!p)
        return false;
    p = strchr(p, '{') + 1;
    int depth = 1;
    const char *e = p;
    for (; *e; e++) {
        depth += *e == '{' ? 1 : *e == '}' ? -1 : 0;
        if (depth == 0)
            break;
    }
    *at = p;
    *n = (size_t)(e - p);
    return depth == 0; // an open box was cut off
}

/* The rest of the line, or the next line that holds something. */
static void line_behind(const char **at, size_t *n, const char *p)
{
    while (*p && (isspace((unsigned char)*p) || strchr(":*_", *p)))
        p++;
    *at = p;
    *n = strcspn(p, "\n");
}

static bool word_at(const char *p, const char *word)
{
    return !strncasecmp(p, word, strlen(word));
}

/* Where a mark at p ends, or NULL. */
static const char *mark(const char *s, const char *p)
{
    static const char *const marks[] = {
        "answer is", "answer:",  "answer would be",   "answer to the question is",
        "answer**:", "answer =", "answer\xef\xbc\x9a"};
    for (size_t i = 0; i < ARRAY_LEN(marks) && (*p | 32) == 'a'; i++)
        if (word_at(p, marks[i]) && (p == s || !isalnum((unsigned char)p[-1])))
            return p + strlen(marks[i]);
    if (p[0] == 'A' && p[1] == ':' && (p == s || p[-1] == '\n'))
        return p + 2;
    return NULL;
}

bool final_answer(const char **at, size_t *n, const char **how, const char *s)
{
    const char *p, *last = NULL;
    *how = "boxed";
    if (boxed(at, n, s))
        return true;
    *how = "####";
    if ((p = find_last(s, "####"))) {
        line_behind(at, n, p + 4);
        return *n > 0;
    }
    *how = "answer";
    for (p = s; *p; p++) {
        const char *behind = mark(s, p);
        if (behind) {
            last = behind;
            p = behind - 1;
        }
    }
    if (last)
        line_behind(at, n, last);
    return last && *n > 0;
}

/* ---- options ----------------------------------------------------------------------------- */

/* "B. text", "(B) text", "B) text", "B: text" where a line or a clause begins; the text's
 * place, or NULL. */
static const char *option_at(const char *s, const char *p, char letter)
{
    bool open = p[0] == '(';
    p += open;
    if (p[0] != letter || !p[1] || !strchr(open ? ")" : ".):", p[1]))
        return NULL;
    p += 2;
    while (*p == ' ' || *p == '\t')
        p++;
    return *p && *p != '\n' ? p : NULL;
}

int options_find(const char *at[26], size_t n[26], const char *prompt)
{
    int found = 0;
    for (const char *p = prompt; *p && found < 26; p++) {
        if (!(p == prompt || isspace((unsigned char)p[-1]) ||
              (p[-1] == '(' && p > prompt + 1)) ||
            (*p != '(' && !isupper((unsigned char)*p)))
            continue;
        const char *text = option_at(prompt, p, (char)('A' + found)),
                   *again = found ? option_at(prompt, p, 'A') : NULL;
        if (!text && again) { // another list begins: the last one counts
            found = 0;
            text = again;
        }
        if (!text)
            continue;
        if (found)
            n[found - 1] = (size_t)(p - at[found - 1]);
        at[found] = text;
        n[found++] = strcspn(text, "\n");
    }
    for (int i = 0; i < found; i++) {
        size_t line = strcspn(at[i], "\n");
        n[i] = n[i] < line ? n[i] : line;
        while (n[i] && isspace((unsigned char)at[i][n[i] - 1]))
            n[i]--;
    }
    return found >= 2 ? found : 0;
}

/* ---- closed questions -------------------------------------------------------------------- */

static bool article(const char *w, size_t n)
{
    return (n == 1 && *w == 'a') || (n == 2 && !memcmp(w, "an", 2)) ||
           (n == 3 && !memcmp(w, "the", 3));
}

char *answer_normalize(const char *s, size_t n)
{
    utf8proc_uint8_t *folded = NULL;
    utf8proc_option_t how =
        UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;
    utf8proc_ssize_t len =
        utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &folded, how);
    struct buf b = {0};
    const char *p = len >= 0 ? (const char *)folded : s,
               *end = p + (len >= 0 ? (size_t)len : n);
    buf_adds(&b, "");
    while (p < end) {
        char word[512];
        size_t k = 0;
        for (; p < end && k < sizeof word - 4;) {
            utf8proc_int32_t c = 0;
            utf8proc_ssize_t bytes =
                utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)(end - p), &c);
            if (bytes <= 0)
                bytes = 1, c = ' ';
            utf8proc_category_t kind = utf8proc_category(c);
            bool space = c <= ' ' || kind == UTF8PROC_CATEGORY_ZS,
                 sign = kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
            bool dash = kind == UTF8PROC_CATEGORY_PD; // "forty-two" is two words
            if (!space && !sign) {
                memcpy(word + k, p, (size_t)bytes);
                k += (size_t)bytes;
            }
            p += bytes;
            if (space || dash)
                break;
        }
        if (k && !article(word, k)) {
            buf_adds(&b, b.len ? " " : "");
            buf_add(&b, word, k);
        }
    }
    free(folded);
    return buf_take(&b);
}

struct words {
    const char *at[1024];
    size_t n[1024];
    bool used[1024];
    int count;
};

static void split_words(struct words *w, const char *s)
{
    for (w->count = 0; *s && w->count < 1024; w->count++) {
        w->at[w->count] = s;
        w->n[w->count] = strcspn(s, " ");
        w->used[w->count] = false;
        s += w->n[w->count];
        s += *s == ' ';
    }
    if (*s)
        w->count++; // more than we compare: a text that long is no short answer
}

double answer_f1(const char *a, const char *b)
{
    struct words *x = mem_alloc(2, sizeof *x), *y = x + 1;
    double f1 = 0;
    if (!x)
        return 0;
    split_words(x, a);
    split_words(y, b);
    int common = 0;
    for (int i = 0; i < x->count && x->count <= 1024 && y->count <= 1024; i++)
        for (int k = 0; k < y->count; k++)
            if (!y->used[k] && x->n[i] == y->n[k] && !memcmp(x->at[i], y->at[k], x->n[i])) {
                y->used[k] = true;
                common++;
                break;
            }
    if (x->count + y->count)
        f1 = 2.0 * common / (x->count + y->count);
    else
        f1 = 1; // both empty
    free(x);
    return f1;
}
