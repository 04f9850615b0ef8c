/* PEFT folders: of every family, an adapter computes what merged weights do, has the gradients that theirs imply, and comes back from
 * its folder with the same bits; and what does not fit is refused by file and key. */
#include "model/family_folder.h"

enum { TOKENS = 24, VOCAB_MAX = 512 };

struct over { struct device *dev; struct model *base, *m; struct forest f; struct head_item item[TOKENS]; int n; };

static struct model *family_model(struct device *dev, const char *name, bool trainable)
{
    struct model *m;
    open_as(&m, dev, folder_as(name, name), trainable, DTYPE_F32);
    return m;
}

static void part_path(char out[112], const struct model *m, enum part part)
{
    for (const struct part_name *p = family_of(&m->config)->parts; p->hf; p++)
        if (p->part == part)
            snprintf(out, 112, "%s", p->hf);
}

/* A and B lively, on every matrix, with outer on embedding and head too; the scale is 2/3. */
static struct model *all_linear(struct model *base, bool scalar, bool outer)
{
    char embed[112], head[112];     // as well, but of a value model
    const char *all[] = {"all-linear", embed, head};
    struct adapter_options o;
    struct model *m;
    struct err err = {0};
    adapter_defaults(&o);
    o.r = 3;
    o.alpha = 2;
    o.target = all;
    o.n_target = outer ? 3 : 1;
    o.scalar_head = scalar;
    part_path(embed, base, PART_EMBED);
    part_path(head, base, PART_HEAD);
    o.seed = 7;
    if (model_with_adapter(&m, base, &o, &err))
        fail_msg("%s", err.msg);
    struct rng r;
    rng_init(&r, 5, RNG_TEST, 1, 0);
    for (int i = m->at.n; i < m->n_params; i++) {
        float row[VOCAB_MAX];
        assert_true(m->param[i].cols <= VOCAB_MAX);
        for (int y = 0; y < m->param[i].rows; y++) {
            for (int x = 0; x < m->param[i].cols; x++)
                row[x] = (float)(0.1 * rng_normal(&r));
            tensor_write(&m->param[i].value, y, 1, row);
        }
        param_repack(m, i);
    }
    return m;
}

static void over_open(struct over *o, const char *name, bool outer)
{
    struct rng r;
    *o = (struct over){.dev = tiny_device(1)};
    o->base = family_model(o->dev, name, false);
    o->m = all_linear(o->base, false, outer);
    int id[TOKENS];
    rng_init(&r, 6, RNG_TEST, 1, 0);
    for (int i = 0; i < TOKENS; i++)
        id[i] = (int)rng_below(&r, (uint32_t)model_config(o->m)->vocab);
    forest_add(&o->f, -1, id, TOKENS);
    o->n = forest_items(&o->f, 0, 0, o->item);
}

static void over_close(struct over *o)
{
    forest_release(&o->f);
    model_close(o->m);
    model_close(o->base);
    device_close(o->dev);
}

/* Log-probs, and with t their mean's gradient. */
static void run(const struct over *o, const struct model *m, float *logp, struct trainable *t)
{
    struct workspace *ws = tiny_workspace(m, TOKENS, true);
    float dlogp[TOKENS];
    for (int i = 0; i < o->n; i++)
        dlogp[i] = -1.0f / (float)o->n;
    model_forward(ws, m, &o->f);
    model_logp(ws, logp, NULL, NULL, o->item, o->n, 1);
    if (t)
        model_backward(ws, t, o->item, dlogp, o->n, 1, NULL, NULL, 0);
    workspace_free(ws);
}

/* dA = s B^T dW and dB = s dW A^T, with dW what full training of merged weights finds. */
static double check_part(const struct trainable *t, const struct lora *l, const struct lora_part *part, const float *dw)
{
    const struct model *m = t->model;
    float *a = tiny_values(&m->param[l->a].value), *b = tiny_values(&m->param[part->b].value);
    float *da = tiny_values(&t->grad[l->a]), *db = tiny_values(&t->grad[part->b]);
    int in = m->param[l->a].cols, r = part->r;
    double worst = 0, most = 1e-6;
    for (int j = 0; j < r; j++)
        for (int x = 0; x < in; x++) {
            double sum = 0;
            for (int y = 0; y < part->rows; y++)
                sum += (double)b[y * r + j] * dw[(part->first + y) * in + x];
            worst = fmax(worst, fabs(part->scale * sum - da[(part->at + j) * in + x]));
            most = fmax(most, fabs(part->scale * sum));
        }
    for (int y = 0; y < part->rows; y++)
        for (int j = 0; j < r; j++) {
            double sum = 0;
            for (int x = 0; x < in; x++)
                sum += (double)dw[(part->first + y) * in + x] * a[(part->at + j) * in + x];
            worst = fmax(worst, fabs(part->scale * sum - db[y * r + j]));
            most = fmax(most, fabs(part->scale * sum));
        }
    test_free(a);
    test_free(b);
    test_free(da);
    test_free(db);
    return worst / most;
}

