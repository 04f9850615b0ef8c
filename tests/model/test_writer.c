/* A writer: what generation says, computed once, given out in whole characters. */
#include "model/generate/generate.h"
#include "model/tiny.h"

/* What was said, and when to stop. */
struct heard {
    struct buf text;
    int pieces, most; // most: answer false from this piece on; 0: never
    bool broken;      // a piece was not whole characters
};

static bool hear(void *arg, const char *text, size_t n)
{
    struct heard *h = arg;
    h->broken |= utf8_valid(text, n) != n;
    buf_add(&h->text, text, n);
    return ++h->pieces != h->most;
}

static struct writer *new_writer(const struct model *m, int window)
{
    struct writer *w;
    struct err err = {0};
    if (writer_new(&w, m, window, &err))
        fail_msg("%s", err.msg);
    return w;
}

/* Writes and forgets what was heard. */
static struct completion write_all(struct writer *w, const int *id, int n, uint64_t item,
                                   const struct sampling *s)
{
    struct heard h = {0};
    struct completion c;
    struct err err = {0};
    if (writer_write(w, &c, id, n, item, s, hear, &h, &err))
        fail_msg("%s", err.msg);
    buf_release(&h.text);
    return c;
}

static void assert_equal(const struct completion *a, const struct completion *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->id, b->id, (size_t)a->n * sizeof *a->id);
    assert_memory_equal(a->logp, b->logp, (size_t)a->n * sizeof *a->logp);
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->eos, b->eos);
}

/* The same by model_generate. */
static void assert_as_generated(const struct model *m, const struct completion *c,
                                const int *id, int n, uint64_t item, const struct sampling *s)
{
    struct completion g;
    struct prompt_ids prompt = {id, n, item};
    struct err err = {0};
    if (model_generate(&g, m, &prompt, 1, 1, s, 1, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    assert_equal(c, &g);
    completions_release(&g, 1);
}

static int random_ids(int *id, int n, uint64_t key)
{
    struct rng r;
    rng_init(&r, 4, RNG_TEST, key, 0);
    for (int i = 0; i < n; i++)
        id[i] = (int)rng_below(&r, TINY_VOCAB);
    return n;
}

static void each_turn_computes_only_what_is_new(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.dtype = DTYPE_BF16, .seed = 21});
    struct writer *w = new_writer(m, 0);
    struct sampling s;
    sampling_defaults(&s);
    s.max_new_tokens = 12;
    s.seed = 3;
    int id[512], n = random_ids(id, 30, 1);
    for (uint64_t turn = 0; turn < 4; turn++) {
        struct completion c = write_all(w, id, n, turn, &s);
        // the last token of an answer was sampled, but nothing was computed from it
        assert_int_equal(writer_computed(w), turn ? 8 : 30);
        assert_int_equal(c.n, 12);
        assert_as_generated(m, &c, id, n, turn, &s);
        memcpy(id + n, c.id, (size_t)c.n * sizeof *id);
        n += c.n;
        n += random_ids(id + n, 7, 2 + turn);
        completions_release(&c, 1);
    }
    writer_free(w);
    model_close(m);
    device_close(dev);
}

static void what_differs_is_computed_again(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.dtype = DTYPE_F32, .seed = 22});
    struct writer *w = new_writer(m, 90);
    struct sampling s;
    sampling_defaults(&s);
    s.max_new_tokens = 20;
    int id[80], n = random_ids(id, 60, 1);
    struct completion c = write_all(w, id, n, 0, &s);
    completions_release(&c, 1);
    static const int at[] = {59, 40, 7, 0, 33, 66};
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        n = 60 + (int)i;
        if (at[i] < n)
            id[at[i]] = (id[at[i]] + 1) % TINY_VOCAB;
        random_ids(id + 60, (int)i, 100);
        c = write_all(w, id, n, i, &s);
        if (at[i] < 60)
            assert_int_equal(writer_computed(w), n - at[i]);
        assert_as_generated(m, &c, id, n, i, &s);
        completions_release(&c, 1);
    }
    // the same again: the state the answer begins from was kept as well
    c = write_all(w, id, n, 5, &s);
    assert_int_equal(writer_computed(w), 0);
    assert_as_generated(m, &c, id, n, 5, &s);
    completions_release(&c, 1);
    writer_free(w);
    model_close(m);
    device_close(dev);
}

static void a_full_window_ends_the_answer_and_a_longer_prompt_is_refused(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.dtype = DTYPE_F32, .seed = 23});
    struct writer *w = new_writer(m, 32);
    struct sampling s;
    struct err err = {0};
    sampling_defaults(&s);
    int id[40], n = 25;
    random_ids(id, 40, 1);
    assert_int_equal(writer_window(w), 32);
    for (int i = 0; i < 5; i++) { // room taken for an answer comes back
        struct completion c = write_all(w, id, n + i, 0, &s);
        assert_int_equal(c.n, 7 - i);
        assert_false(c.eos);
        completions_release(&c, 1);
    }
    struct completion c;
    struct heard h = {0};
    assert_int_equal(writer_write(w, &c, id, 32, 0, &s, hear, &h, &err), ERR_VALUE);
    kit_contains(err.msg, "window of 32");
    c = write_all(w, id, 31, 0, &s);
    assert_int_equal(c.n, 1);
    completions_release(&c, 1);
    struct writer *none;
    assert_int_equal(writer_new(&none, m, 513, &err), ERR_VALUE);
    writer_free(w);
    model_close(m);
    device_close(dev);
}

