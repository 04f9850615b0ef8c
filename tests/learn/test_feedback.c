/* Learning from preferences and rewards: the reward model and its scale, DPO, REINFORCE. */
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

/* ---- reward model ----------------------------------------------------------------------- */

static const char SAMPLES[] = "{\"prompt\":\"one:\",\"completions\":[\" good\",\" bad\",\" so good\"]}\n"
                              "{\"prompt\":\"two:\",\"completion\":\" so bad\"}\n";

/* The last pair is longer than any that is trained on. */
static const char SMALL_HELD[] =
    "{\"prompt\":\"one:\",\"chosen\":\" good\",\"rejected\":\" bad\",\"label_prob\":0.9}\n"
    "{\"prompt\":\"two:\",\"chosen\":\" bad\",\"rejected\":\" good one\",\"label_prob\":0.2}\n"
    "{\"prompt\":\"three times three is nine:\",\"chosen\":\" good and very good\",\"rejected\":\" very bad and bad\"}\n";

static json_t *reward_into(const char *name, bool resume)
{
    struct err err = {0};
    struct model *m = small_model(dev, DTYPE_F32, true);
    struct rows r = small_rows("pairs.jsonl", SMALL_PAIRS), held = small_rows("held.jsonl", SMALL_HELD);
    struct rows samples = small_rows("samples.jsonl", SAMPLES);
    struct reward_options opt = {.eval = &held, .normalize = &samples};
    struct train_options o = small_options(kit_path(name));
    o.max_steps = 30;
    o.per_device_train_batch_size = 3;
    o.save_steps = 7;
    o.resume = resume;
    json_t *result = json_object();
    if (train_reward(m, &r, &opt, &o, result, &err))
        fail_msg("%s", err.msg);
    rows_release(&r);
    rows_release(&held);
    rows_release(&samples);
    model_close(m);
    return result;
}

static double figure(const json_t *o, const char *name)
{
    if (!json_is_number(json_object_get(o, name)))
        fail_msg("no figure %s", name);
    return json_number_value(json_object_get(o, name));
}

static void reward_model_learns_soft_labels(void **state)
{
    json_t *r = reward_into("rm", false);
    assert_true(figure(r, "eval_accuracy") == 1);
    double floor = figure(r, "eval_label_entropy"), loss = figure(r, "eval_loss");
    assert_true(loss > floor && loss < 0.6);
    double expected = 0;
    const double p[] = {0.9, 0.2, 1};
    for (int i = 0; i < 3; i++)
        expected += objective_label_entropy(p[i]) / 3;
    assert_true(fabs(floor - expected) < 1e-6);
    json_decref(r);
}

static void normalised_scores_have_mean_0_and_deviation_1(void **state)
{
    struct err err = {0};
    struct model *m;
    struct scorer *s;
    struct model_options o = {.dtype = DTYPE_F32, .scalar_head = true};
    json_decref(reward_into("scaled", false));
    assert_int_equal(model_open(&m, dev, kit_path("scaled"), &o, &err), 0);
    assert_int_equal(scorer_new(&s, m, 0, &err), 0);
    const struct text one = {.text = "one:"}, two = {.text = "two:"};
    const struct text c[4] = {{.text = " good"}, {.text = " bad"}, {.text = " so good"}, {.text = " so bad"}};
    const struct scored all[4] = {{&one, &c[0]}, {&one, &c[1]}, {&one, &c[2]}, {&two, &c[3]}};
    float raw[4];
    double sum = 0, square = 0;
    assert_int_equal(scorer_texts(s, all, 4, raw, &err), 0);
    for (int i = 0; i < 4; i++)
        sum += scorer_normalize(s, raw[i]);
    for (int i = 0; i < 4; i++)
        square += pow(scorer_normalize(s, raw[i]) - sum / 4, 2);
    assert_true(fabs(sum) < 1e-3 && fabs(square / 3 - 1) < 1e-3);
    assert_true(raw[0] > raw[1]);
    scorer_free(s);
    model_close(m);
}

static void resumed_reward_model_equals_the_straight_one(void **state)
{
    json_decref(reward_into("rm-straight", false));
    assert_int_equal(dir_make(kit_path("rm-again"), NULL), 0);
    assert_int_equal(copy_dir(kit_path("rm-again/checkpoint-14"), kit_path("rm-straight/checkpoint-14")), 0);
    json_decref(reward_into("rm-again", true));
    same_file(kit_path("rm-straight"), kit_path("rm-again"), "model.safetensors");
    same_file(kit_path("rm-straight"), kit_path("rm-again"), "config.json");
    same_file(kit_path("rm-straight"), kit_path("rm-again"), "trainer_state.json");
}

