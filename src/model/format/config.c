/* config.c - config.json and generation_config.json of a checkpoint, read and written.
 *
 * Reading: missing keys get the defaults of the family's class in transformers; a key that asks for
 * something this program does not do is refused with its value.  What differs between families is
 * in family/: other spellings, keys of their own, and rope.c for rotary positions.
 * Both generations of spelling are understood: rope_theta and torch_dtype, or rope_parameters
 * and dtype. Written is the older one, which every version of transformers reads. */
#include "model/family/family.h"
#include "model/format/store.h"

#include <math.h>

void config_defaults(struct model_config *c)
{
    *c = (struct model_config){
        .model_type = "llama",
        .vocab = 32000,
        .width = 4096,
        .layers = 32,
        .heads = 32,
        .kv_heads = 32,
        .head_size = 128,
        .ffn = 11008,
        .max_position = 2048,
        .norm_eps = 1e-6f,
        .rope_theta = 10000,
        .bos = 1,
        .eos = 2,
        .pad = -1,
        .reward_mean = 0,
        .reward_std = 1,
    };
}

int config_add_eos(struct model_config *c, int id)
{
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos_ids[i] == id)
            return true;
    if (c->n_eos == (int)ARRAY_LEN(c->eos_ids))
        return false;
    c->eos_ids[c->n_eos++] = id;
    return true;
}

/* ---- checks --------------------------------------------------------------------- */

struct range {
    const char *key;
    int64_t value, min, max;
};

/* Multipliers and caps: 0 stands for none. */
static int check_choices(const struct choices *h, const char *where, struct err *err)
{
    const struct {
        const char *key;
        float value;
    } numbers[] = {
        {"query_pre_attn_scalar or attention_multiplier", h->attention_scale},
        {"attn_logit_softcapping", h->attention_softcap},
        {"final_logit_softcapping", h->logit_softcap},
        {"embedding_multiplier", h->embed_scale},
        {"residual_multiplier", h->residual_scale},
        {"logits_scaling", h->logit_divisor},
        {"rope_local_base_freq", h->local_theta},
        {"router_aux_loss_coef", h->router_loss},
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (!(numbers[i].value >= 0) || !isfinite(numbers[i].value))
            return err_set(err, ERR_FORMAT, "%s: '%s' makes %g; a number above 0 is expected",
                           where, numbers[i].key, (double)numbers[i].value);
    return 0;
}

/* The limits are far above any model and low enough that products of two of them fit in an
 * int64. */
int config_check(const struct model_config *c, const char *where, struct err *err)
{
    const struct range ranges[] = {
        {"vocab_size", c->vocab, 1, 1 << 24},
        {"hidden_size", c->width, 1, 1 << 18},
        {"num_hidden_layers", c->layers, 1, LAYERS_MAX},
        {"num_attention_heads", c->heads, 1, 4096},
        {"num_key_value_heads", c->kv_heads, 1, 4096},
        {"head_dim", c->head_size, 2, 4096},
        {"intermediate_size", c->ffn, 1, 1 << 20},
        {"max_position_embeddings", c->max_position, 1, INT32_MAX},
        {"num_local_experts", c->choices.experts, 0, 1024},
        {"num_experts_per_tok", c->choices.experts_used, c->choices.experts > 0, c->choices.experts},
        {"bos_token_id", c->bos, -1, c->vocab - 1},
        {"eos_token_id", c->eos, -1, c->vocab - 1},
        {"pad_token_id", c->pad, -1, c->vocab - 1},
    };
    const struct family *f = family_of(c);
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        const struct range *r = &ranges[i];
        if (r->value < r->min || r->value > r->max)
            return err_set(err, ERR_FORMAT, "%s: '%s' is %lld, expected %lld to %lld", where,
                           family_key(f, r->key), (long long)r->value, (long long)r->min,
                           (long long)r->max);
    }
    if (c->heads % c->kv_heads)
        return err_set(err, ERR_FORMAT,
                       "%s: %d attention heads are not a multiple of %d key/value heads", where,
                       c->heads, c->kv_heads);
    if (c->head_size % 2)
        return err_set(err, ERR_FORMAT,
                       "%s: 'head_dim' is %d, rotary embedding needs an even number", where,
                       c->head_size);
    if (!(c->norm_eps >= 0 && c->norm_eps < 1) || !(c->rope_theta > 0) ||
        !isfinite(c->rope_theta))
        return err_set(err, ERR_FORMAT,
                       "%s: '%s' %g or '%s' %g is out of range", where,
                       family_key(f, "rms_norm_eps"), (double)c->norm_eps,
                       family_key(f, "rope_theta"), (double)c->rope_theta);
    int rc = check_choices(&c->choices, where, err);
    if (rc)
        return rc;
    if (!isfinite(c->reward_mean) || !isfinite(c->reward_std) || c->reward_std <= 0)
        return err_set(
            err, ERR_FORMAT,
            "%s: reward 'mean' %g and 'std' %g: expected finite numbers, std above 0", where,
            c->reward_mean, c->reward_std);
    return 0;
}

