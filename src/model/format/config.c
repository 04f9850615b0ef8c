/* config.c - config.json and generation_config.json of a Llama checkpoint, read and written.
 *
 * Reading: missing keys get transformers' defaults (LlamaConfig); a key that asks for something
 * this program does not do (rope scaling, biases, other activations) is refused with its value.
 * Both generations of spelling are understood: rope_theta and torch_dtype, or rope_parameters
 * and dtype. Written is the older one, which every version of transformers reads. */
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

/* The limits are far above any Llama and low enough that products of two of them fit in an
 * int64. */
int config_check(const struct model_config *c, const char *where, struct err *err)
{
    const struct range ranges[] = {
        {"vocab_size", c->vocab, 1, 1 << 24},
        {"hidden_size", c->width, 1, 1 << 18},
        {"num_hidden_layers", c->layers, 1, 4096},
        {"num_attention_heads", c->heads, 1, 4096},
        {"num_key_value_heads", c->kv_heads, 1, 4096},
        {"head_dim", c->head_size, 2, 4096},
        {"intermediate_size", c->ffn, 1, 1 << 20},
        {"max_position_embeddings", c->max_position, 1, INT32_MAX},
        {"bos_token_id", c->bos, -1, c->vocab - 1},
        {"eos_token_id", c->eos, -1, c->vocab - 1},
        {"pad_token_id", c->pad, -1, c->vocab - 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        const struct range *r = &ranges[i];
        if (r->value < r->min || r->value > r->max)
            return err_set(err, ERR_FORMAT, "%s: '%s' is %lld, expected %lld to %lld", where,
                           r->key, (long long)r->value, (long long)r->min, (long long)r->max);
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
                       "%s: 'rms_norm_eps' %g or 'rope_theta' %g is out of range", where,
                       (double)c->norm_eps, (double)c->rope_theta);
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

static int check_supported(const json_t *o, const char *where, struct err *err)
{
    static const struct {
        const char *key, *only;
    } keys[] = {
        {"model_type", "\"llama\""}, {"hidden_act", "\"silu\""},
        {"rope_scaling", "null"},    {"attention_bias", "false"},
        {"mlp_bias", "false"},       {"quantization_config", "null"},
        {"sliding_window", "null"},  {"partial_rotary_factor", "1.0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        int rc = refuse(o, keys[i].key, keys[i].only, where, err);
        if (rc)
            return rc;
    }
    return json_object_get(o, "model_type")
               ? 0
               : err_set(err, ERR_MISSING, "%s: 'model_type' is missing; \"llama\" is expected",
                         where);
}

/* transformers 5: {"rope_theta": 100000.0, "rope_type": "default"}. */
static int read_rope(struct model_config *c, const json_t *o, const char *where,
                     struct err *err)
{
    const json_t *rope = json_object_get(o, "rope_parameters");
    int rc = get_float(&c->rope_theta, o, "rope_theta", where, err);
    if (rc || !rope || json_is_null(rope))
        return rc;
    rc = get_float(&c->rope_theta, rope, "rope_theta", where, err);
    if (rc == 0)
        rc = refuse(rope, "rope_type", "\"default\"", where, err);
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

static int read_sizes(struct model_config *c, const json_t *o, const char *where,
                      struct err *err)
{
    struct {
        const char *key;
        int *out;
    } ints[] = {
        {"vocab_size", &c->vocab},          {"hidden_size", &c->width},
        {"intermediate_size", &c->ffn},     {"num_hidden_layers", &c->layers},
        {"num_attention_heads", &c->heads}, {"max_position_embeddings", &c->max_position},
        {"bos_token_id", &c->bos},          {"pad_token_id", &c->pad},
    };
    for (size_t i = 0; i < ARRAY_LEN(ints); i++) {
        int rc = get_int(ints[i].out, o, ints[i].key, where, err);
        if (rc)
            return rc;
    }
    if (json_is_null(json_object_get(o, "bos_token_id")))
        c->bos = -1;
    c->kv_heads = c->heads;
    c->head_size = c->heads > 0 ? c->width / c->heads : 0;
    int rc = get_int(&c->kv_heads, o, "num_key_value_heads", where, err);
    return rc ? rc : get_int(&c->head_size, o, "head_dim", where, err);
}

static int read_numbers(struct model_config *c, const json_t *o, const char *where,
                        struct err *err)
{
    int rc = get_float(&c->norm_eps, o, "rms_norm_eps", where, err);
    if (rc == 0)
        rc = read_rope(c, o, where, err);
    if (rc == 0)
        rc = json_bool_or(o, "tie_word_embeddings", false, &c->tied, where, err);
    if (rc == 0)
        rc = json_double_or(o, "mean", 0, &c->reward_mean, where, err);
    if (rc == 0)
        rc = json_double_or(o, "std", 1, &c->reward_std, where, err);
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

static int read_config(struct model_config *c, bool *seq_cls, const json_t *o,
                       const char *where, struct err *err)
{
    if (!json_is_object(o))
        return err_set(err, ERR_FORMAT, "%s: expected a JSON object", where);
    config_defaults(c);
    *seq_cls = names_architecture(o, "LlamaForSequenceClassification");
    int rc = check_supported(o, where, err);
    if (rc == 0)
        rc = read_sizes(c, o, where, err);
    if (rc == 0)
        rc = read_numbers(c, o, where, err);
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
    int rc = o ? read_config(c, seq_cls, o, path, err) : err ? err->code : ERR_FORMAT;
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

/* 1e-5 was read as a float; its shortest spelling is what the source had. */
static json_t *real(float x)
{
    char s[40];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, (double)x);
        if (strtof(s, NULL) == x)
            break;
    }
    return json_real(strtod(s, NULL));
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

json_t *config_to_json(const struct model_config *c, enum dtype dtype)
{
    json_t *o = json_pack(
        "{s[s] ss sb sb ss si si si si si si si si}", "architectures",
        c->score_head ? "LlamaForSequenceClassification" : "LlamaForCausalLM", "model_type",
        "llama", "attention_bias", 0, "mlp_bias", 0, "hidden_act", "silu", "hidden_size",
        c->width, "intermediate_size", c->ffn, "num_hidden_layers", c->layers,
        "num_attention_heads", c->heads, "num_key_value_heads", c->kv_heads, "head_dim",
        c->head_size, "vocab_size", c->vocab, "max_position_embeddings", c->max_position);
    if (!o)
        return NULL;
    json_object_set_new(o, "attention_dropout", json_real(0));
    json_object_set_new(o, "initializer_range", json_real(0.02));
    json_object_set_new(o, "rms_norm_eps", real(c->norm_eps));
    json_object_set_new(o, "rope_theta", real(c->rope_theta));
    json_object_set_new(o, "rope_scaling", json_null());
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
