/* Jinja as chat templates use it: snippets as Jinja2 renders them (tests/cases/chat/jinja.jsonl), real
 * templates with real conversations (tests/vectors/template), and templates that mean harm. */
#include "kit/kit.h"
#include "model/model.h"
#include "model/template/template.h"

#include <sys/stat.h>

/* ---- snippets ---------------------------------------------------------------------- */

static int vars_of(const json_t *o, struct template_var *var)
{
    int n = 0;
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) var[n++] = (struct template_var){key, v};
    return n;
}

static int render(struct buf *out, const char *text, size_t n, const json_t *variables, struct err *err)
{
    struct template *t = NULL;
    struct template_var var[64];
    int rc = template_parse(&t, text, n, "T", err);
    if (rc == 0)
        rc = template_render(t, out, var, vars_of(variables, var), NULL, err);
    template_free(t);
    return rc;
}

static void check_snippet(const json_t *o, const json_t *variables, int line)
{
    json_t *t = json_object_get(o, "template"), *text = json_object_get(o, "text");
    struct buf out = {0};
    struct err err = {0};
    int rc = render(&out, json_string_value(t), json_string_length(t), variables, &err);
    if (text && rc)
        fail_msg("jinja.jsonl, line %d: %s", line, err.msg);
    if (!text && !rc)
        fail_msg("jinja.jsonl, line %d: rendered '%s', Jinja2 says %s", line, out.s,
                 json_string_value(json_object_get(o, "error")));
    if (!text)
        kit_contains(err.msg, "of the chat template: ");
    else if (out.len != json_string_length(text) || memcmp(out.s ? out.s : "", json_string_value(text), out.len))
        fail_msg("jinja.jsonl, line %d: '%s' instead of '%s'", line, out.s, json_string_value(text));
    buf_release(&out);
}

/* Calls f for each line of a file of tests/, the first one given to all. */
static int each_line(const char *path, bool keep_first, void (*f)(const json_t *, const json_t *, int))
{
    size_t n;
    const char *p = kit_slurp(kit_tests(path), &n);
    json_t *first = NULL;
    int line = 0;
    for (; *p; line++) {
        size_t len = strcspn(p, "\n");
        json_t *o = json_loadb(p, len, JSON_ALLOW_NUL, NULL);
        assert_non_null(o);
        if (line == 0 && keep_first)
            first = json_incref(o);
        else
            f(o, json_object_get(first, "variables"), line + 1);
        json_decref(o);
        p += len + (p[len] == '\n');
    }
    json_decref(first);
    return line;
}

static void snippets_render_as_in_jinja2(void **state)
{
    assert_true(each_line("cases/chat/jinja.jsonl", true, check_snippet) > 250);
}

/* ---- real templates ---------------------------------------------------------------- */

static struct tokenizer *tok;
static json_t *conversations;

static int open_tokenizer(void **state)
{
    size_t n;
    struct err err = {0};
    const char *dir = kit_path("tok");
    mkdir(dir, 0755);
    const char *all = kit_slurp(kit_tests("vectors/tokenizer/digits/tokenizer.json"), &n);
    kit_bytes("tok/tokenizer.json", all, n);
    kit_text("tok/tokenizer_config.json",
             "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\", \"pad_token\": \"<pad>\", \"unk_token\": \"<unk>\"}");
    if (tokenizer_open(&tok, dir, &err))
        fail_msg("%s", err.msg);
    conversations = json_read_file(kit_tests("vectors/template/conversations.json"), NULL);
    assert_non_null(conversations);
    return 0;
}
static int close_tokenizer(void **state)
{
    tokenizer_free(tok);
    json_decref(conversations);
    return 0;
}

static struct chat_request request_named(const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(conversations, i, o) if (!strcmp(json_string_value(json_object_get(o, "name")), name)) return (
        struct chat_request){.messages = json_object_get(o, "messages"),
                             .tools = json_object_get(o, "tools"),
                             .documents = json_object_get(o, "documents"),
                             .variables = json_object_get(o, "variables"),
                             .add_generation_prompt = json_is_true(json_object_get(o, "add_generation_prompt")),
                             .continue_field = json_string_value(json_object_get(o, "continue_field"))};
    fail_msg("no conversation '%s'", name);
    return (struct chat_request){0};
}

