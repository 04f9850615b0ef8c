/* test_chat.c - chat templates: what Jinja makes of them (tests/cases/chat), and what is
 * refused. */
#include "kit/kit.h"
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

static void refused(const char *template, const char *part)
{
    struct buf out = {0};
    struct err err = {0};
    struct chat_message m = {"user", "hi"};
    struct tokenizer *t = with_template(template, true);
    assert_int_equal(chat_render(t, &out, &m, 1, true, &err), ERR_UNSUPPORTED);
    kit_contains(err.msg, part);
    assert_int_equal(out.len, 0);
    buf_release(&out);
    tokenizer_free(t);
}

static void other_templates_are_refused_when_used_not_when_loaded(void **state)
{
    refused("{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
            "not one of the ChatML templates");
    refused("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' "
            "%}{{ '<|im_start|>system\nX' + y + '<|im_end|>\n' }}"
            "{% endif %}",
            "not one of the ChatML templates");
    refused("", "not one of the ChatML templates");
    struct buf out = {0};
    struct err err = {0};
    struct tokenizer *t = with_template(NULL, false);
    assert_int_equal(chat_render(t, &out, NULL, 0, true, &err), ERR_UNSUPPORTED);
    kit_contains(err.msg, "no chat template");
    tokenizer_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(chatml_renders_as_jinja_does),
    cmocka_unit_test(other_templates_are_refused_when_used_not_when_loaded),
};
KIT_MAIN(tests)
