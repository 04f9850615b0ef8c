/* Training with less memory: prompts computed once, layers computed again, moments in 8 bits. */
#include "learn/small.h"

static struct device *dev;

static int open_device(void **state)
{
    dev = small_device(1);
    return 0;
}
static int close_device(void **state)
{
    device_close(dev);
    return 0;
}

static double figure(const json_t *o, const char *name)
{
    if (!json_is_number(json_object_get(o, name)))
        fail_msg("no figure %s", name);
    return json_number_value(json_object_get(o, name));
}

/* ---- prompts computed once ------------------------------------------------------------- */

/* Two steps with a checkpoint after the first, whose first moments are a tenth of its gradient. */
static struct train_options one_gradient(const char *dir, bool copies)
{
    struct train_options o = small_options(dir);
    o.max_steps = 2;
    o.save_steps = 1;
    o.max_grad_norm = 0;
    o.copy_prompts = copies;
    o.per_device_train_batch_size = 6;
    return o;
}

/* The first moments in a training state: the middle third of its values. */
static double gradients_apart(const char *a, const char *b, const char *file)
{
    size_t na, nb;
    char *name = str_printf("checkpoint-1/%s.safetensors", file);
    const char *pa = small_file(a, name, &na), *pb = small_file(b, name, &nb);
    uint64_t head;
    assert_int_equal(na, nb);
    memcpy(&head, pa, 8);
    size_t n = (na - head - 8) / 12;
    double diff = 0, size = 0;
    for (size_t i = n; i < 2 * n; i++) {
        float x, y;
        memcpy(&x, pa + 8 + head + 4 * i, 4);
        memcpy(&y, pb + 8 + head + 4 * i, 4);
        diff += ((double)x - y) * ((double)x - y);
        size += (double)y * y;
    }
    free(name);
    assert_true(size > 0);
    return sqrt(diff / size);
}

typedef int train_fn(const struct train_options *o, json_t *result, struct err *err);

static int reward_trainer(const struct train_options *o, json_t *result, struct err *err)
{
    struct model *m = small_model(dev, DTYPE_F32, true);
    struct rows r = small_rows("pairs.jsonl", SMALL_PAIRS);
    int rc = train_reward(m, &r, &(struct reward_options){0}, o, result, err);
    rows_release(&r);
    model_close(m);
    return rc;
}

static int dpo_trainer(const struct train_options *o, json_t *result, struct err *err)
{
    struct model *m = small_model(dev, DTYPE_F32, false);
    struct rows r = small_rows("pairs.jsonl", SMALL_PAIRS);
    int rc = train_dpo(m, &r, &(struct dpo_options){.beta = 0.1}, o, result, err);
    rows_release(&r);
    model_close(m);
    return rc;
}

static int letters_reward(void *arg, const struct rollout *r, int n, float *score, struct err *err)
{
    for (int i = 0; i < n; i++)
        score[i] = (float)(r[i].n % 5) + (float)(r[i].id[0] % 7);
    return 0;
}

static int rl_trainer(const struct train_options *o, json_t *result, struct err *err)
{
    struct model *policy = small_model(dev, DTYPE_F32, false), *value = small_model(dev, DTYPE_F32, true);
    struct model *ref = small_model(dev, DTYPE_F32, false);
    struct rows r = small_rows("prompts.jsonl", "{\"prompt\":\"tell me of one:\"}\n{\"prompt\":\"and of two:\"}\n");
    struct rl_options rl;
    rl_defaults(&rl);
    rl.num_generations = 3;
    rl.max_completion_length = 8;
    rl.reward = letters_reward;
    int rc = train_rl(policy, value, ref, &r, &rl, o, result, err);
    rows_release(&r);
    model_close(policy);
    model_close(value);
    model_close(ref);
    return rc;
}

static void shared_and_plain(const char *kind, train_fn *train, const char *const *states)
{
    struct err err = {0};
    json_t *result[2] = {json_object(), json_object()};
    char *dir[2];
    for (int copies = 0; copies < 2; copies++) {
        char *name = str_printf("%s-%s", kind, copies ? "plain" : "shared");
        dir[copies] = strdup(kit_path(name));
        struct train_options o = one_gradient(dir[copies], copies);
        if (train(&o, result[copies], &err))
            fail_msg("%s", err.msg);
        free(name);
    }
    for (int i = 0; states[i]; i++) {
        double apart = gradients_apart(dir[0], dir[1], states[i]);
        if (!(apart < 1e-5))
            fail_msg("%s: gradients are %g apart", kind, apart);
    }
    double plain = figure(result[1], "num_tokens"), submitted = figure(result[0], "num_tokens_submitted");
    assert_true(plain == figure(result[1], "num_tokens_submitted"));
    assert_true(figure(result[0], "num_tokens") < submitted);
    for (int i = 0; i < 2; i++) {
        json_decref(result[i]);
        free(dir[i]);
    }
}

static void a_reward_model_s_pairs_have_the_plain_batch_s_gradient(void **state)
{
    shared_and_plain("reward", reward_trainer, (const char *const[]){"optimizer", NULL});
}
static void dpo_s_pairs_have_the_plain_batch_s_gradient(void **state)
{
    shared_and_plain("dpo", dpo_trainer, (const char *const[]){"optimizer", NULL});
}
static void rl_s_groups_have_the_plain_batch_s_gradient(void **state)
{
    shared_and_plain("rl", rl_trainer, (const char *const[]){"optimizer", "value_optimizer", NULL});
}

/* ---- layers computed again ---------------------------------------------------------------- */