static void check_vector(const json_t *o, const json_t *unused, int line)
{
    const char *name = json_string_value(json_object_get(o, "template")),
               *talk = json_string_value(json_object_get(o, "conversation")),
               *sha = json_string_value(json_object_get(o, "sha256")), *text = json_string_value(json_object_get(o, "text"));
    static char last[256];
    char path[512], hex[65];
    struct err err = {0};
    struct buf out = {0};
    snprintf(path, sizeof path, "vectors/template/%s", name);
    const char *full = kit_tests(path);
    if (strcmp(last, full) && tokenizer_use_template(tok, full, &err))
        fail_msg("%s", err.msg);
    snprintf(last, sizeof last, "%s", full);
    struct chat_request q = request_named(talk);
    int rc = chat_apply(tok, &out, &q, NULL, &err);
    if (rc && (sha || text))
        fail_msg("%s, %s: %s", name, talk, err.msg);
    if (!rc && !sha && !text)
        fail_msg("%s, %s: rendered, but transformers says %s", name, talk, json_string_value(json_object_get(o, "error")));
    if (text)
        assert_string_equal(out.s ? out.s : "", text);
    if (sha) {
        assert_int_equal(sha256_file(hex, kit_bytes("out", out.s, out.len), NULL), 0);
        if (strcmp(hex, sha))
            fail_msg("%s, %s: another text than transformers'", name, talk);
    }
    buf_release(&out);
}

static void real_templates_render_as_in_transformers(void **state)
{
    assert_true(each_line("vectors/template/expect.jsonl", false, check_vector) >= 400);
}

/* ---- limits ------------------------------------------------------------------------ */

static void refused(const char *text, const char *line, const char *why)
{
    struct buf out = {0};
    struct err err = {0};
    assert_int_not_equal(render(&out, text, strlen(text), NULL, &err), 0);
    kit_contains(err.msg, line);
    kit_contains(err.msg, why);
    assert_int_equal(out.len, 0);
    buf_release(&out);
}

static void templates_without_end_are_stopped(void **state)
{
    refused("{% macro m() %}\n{{ m() }}{% endmacro %}{{ m() }}", "line 2", "deeper than");
    refused("{% for a in range(100000) %}\n{% for b in range(100000) %}{% endfor %}{% endfor %}", "line 2",
            "did not end within");
    refused("{% for a in [1] recursive %}\n{{ loop([1]) }}{% endfor %}", "line 2", "deeper than");
    refused("{% macro f(x) %}{{ x|map('upper')|list }}{{ caller() }}{% endmacro %}{% macro g() %}{% call f([1]) %}{{ g() "
            "}}{% endcall %}{% endmacro %}{{ g() }}",
            "line 1", "deeper than");
}