static void a_score_does_not_know_its_company(void **state)
{
    struct err err = {0};
    struct scorer *s;
    struct model *m = small_model(dev, DTYPE_F32, true);
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    const struct text one = {.text = "one:"}, two = {.text = "two:"};
    const struct text c[4] = {{.text = " good"}, {.text = ""}, {.text = longer}, {.text = " ends<|endoftext|>"}};
    const struct scored all[4] = {{&one, &c[0]}, {&one, &c[1]}, {&two, &c[2]}, {&two, &c[3]}};
    float together[4], alone[4];
    assert_int_equal(scorer_new(&s, m, 32, &err), 0);     // less room than the third text needs
    assert_int_equal(scorer_texts(s, all, 4, together, &err), 0);
    for (int i = 3; i >= 0; i--)
        assert_int_equal(scorer_texts(s, &all[i], 1, &alone[i], &err), 0);
    assert_memory_equal(together, alone, sizeof alone);
    const struct text bare = {.text = " ends"};
    const struct scored same = {&two, &bare};
    assert_int_equal(scorer_texts(s, &same, 1, alone, &err), 0);
    assert_true(alone[0] == together[3]);   // the end is appended where it is missing
    scorer_free(s);
    model_close(m);
}

static void language_model_cannot_score(void **state)
{
    struct err err = {0};
    struct scorer *s = NULL;
    struct model *m = small_model(dev, DTYPE_F32, false);
    assert_int_equal(scorer_new(&s, m, 0, &err), ERR_VALUE);
    kit_contains(err.msg, "scalar head");
    model_close(m);
}

/* ---- DPO ------------------------------------------------------------------------------------ */

static void dpo_into(const char *name, bool resume)
{
    struct err err = {0};
    struct model *m = small_model(dev, DTYPE_F32, false);
    struct rows r = small_rows("dpo.jsonl", SMALL_PAIRS);
    struct dpo_options opt = {.beta = 0.5};
    struct train_options o = small_options(kit_path(name));
    o.per_device_train_batch_size = 3;
    o.gradient_accumulation_steps = 2;
    o.logging_steps = 1;
    o.resume = resume;
    if (train_dpo(m, &r, &opt, &o, NULL, &err))
        fail_msg("%s", err.msg);
    rows_release(&r);
    model_close(m);
}

static void dpo_trainer_starts_at_ln2_and_learns(void **state)
{
    dpo_into("dpo", false);
    assert_true(fabs(logged(kit_path("dpo"), 0, "loss") - log(2)) < 1e-6);
    assert_true(logged(kit_path("dpo"), 0, "rewards/margins") == 0);
    assert_true(logged(kit_path("dpo"), -1, "loss") < 0.6);
}

static void resumed_dpo_keeps_its_reference(void **state)
{
    dpo_into("dpo-straight", false);
    assert_int_equal(dir_make(kit_path("dpo-again"), NULL), 0);
    assert_int_equal(copy_dir(kit_path("dpo-again/checkpoint-3"), kit_path("dpo-straight/checkpoint-3")), 0);
    dpo_into("dpo-again", true);
    same_file(kit_path("dpo-straight"), kit_path("dpo-again"), "model.safetensors");
    same_file(kit_path("dpo-straight"), kit_path("dpo-again"), "trainer_state.json");
}

/* ---- REINFORCE ------------------------------------------------------------------------------- */

static const char PROMPTS[] = "{\"prompt\":\"p one\"}\n{\"prompt\":\"p two\"}\n{\"prompt\":\"p three\"}\n";

/* The more letters from the first half of the alphabet, the better. */
static int early_letters(void *arg, const struct rollout *r, int n, float *score, struct err *err)
{
    for (int i = 0; i < n; i++) {
        score[i] = 0;
        for (const char *c = r[i].text; *c; c++)
            score[i] += *c >= 'a' && *c <= 'm';
        assert_int_equal(r[i].n <= 6, 1);
    }
    return 0;
}

static int rl_into(const char *name, bool resume, enum dtype dtype, reward_fn *reward, struct rl_options *r, struct err *err)
{
    struct model *policy = small_model(dev, dtype, false), *ref = small_model(dev, dtype, false);
    struct model *value = small_model(dev, dtype, true);
    struct rows rows = small_rows("prompts.jsonl", PROMPTS);
    struct train_options o = small_options(kit_path(name));
    o.per_device_train_batch_size = 6;
    o.gradient_accumulation_steps = 2;
    o.max_steps = 12;
    o.logging_steps = 1;
    o.lr_scheduler_type = LR_CONSTANT;
    o.resume = resume;
    r->reward = reward;
    r->num_generations = 3;
    r->max_completion_length = 6;
    r->missing_eos_penalty = 0;
    json_t *result = json_object();
    int rc = train_rl(policy, value, ref, &rows, r, &o, result, err);
    if (rc == 0)
        assert_int_equal(json_integer_value(json_object_get(result, "mismatched_tokens")), 0);
    json_decref(result);
    rows_release(&rows);
    model_close(policy);
    model_close(value);
    model_close(ref);
    return rc;
}

static void rl_ok(const char *name, bool resume, enum dtype dtype, bool whiten, double kl_target)
{
    struct err err = {0};
    struct rl_options r;
    rl_defaults(&r);
    r.whiten_advantages = whiten;
    r.kl_target = kl_target;
    r.kl_horizon = 60;
    r.log_completions = true;
    if (rl_into(name, resume, dtype, early_letters, &r, &err))
        fail_msg("%s", err.msg);
}