static void checkpointed(const char *kind, train_fn *train)
{
    struct err err = {0};
    char *dir[2];
    for (int again = 0; again < 2; again++) {
        char *name = str_printf("%s-%s", kind, again ? "inputs" : "all");
        dir[again] = strdup(kit_path(name));
        struct train_options o = small_options(dir[again]);
        o.gradient_checkpointing = again;
        o.save_steps = 0;
        o.per_device_train_batch_size = 6;
        if (train(&o, NULL, &err))
            fail_msg("%s", err.msg);
        free(name);
    }
    same_file(dir[0], dir[1], "model.safetensors");
    same_file(dir[0], dir[1], "trainer_state.json");
    free(dir[0]);
    free(dir[1]);
}

static void gradient_checkpointing_trains_the_same_bytes(void **state)
{
    checkpointed("again-reward", reward_trainer);
    checkpointed("again-dpo", dpo_trainer);
    checkpointed("again-rl", rl_trainer);
}

/* ---- moments in 8 bits ------------------------------------------------------------------------ */

/* Wide enough that its matrices are worth 8 bits. */
static struct model *wide_model(struct device *on)
{
    struct err err = {0};
    struct model *m;
    struct model_config c = {.vocab = SMALL_VOCAB, .width = 64, .layers = 2, .heads = 4, .kv_heads = 2, .head_size = 16, .ffn = 96,
                             .max_position = 256, .norm_eps = 1e-5f, .rope_theta = 10000, .tied = true, .bos = -1, .eos = SMALL_END,
                             .pad = SMALL_END, .n_eos = 1, .eos_ids = {SMALL_END}};
    struct model_options o = {.dtype = DTYPE_F32, .trainable = true, .seed = 3};
    if (model_create(&m, on, &c, small_dir(), &o, &err))
        fail_msg("%s", err.msg);
    return m;
}

static const char *wide_sft(const char *name, int threads, enum optim optim, bool resume)
{
    struct err err = {0};
    struct device *on = small_device(threads);
    struct model *m = wide_model(on);
    struct rows r = small_rows("texts.jsonl", SMALL_TEXTS);
    struct train_options o = small_options(kit_path(name));
    o.optim = optim;
    o.max_steps = 60;
    o.save_steps = 25;
    o.learning_rate = 3e-3;
    o.resume = resume;
    if (train_sft(m, &r, &o, NULL, &err))
        fail_msg("%s", err.msg);
    rows_release(&r);
    model_close(m);
    device_close(on);
    return kit_path(name);
}

static void moments_of_8_bits_train_as_well(void **state)
{
    const char *a = wide_sft("wide-32", 1, OPTIM_ADAMW, false), *b = wide_sft("wide-8", 1, OPTIM_ADAMW_8BIT, false);
    double full = logged(a, -1, "loss"), packed = logged(b, -1, "loss"), start = logged(a, 0, "loss");
    if (!(full < 0.5 * start) || !(fabs(packed - full) < 0.03 * start))
        fail_msg("loss %g in 32 bits, %g in 8, from %g", full, packed, start);
    size_t in_32, in_8;
    small_file(a, "checkpoint-25/optimizer.safetensors", &in_32);
    small_file(b, "checkpoint-25/optimizer.safetensors", &in_8);
    // 12 bytes a weight, and 4 for its value with little more than 2 for its moments: the quarter of 8
    assert_true((double)in_8 < (4 + 8 * 0.28) / 12 * (double)in_32);
}

static void moments_of_8_bits_resume_to_the_same_bytes(void **state)
{
    const char *straight = wide_sft("wide-straight", 1, OPTIM_ADAMW_8BIT, false);
    assert_int_equal(dir_make(kit_path("wide-again"), NULL), 0);
    assert_int_equal(copy_dir(kit_path("wide-again/checkpoint-25"), kit_path("wide-straight/checkpoint-25")), 0);
    const char *again = wide_sft("wide-again", 2, OPTIM_ADAMW_8BIT, true);
    same_file(straight, again, "model.safetensors");
    same_file(straight, again, "trainer_state.json");
    same_file(straight, again, "checkpoint-50/optimizer.safetensors");
}

static void a_state_of_the_other_optimiser_is_refused(void **state)
{
    struct err err = {0};
    struct model *m = wide_model(dev);
    struct trainable *a, *b;
    const char *path = kit_path("state.safetensors");
    assert_int_equal(trainable_new(&a, m, OPTIM_ADAMW, &err), 0);
    assert_int_equal(trainable_new(&b, m, OPTIM_ADAMW_8BIT, &err), 0);
    assert_int_equal(trainable_save(a, path, &err), 0);
    assert_int_equal(trainable_load(b, path, &err), ERR_FORMAT);
    kit_contains(err.msg, path);
    trainable_free(a);
    trainable_free(b);
    model_close(m);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(a_reward_model_s_pairs_have_the_plain_batch_s_gradient, open_device, close_device),
    cmocka_unit_test_setup_teardown(dpo_s_pairs_have_the_plain_batch_s_gradient, open_device, close_device),
    cmocka_unit_test_setup_teardown(rl_s_groups_have_the_plain_batch_s_gradient, open_device, close_device),
    cmocka_unit_test_setup_teardown(gradient_checkpointing_trains_the_same_bytes, open_device, close_device),
    cmocka_unit_test_setup_teardown(moments_of_8_bits_train_as_well, open_device, close_device),
    cmocka_unit_test_setup_teardown(moments_of_8_bits_resume_to_the_same_bytes, open_device, close_device),
    cmocka_unit_test_setup_teardown(a_state_of_the_other_optimiser_is_refused, open_device, close_device),
};
KIT_MAIN(tests)