static void templates_that_grow_without_bound_are_stopped(void **state)
{
    refused("{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}\n{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "line 2", "more than");
    refused("{{ 'x' * 9223372036854775807 }}", "line 1", "chat template: it ");
    refused("{{ [0] * 9223372036854775807 }}", "line 1", "chat template: it ");
    refused("{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}", "line 1",
            "chat template: it ");
    refused("{% set ns = namespace(l=[1]) %}{% for i in range(90000) %}{% set ns.l = [ns.l] %}{% endfor %}\n{{ ns.l }}",
            "line 2", "nested deeper");
    refused("{{ '%9000000000d' % 1 }}", "line 1", "width");
    refused("{{ '{:9000000000}'.format(1) }}", "line 1", "width");
    refused("{{ 'a'.ljust(9223372036854775807) }}", "line 1", "chat template: it ");
    refused("{{ 'a' | indent(9223372036854775807, true) }}", "line 1", "chat template: it ");
    refused("{{ ('a' * 100000)|replace('', 'b' * 100000) }}", "line 1", "chat template: it ");
    refused("{{ [1]|batch(9223372036854775807, 1)|list }}", "line 1", "chat template: it ");
    refused("{{ [1]|slice(9223372036854775807)|list }}", "line 1", "chat template: it ");
    refused("{{ 9223372036854775807 + 1 }}", "line 1", "64 bits");
    refused("{{ 10 ** 400 }}", "line 1", "64 bits");
}

/* n times `open`, then `middle`, then n times `close`. */
static void nested(const char *open, const char *middle, const char *close, int n, const char *why)
{
    struct buf b = {0};
    for (int i = 0; i < n; i++)
        buf_adds(&b, open);
    buf_adds(&b, middle);
    for (int i = 0; i < n; i++)
        buf_adds(&b, close);
    refused(b.s, "line 1", why);
    buf_release(&b);
}

static void deep_nesting_is_refused(void **state)
{
    nested("{{ ", "(", "", 1, "expected an expression");
    nested("{% if 1 %}", "x", "{% endif %}", 5000, "nested deeper");
    nested("{% for a in [1] %}", "x", "{% endfor %}", 5000, "nested deeper");
    struct buf b = {0};
    buf_adds(&b, "{{ ");
    for (int i = 0; i < 50000; i++)
        buf_adds(&b, "- not ");
    buf_adds(&b, "1 }}");
    refused(b.s, "line 1", "");
    buf_clear(&b);
    buf_adds(&b, "{{ 1");
    for (int i = 0; i < 50000; i++)
        buf_adds(&b, " + 1");
    buf_adds(&b, " }}");
    refused(b.s, "line 1", "nested deeper");
    buf_clear(&b);
    buf_adds(&b, "{{ a");
    for (int i = 0; i < 50000; i++)
        buf_adds(&b, ".a");
    buf_adds(&b, " }}");
    refused(b.s, "line 1", "chain");
    buf_release(&b);
}

static void broken_templates_name_the_line(void **state)
{
    refused("a\nb\n{% if x %}", "line 3", "ends inside 'if' of line 3");
    refused("a\n{{ 1 +\n }}", "line 3", "expected an expression");
    refused("a\n\n{% endif %}", "line 3", "unknown tag 'endif'");
    refused("{% include 'x' %}", "line 1", "needs other templates");
    refused("{{ 'a'\n|nope }}", "line 2", "no filter named 'nope'");
    refused("\n{{ raise_exception('no ' + 'system') }}", "line 2", "no system");
    refused("\n\n{{ messages[0].role }}", "line 3", "'messages' is undefined");
}

static void generation_blocks_are_found_again(void **state)
{
    const char *text = "é{% for m in [1, 2] %}[{% generation %}a{{ m }}{% endgeneration %}]{% endfor %}";
    struct template *t = NULL;
    struct template_spans spans = {0};
    struct buf out = {0};
    buf_adds(&out, "before ");
    assert_int_equal(template_parse(&t, text, strlen(text), "T", NULL), 0);
    assert_int_equal(template_render(t, &out, NULL, 0, &spans, NULL), 0);
    assert_string_equal(out.s, "before é[a1][a2]");
    assert_int_equal(spans.n, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(spans.item[i].end - spans.item[i].start, 2);
        assert_memory_equal(out.s + spans.item[i].start, i ? "a2" : "a1", 2);
    }
    free(spans.item);
    buf_release(&out);
    template_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(snippets_render_as_in_jinja2),
    cmocka_unit_test_setup_teardown(real_templates_render_as_in_transformers, open_tokenizer, close_tokenizer),
    cmocka_unit_test(templates_without_end_are_stopped),
    cmocka_unit_test(templates_that_grow_without_bound_are_stopped),
    cmocka_unit_test(deep_nesting_is_refused),
    cmocka_unit_test(broken_templates_name_the_line),
    cmocka_unit_test(generation_blocks_are_found_again),
};
KIT_MAIN(tests)