static void reinforce_raises_the_reward(void **state)
{
    rl_ok("rl", false, DTYPE_F32, false, 0);
    double before = logged(kit_path("rl"), 0, "objective/scores") + logged(kit_path("rl"), 1, "objective/scores");
    double after = logged(kit_path("rl"), -1, "objective/scores") + logged(kit_path("rl"), -2, "objective/scores");
    assert_true(after > before + 1);
    assert_true(logged(kit_path("rl"), 0, "objective/kl") == 0);
    assert_true(logged(kit_path("rl"), -1, "objective/kl") > 0);
    assert_true(kit_exists(kit_path("rl/completions/step-000012.jsonl")));
}

static void ratio_is_exactly_one_at_every_update(void **state)
{
    rl_ok("rl-b", false, DTYPE_BF16, true, 0);
    rl_ok("rl-f", false, DTYPE_F32, true, 0);
    for (int i = 0; i < 12; i++) {
        assert_true(logged(kit_path("rl-b"), i, "val/ratio") == 1);
        assert_true(logged(kit_path("rl-f"), i, "val/ratio") == 1);
        assert_true(logged(kit_path("rl-f"), i, "policy/approxkl_avg") == 0);
    }
}

static void resumed_reinforce_equals_the_straight_one(void **state)
{
    rl_ok("rl-straight", false, DTYPE_F32, false, 1);
    assert_int_equal(dir_make(kit_path("rl-again"), NULL), 0);
    assert_int_equal(copy_dir(kit_path("rl-again/checkpoint-6"), kit_path("rl-straight/checkpoint-6")), 0);
    rl_ok("rl-again", true, DTYPE_F32, false, 1);
    same_file(kit_path("rl-straight"), kit_path("rl-again"), "model.safetensors");
    same_file(kit_path("rl-straight"), kit_path("rl-again"), "trainer_state.json");
    same_file(kit_path("rl-straight"), kit_path("rl-again"), "completions/step-000010.jsonl");
}

/* 12 episodes a step and a horizon of 60: a fifth of the error, which is cut at a fifth. */
static void kl_target_moves_beta_towards_itself(void **state)
{
    rl_ok("rl-near", false, DTYPE_F32, false, 1e6);
    rl_ok("rl-far", false, DTYPE_F32, false, 1e-9);
    const char *beta = "objective/kl_coef";
    assert_float_equal(logged(kit_path("rl-near"), 0, beta), 0.05, 1e-9);
    assert_float_equal(logged(kit_path("rl-near"), 11, beta), 0.05 * pow(0.96, 11), 1e-7);
    assert_float_equal(logged(kit_path("rl-far"), 1, beta), 0.05 * 0.96, 1e-7);     // the first samples are the reference's own
    assert_true(logged(kit_path("rl-far"), 11, beta) > logged(kit_path("rl-far"), 2, beta));
}

static int nan_reward(void *arg, const struct rollout *r, int n, float *score, struct err *err)
{
    for (int i = 0; i < n; i++)
        score[i] = i == 4 ? NAN : 0;
    return 0;
}

static void nan_reward_stops(void **state)
{
    struct err err = {0};
    struct rl_options r;
    rl_defaults(&r);
    assert_int_equal(rl_into("rl-nan", false, DTYPE_F32, nan_reward, &r, &err), ERR_NUMERIC);
    kit_contains(err.msg, "sample 2 of prompt");
}

static void beta_of_one_is_refused(void **state)
{
    struct err err = {0};
    struct rl_options r;
    rl_defaults(&r);
    r.beta = 1;
    assert_int_equal(rl_into("rl-beta", false, DTYPE_F32, early_letters, &r, &err), ERR_VALUE);
    kit_contains(err.msg, "beta");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(kl_target_moves_beta_towards_itself, open_device, close_device),
    cmocka_unit_test_setup_teardown(reward_model_learns_soft_labels, open_device, close_device),
    cmocka_unit_test_setup_teardown(normalised_scores_have_mean_0_and_deviation_1, open_device, close_device),
    cmocka_unit_test_setup_teardown(resumed_reward_model_equals_the_straight_one, open_device, close_device),
    cmocka_unit_test_setup_teardown(a_score_does_not_know_its_company, open_device, close_device),
    cmocka_unit_test_setup_teardown(language_model_cannot_score, open_device, close_device),
    cmocka_unit_test_setup_teardown(dpo_trainer_starts_at_ln2_and_learns, open_device, close_device),
    cmocka_unit_test_setup_teardown(resumed_dpo_keeps_its_reference, open_device, close_device),
    cmocka_unit_test_setup_teardown(reinforce_raises_the_reward, open_device, close_device),
    cmocka_unit_test_setup_teardown(ratio_is_exactly_one_at_every_update, open_device, close_device),
    cmocka_unit_test_setup_teardown(resumed_reinforce_equals_the_straight_one, open_device, close_device),
    cmocka_unit_test_setup_teardown(nan_reward_stops, open_device, close_device),
    cmocka_unit_test_setup_teardown(beta_of_one_is_refused, open_device, close_device),
};
KIT_MAIN(tests)