/* ---- reading -------------------------------------------------------------------- */

/* An int32 member, or *out left as it is. */
static int get_int(int *out, const json_t *o, const char *key, const char *where,
                   struct err *err)
{
    int64_t v;
    int rc = json_i64_or(o, key, *out, &v, where, err);
    if (rc == 0 && (v < INT32_MIN || v > INT32_MAX))
        rc = err_set(err, ERR_FORMAT, "%s: '%s' is %lld, far out of range", where, key,
                     (long long)v);
    if (rc == 0)
        *out = (int)v;
    return rc;
}

static int get_float(float *out, const json_t *o, const char *key, const char *where,
                     struct err *err)
{
    double v;
    int rc = json_double_or(o, key, *out, &v, where, err);
    if (rc == 0)
        *out = (float)v;
    return rc;
}

static const struct {
    const char *name;
    enum activation act;
} ACTIVATIONS[] = {
    {"silu", ACT_SILU},
    {"swish", ACT_SILU},
    {"gelu", ACT_GELU},
    {"gelu_pytorch_tanh", ACT_GELU_TANH},
    {"gelu_new", ACT_GELU_TANH},
    {"gelu_fast", ACT_GELU_TANH},
    {"relu", ACT_RELU},
};

/* Keys that must be absent, null, or have the one value we compute with. */
static int refuse(const json_t *o, const char *key, const char *only, const char *where,
                  struct err *err)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return 0;
    struct buf b = {0};
    json_add_text(&b, v, 0);
    bool same = !b.failed && b.s && !strcmp(b.s, only);
    int rc = same ? 0
                  : err_set(err, ERR_UNSUPPORTED, "%s: '%s' is %.100s; only %s is supported",
                            where, key, b.s ? b.s : "?", only);
    buf_release(&b);
    return rc;
}

/* The family that model_type names. */
static int find_family(const struct family **out, const json_t *o, const char *where,
                       struct err *err)
{
    const struct model_family *all;
    const char *type = NULL;
    if (!json_object_get(o, "model_type"))
        return err_set(err, ERR_MISSING, "%s: 'model_type' is missing; \"llama\" or another "
                       "family is expected", where);
    int rc = json_get_str(o, "model_type", &type, where, err);
    *out = rc == 0 && *type ? family_find(type) : NULL;
    if (rc || *out)
        return rc;
    struct buf names = {0};
    for (int i = 0, n = model_families(&all); i < n; i++)
        buf_addf(&names, "%s%s", i ? ", " : "", all[i].model_type);
    rc = err_set(err, ERR_UNSUPPORTED, "%s: 'model_type' is \"%.60s\"; supported are %s", where,
                 type, names.s ? names.s : "others");
    buf_release(&names);
    return rc;
}