static void check_family(const char *name, bool outer)
{
    struct over o;
    float with[TOKENS], merged[TOKENS], off[TOKENS];
    double apart = 0, moved = 0;
    over_open(&o, name, outer);
    struct model *whole = family_model(o.dev, name, true);
    struct trainable *t = tiny_trainable(o.m), *all = tiny_trainable(whole);
    tiny_merge(whole, o.m);
    run(&o, o.m, with, t);
    run(&o, whole, merged, all);
    run(&o, o.base, off, NULL);
    for (int i = 0; i < o.n; i++) {
        apart = fmax(apart, fabs((double)with[i] - merged[i]));
        moved = fmax(moved, fabs((double)with[i] - off[i]));
    }
    if (!(apart < 2e-4) || !(moved > 1e-2))
        fail_msg("%s: log-probs are %g from those of merged weights and %g from the base's", name, apart, moved);
    for (int i = 1; i < o.m->at.n; i++)
        for (int k = 0; o.m->param[i].lora && k < o.m->param[i].lora->n; k++) {
            float *dw = tiny_values(&all->grad[i]);
            double far = check_part(t, o.m->param[i].lora, &o.m->param[i].lora->part[k], dw);
            if (!(far < 2e-4))
                fail_msg("%s: gradients of matrix %d, part %d are %g from those of merged weights", name, i, k, far);
            test_free(dw);
        }
    trainable_free(t);
    trainable_free(all);
    model_close(whole);
    over_close(&o);
}

static void of_every_family_it_is_the_merged_model(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        check_family(names[i], false);
    check_family("qwen2", true);   // its head is its own: merging into a tied embedding would change the head as well
    check_family("gpt_neox", true);
}

/* ---- folders ------------------------------------------------------------------------------------ */

static void check_folder(const char *name)
{
    struct over o;
    struct model *again;
    struct model_options opt = {0};
    struct err err = {0};
    float a[TOKENS], b[TOKENS];
    char dir[64];
    over_open(&o, name, true);
    snprintf(dir, sizeof dir, "adapter-%s", name);
    const char *path = kit_path(dir);
    assert_int_equal(model_save(o.m, path, DTYPE_F32, &err), 0);
    assert_true(model_is_adapter(path));
    if (model_open_adapter(&again, o.base, path, &opt, &err))
        fail_msg("%s: %s", name, err.msg);
    run(&o, o.m, a, NULL);
    run(&o, again, b, NULL);
    assert_memory_equal(a, b, (size_t)o.n * sizeof *a);
    assert_string_equal(model_fingerprint(o.m), model_fingerprint(again));
    model_close(again);
    over_close(&o);
}

static void a_folder_gives_the_same_bits_back(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        check_folder(names[i]);
}

/* Of a reward model: its head, and the scale of its scores. */
static void a_reward_model_s_head_and_scale_are_kept(void **state)
{
    struct over o;
    struct model *again;
    struct model_options opt = {.scalar_head = true};
    struct err err = {0};
    const char *path = kit_path("adapter-reward");
    over_open(&o, "qwen2", false);
    struct model *m = all_linear(o.base, true, false);
    model_set_reward_norm(m, 0.25, 3);
    assert_int_equal(model_save(m, path, DTYPE_F32, &err), 0);
    if (model_open_adapter(&again, o.base, path, &opt, &err))
        fail_msg("%s", err.msg);
    assert_false(model_head_is_fresh(again));
    assert_true(model_config(again)->reward_mean == 0.25 && model_config(again)->reward_std == 3);
    assert_int_equal(tensor_hash(&m->param[m->at.head].value), tensor_hash(&again->param[again->at.head].value));
    model_close(again);
    opt.scalar_head = false;
    assert_int_equal(model_open_adapter(&again, o.base, path, &opt, &err), ERR_UNSUPPORTED);
    kit_contains(err.msg, "a language model is needed");
    model_close(m);
    over_close(&o);
}

/* ---- what is refused -------------------------------------------------------------------------------- */

/* The folder of an adapter on family `name`, its config changed by `edit` (a JSON object laid over it). */
static const char *folder_with(struct over *o, const char *as, const char *edit)
{
    struct err err = {0};
    const char *path = kit_path(as);
    assert_int_equal(model_save(o->m, path, DTYPE_F32, &err), 0);
    char *file = path_join(path, "adapter_config.json");
    json_t *c = json_read_file(file, &err), *over = json_loads(edit, 0, NULL);
    assert_non_null(over);
    json_object_update(c, over);
    assert_int_equal(json_write_file(file, c, &err), 0);
    json_decref(c);
    json_decref(over);
    free(file);
    return path;
}

static void refused(struct over *o, const char *path, struct model *base, const char *file, const char *words)
{
    struct model *m;
    struct model_options opt = {0};
    struct err err = {0};
    int users = base->users;
    if (!model_open_adapter(&m, base, path, &opt, &err))
        fail_msg("was opened: %s", words);
    kit_contains(err.msg, file);
    kit_contains(err.msg, words);
    assert_int_equal(base->users, users);
}

