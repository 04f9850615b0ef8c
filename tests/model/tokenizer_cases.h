/* tokenizer_cases.h - tokenizers of tests/vectors/tokenizer against what others made of the strings
 * in tests/cases/tokenizer. */
#ifndef TESTS_TOKENIZER_CASES_H
#define TESTS_TOKENIZER_CASES_H

#include "kit/kit.h"
#include "model/model.h"

static struct tokenizer *open_good(const char *path)
{
    struct tokenizer *t = NULL;
    struct err err = {0};
    if (tokenizer_open(&t, path, &err))
        fail_msg("%s", err.msg);
    return t;
}

static struct tokenizer *vectors(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "vectors/tokenizer/%s", name);
    return open_good(kit_tests(path));
}

static void check_ids(const struct tokenizer *t, const char *text, size_t n, const json_t *want,
                      int flags, const char *where)
{
    struct tokens k = {0};
    struct err err = {0};
    if (tokenize(t, &k, text, n, flags, &err))
        fail_msg("%s: %s", where, err.msg);
    bool same = (size_t)k.n == json_array_size(want);
    for (int i = 0; i < k.n && same; i++)
        same = k.id[i] == json_integer_value(json_array_get(want, (size_t)i));
    if (!same) {
        struct buf b = {0};
        json_add_text(&b, want, 0);
        buf_adds(&b, ", found [");
        for (int i = 0; i < k.n; i++)
            buf_addf(&b, i ? ", %d" : "%d", k.id[i]);
        fail_msg("%s: %.*s: expected %s]", where, (int)n, text, b.s);
    }
    tokens_release(&k);
}

/* Rows {"text" or "hex", "ids" (specials parsed), "unparsed"?, "with_special"?}. */
static void check_row(const struct tokenizer *t, const json_t *row, const char *where)
{
    const char *text = json_string_value(json_object_get(row, "text")),
               *hex = json_string_value(json_object_get(row, "hex"));
    const json_t *ids = json_object_get(row, "ids"), *plain = json_object_get(row, "unparsed"),
                 *around = json_object_get(row, "with_special");
    struct buf b = {0};
    if (text)
        buf_adds(&b, text);
    for (unsigned c; hex && sscanf(hex, "%2x", &c) == 1; hex += 2)
        buf_add(&b, &(char){(char)c}, 1);
    const char *s = b.s ? b.s : "";
    check_ids(t, s, b.len, ids, TOKENIZE_PARSE_SPECIAL, where);
    check_ids(t, s, b.len, plain ? plain : ids, 0, where);
    check_ids(t, s, b.len, around ? around : ids, TOKENIZE_PARSE_SPECIAL | TOKENIZE_SPECIAL,
              where);
    buf_release(&b);
}

/* "decoded": the text of the ids with what is around them, in one go and token by token. */
static void check_text(const struct tokenizer *t, const json_t *row, const char *where)
{
    const char *want = json_string_value(json_object_get(row, "decoded"));
    const json_t *around = json_object_get(row, "with_special"),
                 *ids = around ? around : json_object_get(row, "ids");
    struct text_stream stream = {0};
    struct buf whole = {0}, parts = {0};
    int id[4096], n = (int)json_array_size(ids);
    assert_true(n <= (int)ARRAY_LEN(id));
    for (int i = 0; i < n; i++) {
        id[i] = (int)json_integer_value(json_array_get(ids, (size_t)i));
        assert_int_equal(text_stream_push(&stream, t, &parts, id[i]), 0);
        assert_int_equal(parts.s ? utf8_valid(parts.s, parts.len) : 0, parts.len);
    }
    assert_int_equal(text_stream_end(&stream, &parts), 0);
    assert_int_equal(detokenize(t, &whole, id, n, false), 0);
    if (strcmp(whole.s ? whole.s : "", want) || strcmp(parts.s ? parts.s : "", want))
        fail_msg("%s: expected '%s', found '%s', token by token '%s'", where, want, whole.s,
                 parts.s);
    text_stream_release(&stream);
    buf_release(&whole);
    buf_release(&parts);
}

static int check_file(const struct tokenizer *t, const char *name)
{
    char path[128];
    size_t n;
    snprintf(path, sizeof path, "cases/tokenizer/%s.jsonl", name);
    const char *all = kit_slurp(kit_tests(path), &n);
    int line = 0;
    assert_non_null(all);
    for (const char *p = all; *p;) {
        size_t len = strcspn(p, "\n");
        char where[64];
        snprintf(where, sizeof where, "%s.jsonl, line %d", name, ++line);
        json_t *row = json_parse(p, len, where, NULL);
        assert_non_null(row);
        check_row(t, row, where);
        if (json_object_get(row, "decoded"))
            check_text(t, row, where);
        json_decref(row);
        p += len + (p[len] == '\n');
    }
    return line;
}

#endif