static int read_act(struct model_config *c, const json_t *o, const char *key, const char *where,
                    struct err *err)
{
    const char *name;
    int rc = json_str_or(o, key, NULL, &name, where, err);
    if (rc || !name)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(ACTIVATIONS); i++)
        if (!strcmp(name, ACTIVATIONS[i].name)) {
            c->choices.act = ACTIVATIONS[i].act;
            return 0;
        }
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: '%s' is \"%.60s\"; supported are silu, gelu, gelu_new and relu", where,
                   key, name);
}

/* Keys that some families have. */
static int read_keys(struct model_config *c, const json_t *o, const struct key *k,
                     const char *where, struct err *err)
{
    int rc = refuse(o, "quantization_config", "null", where, err);
    for (; rc == 0 && k->name; k++) {
        char *at = (char *)c + k->at;
        if (k->kind == KEY_INT)
            rc = get_int((int *)(void *)at, o, k->name, where, err);
        else if (k->kind == KEY_FLOAT)
            rc = get_float((float *)(void *)at, o, k->name, where, err);
        else if (k->kind == KEY_BOOL)
            rc = json_bool_or(o, k->name, *(bool *)at, (bool *)at, where, err);
        else
            rc = refuse(o, k->name, k->only, where, err);
    }
    return rc;
}

/* An id, a list of ids, or null.  *first receives the first one. */
static int read_eos(struct model_config *c, int *first, const json_t *o, const char *where,
                    struct err *err)
{
    const json_t *v = json_object_get(o, "eos_token_id");
    if (!v)
        return 0;
    size_t n = json_is_array(v) ? json_array_size(v) : !json_is_null(v);
    *first = -1;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(v) ? json_array_get(v, i) : v;
        int64_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < -1 || id >= c->vocab)
            return err_set(
                err, ERR_FORMAT,
                "%s: 'eos_token_id' should be a token id below %d, or a list of them", where,
                c->vocab);
        if (id < 0)
            continue;
        if (*first < 0)
            *first = (int)id;
        if (!config_add_eos(c, (int)id))
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: 'eos_token_id' names more than %zu tokens", where,
                           ARRAY_LEN(c->eos_ids));
    }
    return 0;
}

static int read_sizes(struct model_config *c, const json_t *o, const struct family *f,
                      const char *where, struct err *err)
{
    struct {
        const char *key;
        int *out;
    } ints[] = {
        {"vocab_size", &c->vocab},          {"hidden_size", &c->width},
        {"intermediate_size", &c->ffn},     {"num_hidden_layers", &c->layers},
        {"num_attention_heads", &c->heads}, {"max_position_embeddings", &c->max_position},
        {"bos_token_id", &c->bos},          {"pad_token_id", &c->pad},
        {"head_dim", &c->head_size},        {"num_key_value_heads", &c->kv_heads},
    };
    for (size_t i = 0; i < ARRAY_LEN(ints); i++) {
        const char *key = family_key(f, ints[i].key);
        int rc = get_int(ints[i].out, o, key, where, err);
        if (rc)
            return rc;
    }
    if (json_is_null(json_object_get(o, "bos_token_id")))
        c->bos = -1;
    if (json_is_null(json_object_get(o, "pad_token_id")))
        c->pad = -1;
    if (json_is_null(json_object_get(o, "num_key_value_heads")) || !c->kv_heads)
        c->kv_heads = c->heads;
    if (json_is_null(json_object_get(o, "head_dim")) || !c->head_size)
        c->head_size = c->heads > 0 ? c->width / c->heads : 0;
    return 0;
}

/* OpenRLHF calls a reward model's head by any name it is told. */
static int read_score_name(struct model_config *c, const json_t *o, const char *where,
                           struct err *err)
{
    const char *name;
    int rc = json_str_or(o, "value_head_prefix", "score", &name, where, err);
    if (rc)
        return rc;
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    if (!n || name[n] || n >= sizeof c->score_name)
        return err_set(err, ERR_FORMAT, "%s: 'value_head_prefix' is no name of a tensor", where);
    if (strcmp(name, "score"))
        snprintf(c->score_name, sizeof c->score_name, "%s", name);
    return 0;
}