static void what_is_not_supported_is_refused_by_its_key(void **state)
{
    static const char *const cases[][3] = {
        {"{\"peft_type\": \"IA3\"}", "adapter_config.json", "'peft_type' is \"IA3\""},
        {"{\"use_dora\": true}", "adapter_config.json", "'use_dora' is true"},
        {"{\"bias\": \"all\"}", "adapter_config.json", "'bias' is \"all\""},
        {"{\"target_parameters\": [\"experts.down_proj\"]}", "adapter_config.json", "'target_parameters' is"},
        {"{\"r\": 4}", "adapter_model.safetensors", "lora_A.weight': expected shape [4, "},
        {"{\"rank_pattern\": {\"v_proj\": 2}}", "adapter_model.safetensors", "v_proj.lora_A.weight': expected shape [2, "},
        {"{\"rank_pattern\": {\"v_(proj\": 2}}", "adapter_config.json", "'v_(proj' is no regular expression"},
        {"{\"alpha_pattern\": {\"q_proj\": -1}}", "adapter_config.json", "alpha -1"},
        {"{\"modules_to_save\": [\"lm_head\"]}", "adapter_config.json", "'modules_to_save' names 'lm_head'"},
        {"{\"target_modules\": [\"c_attn\"]}", "adapter_config.json", "'target_modules' names 'c_attn'"},
        {"{\"r\": 0}", "adapter_config.json", "'r' is 0"},
    };
    struct over o;
    over_open(&o, "llama", false);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refused(&o, folder_with(&o, "adapter-edited", cases[i][0]), o.base, cases[i][1], cases[i][2]);
    over_close(&o);
}

static void an_adapter_for_another_base_is_refused(void **state)
{
    struct over o, other;
    over_open(&o, "llama", false);
    over_open(&other, "gpt2", false);
    const char *path = folder_with(&o, "adapter-llama-1", "{}");
    refused(&o, path, other.base, "adapter_model.safetensors", "the base has no such module");
    over_close(&other);

    // the same shapes with other values
    struct err err = {0};
    struct model *m = family_model(o.dev, "llama", true);
    tiny_liven(m, 3);
    const char *folder = kit_path("llama-lively");
    assert_int_equal(model_save(m, folder, DTYPE_F32, &err), 0);
    model_close(m);
    struct model_options opt = {0};
    assert_int_equal(model_open(&m, o.dev, folder, &opt, &err), 0);
    refused(&o, path, m, "rlaif_adapter.json", "trained on another base");
    model_close(m);
    over_close(&o);
}

static void dropout_is_passed_over_until_it_is_trained(void **state)
{
    struct over o;
    struct model *m;
    struct trainable *t;
    struct model_options opt = {0};
    struct err err = {0};
    over_open(&o, "llama", false);
    if (model_open_adapter(&m, o.base, folder_with(&o, "adapter-dropout", "{\"lora_dropout\": 0.05}"), &opt, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(trainable_new(&t, m, OPTIM_ADAMW, &err), ERR_UNSUPPORTED);
    kit_contains(err.msg, "'lora_dropout' is 0.05");
    model_close(m);
    over_close(&o);
}

static void patterns_choose_ranks_and_scales_as_peft_does(void **state)
{
    struct over o;
    struct model *m;
    struct model_options opt = {0};
    struct err err = {0};
    over_open(&o, "llama", false);
    const char *path = folder_with(&o, "adapter-patterns", "{\"alpha_pattern\": {\"layers.1.*q_proj\": 6, \"(k|v)_proj\": 12}, \"use_rslora\": true}");
    if (model_open_adapter(&m, o.base, path, &opt, &err))
        fail_msg("%s", err.msg);
    const struct lora *first = m->param[param_layer(m, 0, PARAM_QKV)].lora, *second = m->param[param_layer(m, 1, PARAM_QKV)].lora;
    double root = sqrt(3);
    assert_true(fabs(first->part[0].scale - 2 / root) < 1e-6 && fabs(second->part[0].scale - 6 / root) < 1e-6);
    assert_true(fabs(first->part[1].scale - 12 / root) < 1e-6 && fabs(second->part[2].scale - 12 / root) < 1e-6);
    model_close(m);
    over_close(&o);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(of_every_family_it_is_the_merged_model),
    cmocka_unit_test(a_folder_gives_the_same_bits_back),
    cmocka_unit_test(a_reward_model_s_head_and_scale_are_kept),
    cmocka_unit_test(what_is_not_supported_is_refused_by_its_key),
    cmocka_unit_test(an_adapter_for_another_base_is_refused),
    cmocka_unit_test(dropout_is_passed_over_until_it_is_trained),
    cmocka_unit_test(patterns_choose_ranks_and_scales_as_peft_does),
};
KIT_MAIN(tests)