static void a_stopped_answer_can_be_gone_on_from(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.dtype = DTYPE_F32, .seed = 24});
    struct writer *w = new_writer(m, 0);
    struct sampling s;
    struct err err = {0};
    struct completion c, whole;
    sampling_defaults(&s);
    s.max_new_tokens = 10;
    int id[64], n = random_ids(id, 20, 1);
    struct heard h = {.most = 4}; // asked once before the prompt, then after each token
    assert_int_equal(writer_write(w, &c, id, n, 0, &s, hear, &h, &err), 0);
    assert_int_equal(c.n, 3);
    assert_false(c.eos);
    whole = write_all(w, id, n, 0, &s);
    assert_memory_equal(whole.id, c.id, 3 * sizeof(int));
    assert_as_generated(m, &whole, id, n, 0, &s);
    completions_release(&c, 1);
    buf_release(&h.text);
    h = (struct heard){.most = 1};
    id[0]++;
    assert_int_equal(writer_write(w, &c, id, n, 0, &s, hear, &h, &err), 0);
    assert_int_equal(c.n, 0);
    assert_string_equal(c.text, "");
    completions_release(&c, 1);
    c = write_all(w, id, n, 0, &s);
    assert_as_generated(m, &c, id, n, 0, &s);
    completions_release(&whole, 1);
    completions_release(&c, 1);
    buf_release(&h.text);
    writer_free(w);
    model_close(m);
    device_close(dev);
}

static struct model *byte_model(struct device *dev)
{
    struct model_options o = {.dtype = DTYPE_F32};
    struct model *m;
    struct err err = {0};
    if (model_open(&m, dev, kit_tests("vectors/gguf/tiny.gguf"), &o, &err))
        fail_msg("%s", err.msg);
    return m;
}

static void pieces_are_whole_characters_and_together_the_text(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = byte_model(dev);
    struct writer *w = new_writer(m, 0);
    struct sampling s;
    struct err err = {0};
    struct tokens t = {0};
    sampling_defaults(&s);
    s.temperature = 50; // any byte, so half characters and broken ones
    s.max_new_tokens = 100;
    assert_int_equal(tokenize(m->tokenizer, &t, "Once", 4, 0, &err), 0);
    int strange = 0;
    for (uint64_t item = 0; item < 8; item++) {
        struct heard h = {0};
        struct completion c;
        if (writer_write(w, &c, t.id, t.n, item, &s, hear, &h, &err))
            fail_msg("%s", err.msg);
        assert_false(h.broken);
        assert_true(h.pieces > 5);
        assert_string_equal(h.text.s, c.text);
        assert_as_generated(m, &c, t.id, t.n, item, &s);
        strange += strstr(c.text, "\xEF\xBF\xBD") != NULL;
        buf_release(&h.text);
        completions_release(&c, 1);
    }
    assert_true(strange > 0); // else this would test little
    tokens_release(&t);
    writer_free(w);
    model_close(m);
    device_close(dev);
}

static void nothing_of_a_stop_string_is_ever_said(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = byte_model(dev);
    struct writer *w = new_writer(m, 0);
    struct sampling s;
    struct tokens t = {0};
    struct err err = {0};
    sampling_defaults(&s);
    s.temperature = 2;
    s.max_new_tokens = 60;
    assert_int_equal(tokenize(m->tokenizer, &t, "Once", 4, 0, &err), 0);
    struct completion free_run = write_all(w, t.id, t.n, 0, &s);
    size_t n = strlen(free_run.text);
    assert_true(n > 20);
    char stop[8] = {0};
    size_t at = n / 2;
    while (utf8_valid(free_run.text + at, 3) != 3)
        assert_true(++at < n - 3);
    memcpy(stop, free_run.text + at, 3);
    const char *stops[] = {"never said", stop};
    s.stop = stops;
    s.n_stop = 2;
    struct heard h = {0};
    struct completion c;
    assert_int_equal(writer_write(w, &c, t.id, t.n, 0, &s, hear, &h, &err), 0);
    assert_true(c.eos);
    assert_string_equal(h.text.s, c.text);
    assert_ptr_equal(strstr(h.text.s, stop), NULL);
    assert_memory_equal(c.text, free_run.text, strlen(c.text));
    assert_as_generated(m, &c, t.id, t.n, 0, &s);
    s.n_stop = 0;
    s.stop_ids = &free_run.id[5];
    s.n_stop_ids = 1;
    completions_release(&c, 1);
    c = write_all(w, t.id, t.n, 0, &s);
    assert_true(c.eos && c.n <= 6 && c.id[c.n - 1] == free_run.id[5]);
    assert_as_generated(m, &c, t.id, t.n, 0, &s);
    completions_release(&c, 1);
    completions_release(&free_run, 1);
    buf_release(&h.text);
    tokens_release(&t);
    writer_free(w);
    model_close(m);
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_turn_computes_only_what_is_new),
    cmocka_unit_test(what_differs_is_computed_again),
    cmocka_unit_test(a_full_window_ends_the_answer_and_a_longer_prompt_is_refused),
    cmocka_unit_test(a_stopped_answer_can_be_gone_on_from),
    cmocka_unit_test(pieces_are_whole_characters_and_together_the_text),
    cmocka_unit_test(nothing_of_a_stop_string_is_ever_said),
};
KIT_MAIN(tests)