static int read_numbers(struct model_config *c, const json_t *o, const struct family *f,
                        const char *where, struct err *err)
{
    int rc = get_float(&c->norm_eps, o, family_key(f, "rms_norm_eps"), where, err);
    if (rc == 0)
        rc = read_act(c, o, family_key(f, "hidden_act"), where, err);
    if (rc == 0)
        rc = read_keys(c, o, f->keys, where, err);
    if (rc == 0 && !c->choices.positions)
        rc = rope_read(c, o, f, where, err);
    if (rc == 0)
        rc = json_bool_or(o, "tie_word_embeddings", c->tied, &c->tied, where, err);
    if (rc == 0)
        rc = json_double_or(o, "mean", 0, &c->reward_mean, where, err);
    if (rc == 0)
        rc = json_double_or(o, "std", 1, &c->reward_std, where, err);
    if (rc == 0)
        rc = read_score_name(c, o, where, err);
    if (rc == 0 && f->read)
        rc = f->read(c, o, where, err);
    return rc;
}

static bool names_architecture(const json_t *o, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(o, "architectures"), i,
                       v) if (json_is_string(v) &&
                              !strcmp(json_string_value(v), name)) return true;
    return false;
}

int config_from_json(struct model_config *c, bool *seq_cls, const json_t *o,
                     const char *where, struct err *err)
{
    if (!json_is_object(o))
        return err_set(err, ERR_FORMAT, "%s: expected a JSON object", where);
    const struct family *f;
    int rc = find_family(&f, o, where, err);
    if (rc)
        return rc;
    config_defaults(c);
    c->head_size = c->kv_heads = 0;     // derived, unless the family or the file says otherwise
    snprintf(c->model_type, sizeof c->model_type, "%s", f->about.model_type);
    if (f->defaults)
        f->defaults(c);
    *seq_cls = names_architecture(o, f->classifier);
    rc = read_sizes(c, o, f, where, err);
    if (rc == 0)
        rc = read_numbers(c, o, f, where, err);
    if (rc == 0 && c->vocab > 0)
        rc = read_eos(c, &c->eos, o, where, err);
    if (rc == 0 && !json_object_get(o, "eos_token_id") && c->eos < c->vocab)
        config_add_eos(c, c->eos);
    return rc ? rc : config_check(c, where, err);
}

static int read_generation(struct model_config *c, const char *dir, struct err *err)
{
    char *path = path_join(dir, "generation_config.json");
    int rc = 0, first;
    if (!path)
        return err_set(err, ERR_MEMORY, "%s: no memory", dir);
    if (file_exists(path)) {
        json_t *o = json_read_file(path, err);
        if (!o)
            rc = err ? err->code : ERR_FORMAT;
        else if (!json_is_object(o))
            rc = err_set(err, ERR_FORMAT, "%s: expected a JSON object", path);
        else
            rc = read_eos(c, &first, o, path, err);
        json_decref(o);
    }
    free(path);
    return rc;
}

int config_read(struct model_config *c, bool *seq_cls, const char *dir, struct err *err)
{
    char *path = path_join(dir, "config.json");
    if (!path)
        return err_set(err, ERR_MEMORY, "%s: no memory", dir);
    if (!file_exists(path)) {
        int rc = err_set(err, ERR_MISSING, "%s: no config.json in this folder", dir);
        free(path);
        return rc;
    }
    json_t *o = json_read_file(path, err);
    int rc = o ? config_from_json(c, seq_cls, o, path, err) : err ? err->code : ERR_FORMAT;
    json_decref(o);
    free(path);
    return rc ? rc : read_generation(c, dir, err);
}

/* ---- writing -------------------------------------------------------------------- */

static json_t *id_or_null(int id)
{
    return id >= 0 ? json_integer(id) : json_null();
}

/* One id, or the list where there are several. */
static json_t *eos_json(const struct model_config *c)
{
    if (c->n_eos <= 1)
        return id_or_null(c->eos);
    json_t *list = json_array();
    for (int i = 0; i < c->n_eos; i++)
        json_array_append_new(list, json_integer(c->eos_ids[i]));
    return list;
}

