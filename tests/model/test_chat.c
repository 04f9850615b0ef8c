/* test_chat.c - chat templates: what Jinja makes of them (tests/cases/chat), and what is
 * refused. */
#include "kit/kit.h"
#include "model/format/format.h"
#include "model/model.h"

#include <sys/stat.h>

static void put(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

/* The digits tokenizer with a chat template (NULL: none), in tokenizer_config.json or in a file
 * of its own. */
static struct tokenizer *with_template(const char *template, bool own_file)
{
    size_t n;
    const char *dir = kit_path(own_file ? "own" : template ? "config" : "none");
    char *path = path_join(dir, "tokenizer.json"),
         *config = path_join(dir, "tokenizer_config.json"),
         *jinja = path_join(dir, "chat_template.jinja");
    struct tokenizer *t = NULL;
    struct err err = {0};
    mkdir(dir, 0755);
    const char *all = kit_slurp(kit_tests("vectors/tokenizer/digits/tokenizer.json"), &n);
    put(path, all, n);
    if (template && own_file)
        put(jinja, template, strlen(template));
    if (template && !own_file) {
        json_t *o = json_pack("{s[{ss ss} {ss ss}]}", "chat_template", "name", "tools",
                              "template", "other", "name", "default", "template", template);
        char *text = json_dumps(o, 0);
        put(config, text, strlen(text));
        free(text);
        json_decref(o);
    }
    if (tokenizer_open(&t, dir, &err))
        fail_msg("%s", err.msg);
    free(path);
    free(config);
    free(jinja);
    return t;
}

static void check_case(const json_t *o, int line, bool own_file)
{
    const json_t *list = json_object_get(o, "messages");
    struct chat_message msg[8];
    struct buf out = {0};
    struct err err = {0};
    int n = (int)json_array_size(list);
    struct tokenizer *t =
        with_template(json_string_value(json_object_get(o, "template")), own_file);
    for (int i = 0; i < n; i++) {
        const json_t *m = json_array_get(list, (size_t)i);
        msg[i] = (struct chat_message){json_string_value(json_object_get(m, "role")),
                                       json_string_value(json_object_get(m, "content"))};
    }
    if (chat_render(t, &out, msg, n, json_is_true(json_object_get(o, "add_generation_prompt")),
                    &err))
        fail_msg("line %d: %s", line, err.msg);
    assert_string_equal(out.s ? out.s : "", json_string_value(json_object_get(o, "text")));
    buf_release(&out);
    tokenizer_free(t);
}

static void chatml_renders_as_jinja_does(void **state)
{
    size_t n;
    const char *all = kit_slurp(kit_tests("cases/chat/chatml.jsonl"), &n);
    int line = 0;
    for (const char *p = all; *p; line++) {
        size_t len = strcspn(p, "\n");
        json_t *o = json_parse(p, len, "chatml.jsonl", NULL);
        check_case(o, line + 1, line % 2);
        json_decref(o);
        p += len + (p[len] == '\n');
    }
    assert_true(line >= 50);
}

static void refused(const char *template, int code, const char *part)
{
    struct buf out = {0};
    struct err err = {0};
    struct chat_message m = {"user", "hi"};
    struct tokenizer *t = with_template(template, true);
    assert_int_equal(chat_render(t, &out, &m, 1, true, &err), code);
    kit_contains(err.msg, part);
    assert_int_equal(out.len, 0);
    buf_release(&out);
    tokenizer_free(t);
}

static void broken_templates_are_refused_when_used_not_when_loaded(void **state)
{
    refused("{% for m in messages %}", ERR_UNSUPPORTED, "own/chat_template.jinja: line 1 of the chat template");
    refused("\n{{ messages[1].role.x }}", ERR_VALUE, "line 2 of the chat template");
    refused("{{ raise_exception('no users') }}", ERR_VALUE, "no users");
    struct buf out = {0};
    struct err err = {0};
    struct tokenizer *t = with_template(NULL, false);
    assert_int_equal(chat_render(t, &out, NULL, 0, true, &err), ERR_UNSUPPORTED);
    kit_contains(err.msg, "no chat template");
    tokenizer_free(t);
}

/* ---- which template, which variables ------------------------------------------------ */

static void renders(const struct tokenizer *t, struct chat_request q, const char *expected)
{
    struct buf out = {0};
    struct err err = {0};
    json_t *m = json_pack("[{ss ss}]", "role", "user", "content", "hi");
    q.messages = m;
    if (chat_apply(t, &out, &q, NULL, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(out.s ? out.s : "", expected);
    buf_release(&out);
    json_decref(m);
}

static void templates_are_chosen_by_name_by_tools_and_by_file(void **state)
{
    const char *dir = kit_path("several"), *sub = kit_path("several/additional_chat_templates");
    size_t n;
    struct err err = {0};
    struct tokenizer *t = NULL;
    mkdir(dir, 0755);
    mkdir(sub, 0755);
    const char *all = kit_slurp(kit_tests("vectors/tokenizer/digits/tokenizer.json"), &n);
    kit_bytes("several/tokenizer.json", all, n);
    kit_text("several/tokenizer_config.json", "{\"chat_template\": \"unused\", \"bos_token\": \"<s>\"}");
    kit_text("several/chat_template.jinja", "default {{ bos_token }}");
    kit_text("several/additional_chat_templates/tool_use.jinja", "tools {{ tools|length }}");
    kit_text("several/additional_chat_templates/rag.jinja", "rag {{ x }}{{ tools is none }}");
    const char *own = kit_text("own.jinja", "own {{ messages[0].content }}");
    if (tokenizer_open(&t, dir, &err))
        fail_msg("%s", err.msg);
    json_t *tools = json_pack("[{}]"), *vars = json_pack("{si ss}", "x", 7, "bos_token", "<b>");
    renders(t, (struct chat_request){0}, "default <s>");
    renders(t, (struct chat_request){.variables = vars}, "default <b>");
    renders(t, (struct chat_request){.tools = tools}, "tools 1");
    renders(t, (struct chat_request){.template = "rag", .variables = vars}, "rag 7True");
    struct chat_request q = {.template = "none", .messages = tools};
    struct buf out = {0};
    assert_int_equal(chat_apply(t, &out, &q, NULL, &err), ERR_MISSING);
    kit_contains(err.msg, "'default', 'rag', 'tool_use'");
    json_t *again = json_pack("{s[]}", "messages");
    q = (struct chat_request){.messages = tools, .variables = again};
    assert_int_equal(chat_apply(t, &out, &q, NULL, &err), ERR_VALUE);
    kit_contains(err.msg, "'messages' is set by the request");
    mkdir(kit_path("copy"), 0755);
    assert_int_equal(tokenizer_save(t, kit_path("copy"), NULL), 0);
    assert_true(kit_exists(kit_path("copy/additional_chat_templates/rag.jinja")));
    assert_int_equal(tokenizer_use_template(t, own, NULL), 0);
    renders(t, (struct chat_request){.tools = tools}, "own hi");
    assert_int_equal(tokenizer_use_template(t, "chatml", NULL), 0);
    renders(t, (struct chat_request){0}, "<|im_start|>user\nhi<|im_end|>\n");
    assert_int_equal(tokenizer_use_template(t, "nowhere.jinja", &err), ERR_MISSING);
    json_decref(tools);
    json_decref(vars);
    json_decref(again);
    buf_release(&out);
    tokenizer_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(chatml_renders_as_jinja_does),
    cmocka_unit_test(broken_templates_are_refused_when_used_not_when_loaded),
    cmocka_unit_test(templates_are_chosen_by_name_by_tools_and_by_file),
};
KIT_MAIN(tests)
