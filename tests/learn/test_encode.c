/* Texts and messages as token ids: where prompts end, how completions end. */
#include "learn/small.h"

static struct tokenizer *tok;
static const struct model_config CONFIG = {.eos = SMALL_IM_END, .n_eos = 1, .eos_ids = {SMALL_IM_END}};

static int open_chat(void **state)
{
    struct err err = {0};
    const char *dir = kit_path("chat");
    small_tokenizer(dir);
    char *path = path_join(dir, "chat_template.jinja");
    const char *chatml = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                         "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
                         "{% endif %}";
    assert_int_equal(file_write(path, chatml, strlen(chatml), NULL), 0);
    free(path);
    if (tokenizer_open(&tok, dir, &err))
        fail_msg("%s", err.msg);
    return 0;
}
static int close_chat(void **state)
{
    tokenizer_free(tok);
    return 0;
}

/* Ids as text, special tokens shown. */
static void reads(const struct tokens *t, const char *expected)
{
    struct buf b = {0};
    assert_int_equal(detokenize(tok, &b, t->id, t->n, false), 0);
    assert_string_equal(b.s, expected);
    buf_release(&b);
}

static struct message user = {"user", "hi"}, assistant = {"assistant", "yo"}, more[] = {{"assistant", "yo"}, {"user", "and"}, {"assistant", "so"}};

static void messages_go_through_the_template(void **state)
{
    struct err err = {0};
    struct tokens t = {0};
    const struct text prompt = {.messages = &user, .n = 1};
    assert_int_equal(encode_prompt(tok, &t, &prompt, &err), 0);
    reads(&t, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    assert_int_equal(t.id[0], SMALL_IM_START);
    tokens_release(&t);
}

static void answer_ends_with_one_end_marker(void **state)
{
    struct err err = {0};
    struct tokens t = {0};
    const struct text prompt = {.messages = &user, .n = 1}, one = {.messages = &assistant, .n = 1};
    const struct text plain = {.text = "yo"}, marked = {.text = "yo<|im_end|>"};
    const struct text *forms[] = {&one, &plain, &marked};
    for (int i = 0; i < 3; i++) {
        t.n = 0;
        assert_int_equal(encode_completion(tok, &t, &prompt, forms[i], &CONFIG, true, &err), 0);
        reads(&t, "yo<|im_end|>");
        assert_int_equal(t.n, 3);
    }
    tokens_release(&t);
}

static void several_messages_are_one_completion(void **state)
{
    struct err err = {0};
    struct tokens t = {0};
    const struct text prompt = {.messages = &user, .n = 1}, all = {.messages = more, .n = 3};
    assert_int_equal(encode_completion(tok, &t, &prompt, &all, &CONFIG, true, &err), 0);
    reads(&t, "yo<|im_end|>\n<|im_start|>user\nand<|im_end|>\n<|im_start|>assistant\nso<|im_end|>");
    tokens_release(&t);
}

static void end_is_left_out_where_not_wanted(void **state)
{
    struct err err = {0};
    struct tokens t = {0};
    const struct text prompt = {.text = "a"}, plain = {.text = "b"};
    assert_int_equal(encode_completion(tok, &t, &prompt, &plain, &CONFIG, false, &err), 0);
    reads(&t, "b");
    const struct model_config none = {.eos = -1};
    t.n = 0;
    assert_int_equal(encode_completion(tok, &t, &prompt, &plain, &none, true, &err), 0);
    reads(&t, "b");
    tokens_release(&t);
}

static void completions_that_answer_nothing_are_refused(void **state)
{
    struct err err = {0};
    struct tokens t = {0};
    const struct text prompt = {.messages = &user, .n = 1}, question = {.messages = &user, .n = 1};
    const struct text plain = {.text = "a"}, answer = {.messages = &assistant, .n = 1};
    assert_int_equal(encode_completion(tok, &t, &prompt, &question, &CONFIG, true, &err), ERR_FORMAT);
    kit_contains(err.msg, "'user'");
    assert_int_equal(encode_completion(tok, &t, &plain, &answer, &CONFIG, true, &err), ERR_FORMAT);
    kit_contains(err.msg, "prompt is a string");
    tokens_release(&t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(messages_go_through_the_template, open_chat, close_chat),
    cmocka_unit_test_setup_teardown(answer_ends_with_one_end_marker, open_chat, close_chat),
    cmocka_unit_test_setup_teardown(several_messages_are_one_completion, open_chat, close_chat),
    cmocka_unit_test_setup_teardown(end_is_left_out_where_not_wanted, open_chat, close_chat),
    cmocka_unit_test_setup_teardown(completions_that_answer_nothing_are_refused, open_chat, close_chat),
};
KIT_MAIN(tests)