static void add_labels(json_t *o, const struct model_config *c)
{
    // transformers derives num_labels from the number of names; the head of a reward model has
    // one output
    json_object_set_new(o, "id2label", json_pack("{ss}", "0", "LABEL_0"));
    json_object_set_new(o, "label2id", json_pack("{si}", "LABEL_0", 0));
    if (c->reward_mean != 0 || c->reward_std != 1) {
        json_object_set_new(o, "mean", json_real(c->reward_mean));
        json_object_set_new(o, "std", json_real(c->reward_std));
    }
}

static void add_keys(json_t *o, const struct model_config *c, const struct key *k)
{
    for (; k->name; k++) {
        const char *at = (const char *)c + k->at;
        json_t *v = k->kind == KEY_INT     ? json_integer(*(const int *)(const void *)at)
                    : k->kind == KEY_FLOAT ? family_real(*(const float *)(const void *)at)
                    : k->kind == KEY_BOOL  ? json_boolean(*(const bool *)at)
                                           : json_loads(k->only, JSON_DECODE_ANY, NULL);
        json_object_set_new(o, k->name, v);
    }
}

static const char *act_name(const struct model_config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(ACTIVATIONS); i++)
        if (ACTIVATIONS[i].act == c->choices.act)
            return ACTIVATIONS[i].name;
    return "silu";
}

static void add_sizes(json_t *o, const struct model_config *c, const struct family *f)
{
    const struct choices *h = &c->choices;
    const struct {
        const char *key;
        int value;
    } sizes[] = {
        {"hidden_size", c->width},
        {"intermediate_size", c->ffn},
        {"num_hidden_layers", c->layers},
        {"num_attention_heads", c->heads},
        {"num_key_value_heads", c->kv_heads},
        {"head_dim", c->head_size},
        {"vocab_size", c->vocab},
        {"max_position_embeddings", h->rope.longest ? h->rope.longest : c->max_position},
    };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        json_object_set_new(o, family_key(f, sizes[i].key), json_integer(sizes[i].value));
}

json_t *config_to_json(const struct model_config *c, enum dtype dtype)
{
    const struct family *f = family_of(c);
    json_t *o = json_pack("{s[s] ss}", "architectures", c->score_head ? f->classifier : f->causal,
                          "model_type", f->about.model_type);
    if (!o)
        return NULL;
    add_keys(o, c, f->keys);
    json_object_set_new(o, family_key(f, "hidden_act"), json_string(act_name(c)));
    add_sizes(o, c, f);
    json_object_set_new(o, "attention_dropout", json_real(0));
    json_object_set_new(o, "initializer_range", json_real(0.02));
    json_object_set_new(o, family_key(f, "rms_norm_eps"), family_real(c->norm_eps));
    if (!c->choices.positions)
        rope_write(o, c);
    if (f->write)
        f->write(o, c);
    json_object_set_new(o, "tie_word_embeddings", json_boolean(c->tied));
    json_object_set_new(o, "bos_token_id", id_or_null(c->bos));
    json_object_set_new(o, "eos_token_id", eos_json(c));
    // a sequence classifier needs a pad id to find the last token; one that the model never had
    // is its EOS
    json_object_set_new(o, "pad_token_id",
                        id_or_null(c->pad < 0 && c->score_head ? c->eos : c->pad));
    json_object_set_new(o, "torch_dtype", json_string(dtype_name(dtype)));
    json_object_set_new(o, "use_cache", json_true());
    if (c->score_head)
        add_labels(o, c);
    return o;
}

json_t *config_generation_json(const struct model_config *c)
{
    json_t *o = json_object();
    if (c->bos >= 0)
        json_object_set_new(o, "bos_token_id", json_integer(c->bos));
    if (c->eos >= 0)
        json_object_set_new(o, "eos_token_id", eos_json(c));
    if (c->pad >= 0)
        json_object_set_new(o, "pad_token_id", json_integer(c->pad));
    return o;
}
