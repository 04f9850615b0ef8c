/* gguf_keys.c - the config of a GGUF file.
 *
 * What the metadata says is written down as the family's config.json would say it and read by
 * the same code (config.c), so a family's defaults, derived choices and limits hold for both.
 * llama.cpp leaves some choices to the architecture's name; family_of_gguf and the rules below
 * give them back.  Scaled rotary positions of Llama 3.1 are a tensor of divisors there, from
 * which the parameters are found again. */
#include "model/format/gguf.h"

#include <math.h>

#include "model/family/family.h"

struct keys {
    const struct gguf *g;
    const struct family *f;
    char arch[32];
    json_t *o;
    struct err *err;
    int rc; // the first failure; later calls do nothing
};

static const char *full_key(const struct keys *k, char out[96], const char *name)
{
    snprintf(out, 96, "%s%s", *name == '.' ? k->arch : "", name);
    return out;
}

static bool has_key(const struct keys *k, const char *name)
{
    char key[96];
    return gguf_find(k->g, full_key(k, key, name)) != NULL;
}

/* A whole number from 0 up, `missing` where it is absent; with need it must be there. */
static int64_t key_size(struct keys *k, const char *name, bool need, int64_t missing)
{
    char key[96];
    int64_t v = INT64_MIN;
    if (k->rc)
        return missing;
    k->rc = gguf_get_int(k->g, full_key(k, key, name), &v, k->err);
    if (k->rc == 0 && v == INT64_MIN && need)
        k->rc = err_set(k->err, ERR_MISSING, "%s: key '%s' is missing", k->g->path, key);
    if (k->rc == 0 && v != INT64_MIN && (v < 0 || v > INT32_MAX))
        k->rc = err_set(k->err, ERR_FORMAT, "%s: key '%s' is %lld, expected 0 to %d",
                        k->g->path, key, (long long)v, INT32_MAX);
    return k->rc || v == INT64_MIN ? missing : v;
}

static double key_real(struct keys *k, const char *name, double missing)
{
    char key[96];
    double v = missing;
    if (k->rc == 0)
        k->rc = gguf_get_float(k->g, full_key(k, key, name), &v, k->err);
    if (k->rc == 0 && !isfinite(v))
        k->rc = err_set(k->err, ERR_FORMAT, "%s: key '%s' is %g, expected a number", k->g->path,
                        key, v);
    return v;
}

/* "" where absent. */
static void key_text(struct keys *k, const char *name, char *out, size_t size)
{
    char key[96];
    struct gguf_str s = {0};
    if (k->rc == 0)
        k->rc = gguf_get_str(k->g, full_key(k, key, name), &s, k->err);
    snprintf(out, size, "%.*s", (int)(s.n < size ? s.n : size - 1), s.s ? s.s : "");
}

static void set(struct keys *k, const char *usual, json_t *v)
{
    json_object_set_new(k->o, family_key(k->f, usual), v);
}

/* ---- the family ----------------------------------------------------------------- */

static bool has_tensor(const struct keys *k, const char *name)
{
    for (size_t i = 0; i < k->g->n_tensors; i++)
        if (k->g->tensor[i].name.n == strlen(name) &&
            !memcmp(k->g->tensor[i].name.s, name, strlen(name)))
            return true;
    return false;
}

static void find_family(struct keys *k)
{
    char arch[64];
    key_text(k, "general.architecture", arch, sizeof arch);
    snprintf(k->arch, sizeof k->arch, "%.31s", arch);
    int64_t splits = key_size(k, "split.count", false, 1),
            experts = key_size(k, ".expert_count", false, 0);
    if (k->rc)
        return;
    k->f = family_of_gguf(arch, experts > 0);
    if (k->f && !strcmp(arch, "llama") && !experts && has_key(k, ".attention.sliding_window"))
        k->f = family_find("mistral");
    if (!k->f)
        k->rc = err_set(k->err, ERR_UNSUPPORTED,
                        "%s: general.architecture is '%s'%s, which is none of the supported "
                        "ones (llama, qwen2, qwen3, gemma, gemma2, gemma3, phi3, ..)",
                        k->g->path, arch, experts ? " with experts" : "");
    else if (splits > 1)
        k->rc = err_set(k->err, ERR_UNSUPPORTED,
                        "%s: split.count is %lld, only whole files "
                        "are read",
                        k->g->path, (long long)splits);
    else
        json_object_set_new(k->o, "model_type", json_string(k->f->about.model_type));
}

/* ---- sizes ---------------------------------------------------------------------- */

/* The embedding's rows count, not vocab_size: files exist whose embedding is padded beyond it.
 */
static void set_vocab(struct keys *k)
{
    int64_t rows = 0;
    for (size_t i = 0; i < k->g->n_tensors; i++)
        if (k->g->tensor[i].name.n == 17 &&
            !memcmp(k->g->tensor[i].name.s, "token_embd.weight", 17))
            rows = k->g->tensor[i].size[1] < INT32_MAX ? (int64_t)k->g->tensor[i].size[1]
                                                       : INT32_MAX;
    if (!rows && k->rc == 0)
        k->rc = err_set(k->err, ERR_MISSING, "%s: tensor 'token_embd.weight' is missing",
                        k->g->path);
    set(k, "vocab_size", json_integer(rows));
}

static void set_sizes(struct keys *k)
{
    static const struct {
        const char *gguf, *usual;
        bool need;
    } sizes[] = {
        {".embedding_length", "hidden_size", true},
        {".block_count", "num_hidden_layers", true},
        {".feed_forward_length", "intermediate_size", true},
        {".attention.head_count", "num_attention_heads", true},
        {".attention.head_count_kv", "num_key_value_heads", false},
        {".context_length", "max_position_embeddings", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        int64_t v = key_size(k, sizes[i].gguf, sizes[i].need, -1);
        if (v >= 0)
            set(k, sizes[i].usual, json_integer(v));
    }
    if (!has_key(k, ".attention.head_count_kv"))
        set(k, "num_key_value_heads", json_null()); // as many as heads
    bool plain = has_key(k, ".attention.layer_norm_epsilon");
    double eps = key_real(
        k, plain ? ".attention.layer_norm_epsilon" : ".attention.layer_norm_rms_epsilon", 1e-6);
    set(k, "rms_norm_eps", json_real(eps));
    set_vocab(k);
}

/* Size of a head: 0 where the sizes make no sense, which config_check says better. */
static int64_t set_head(struct keys *k)
{
    int64_t heads = key_size(k, ".attention.head_count", true, 0),
            width = key_size(k, ".embedding_length", true, 0),
            size = key_size(k, ".attention.key_length", false, heads ? width / heads : 0),
            value = key_size(k, ".attention.value_length", false, size),
            turned = key_size(k, ".rope.dimension_count", false, size);
    if (k->rc || !heads)
        return 0;
    set(k, "head_dim", json_integer(size));
    if (value != size || turned > size || (turned != size && !k->f->partial_rotary))
        k->rc = err_set(k->err, ERR_UNSUPPORTED,
                        "%s: head size %lld, but value_length %lld and rope.dimension_count "
                        "%lld; they must be equal",
                        k->g->path, (long long)size, (long long)value, (long long)turned);
    else if (turned != size)
        set(k, "partial_rotary_factor", json_real((double)turned / (double)size));
    else if (k->f->partial_rotary)
        set(k, "partial_rotary_factor", json_real(1));
    return size;
}

/* ---- rotary positions ----------------------------------------------------------- */

/* Values of a vector of floats; NULL with rc 0 where there is no such tensor. */
static float *vector(struct keys *k, const char *name, size_t n)
{
    for (size_t i = 0; i < k->g->n_tensors && k->rc == 0; i++) {
        const struct gguf_tensor *t = &k->g->tensor[i];
        size_t at;
        if (t->name.n != strlen(name) || memcmp(t->name.s, name, t->name.n))
            continue;
        if (t->type != 0 || t->size[0] != n || t->size[1] != 1 ||
            !size_add(&at, k->g->data_start, t->offset) || at > k->g->n ||
            n > (k->g->n - at) / 4) {
            k->rc = err_set(k->err, ERR_FORMAT, "%s: tensor '%s': expected %zu values of F32",
                            k->g->path, name, n);
            return NULL;
        }
        float *v = mem_alloc(n + 1, sizeof *v);
        if (!v)
            k->rc = err_set(k->err, ERR_MEMORY, "%s: no memory", k->g->path);
        else
            memcpy(v, k->g->p + at, n * sizeof *v);
        return v;
    }
    return NULL;
}

static double llama3_divisor(double wave, double factor, double low, double high,
                             double original)
{
    double smooth = (original / wave - low) / (high - low);
    smooth = smooth < 0 ? 0 : smooth > 1 ? 1 : smooth;
    return 1 / ((1 - smooth) / factor + smooth);
}

/* Largest relative difference between the divisors and those of the parameters. */
static double llama3_off(const float *v, size_t n, double theta, double factor, double low,
                         double high, double original)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double wave = 2 * M_PI * pow(theta, (double)i / (double)n),
               want = llama3_divisor(wave, factor, low, high, original),
               off = fabs(v[i] - want) / want;
        worst = off > worst ? off : worst;
    }
    return worst;
}

/* Only original / low_freq_factor and original / high_freq_factor can be seen in the divisors,
 * so low_freq_factor is taken to be 1, as in every published model.  Between the two bounds 1 /
 * divisor is a line in 1 / wavelength, of which two points are enough; of a small head with one
 * there, high_freq_factor is 4, as in every published model too. */
static void set_llama3(struct keys *k, const float *v, size_t n, double theta)
{
    double factor = v[n - 1], x[2], y[2], low = 1, high = 4, original = 8192;
    int found = 0;
    for (size_t i = 0; i < n; i++)
        if (!(v[i] >= 1 && v[i] <= 1e6)) {
            k->rc =
                err_set(k->err, ERR_FORMAT, "%s: tensor 'rope_freqs.weight': value %zu is %g",
                        k->g->path, i, (double)v[i]);
            return;
        }
    if (llama3_off(v, n, theta, factor, low, high, original) > 1e-4) {
        for (size_t i = 0; i < n; i++)
            if (v[i] > 1.0001f && v[i] < 0.9999 * factor) {
                int at = found < 1 ? 0 : 1; // the first and the last between the bounds
                x[at] = 1 / (2 * M_PI * pow(theta, (double)i / (double)n));
                y[at] = (1 / (double)v[i] - 1 / factor) / (1 - 1 / factor);
                found++;
            }
        double a = found > 1 ? (y[1] - y[0]) / (x[1] - x[0]) : 0,
               b = found > 1 ? a * x[0] - y[0] : 0; // smooth = a / wave - b
        if (found > 1 && b > 0) {
            original = round(a / b); // low = 1
            high = round((1 + b) / b * 1e4) / 1e4;
        } else if (found == 1) {
            original = round((low + y[0] * (high - low)) / x[0]);
        }
    }
    if (llama3_off(v, n, theta, factor, low, high, original) > 1e-3) {
        k->rc = err_set(k->err, ERR_UNSUPPORTED,
                        "%s: tensor 'rope_freqs.weight' holds divisors other than those of "
                        "Llama 3.1's scaling of rotary positions",
                        k->g->path);
        return;
    }
    json_object_set_new(k->o, "rope_scaling",
                        json_pack("{ss sf sf sf sI}", "rope_type", "llama3", "factor", factor,
                                  "low_freq_factor", low, "high_freq_factor", high,
                                  "original_max_position_embeddings", (json_int_t)original));
}

static json_t *list_of(const float *v, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_real((double)v[i]));
    return list;
}

static void set_longrope(struct keys *k, size_t n)
{
    float *shorter = vector(k, "rope_factors_short.weight", n),
          *longer = vector(k, "rope_factors_long.weight", n);
    double scale = key_real(k, ".rope.scaling.attn_factor", 0);
    if (k->rc == 0 && (!shorter || !longer))
        k->rc = err_set(k->err, ERR_MISSING, "%s: tensor 'rope_factors_%s.weight' is missing",
                        k->g->path, shorter ? "long" : "short");
    int64_t original = key_size(k, ".rope.scaling.original_context_length", true, 0),
            longest = key_size(k, ".context_length", false, original);
    double factor = original > 1 ? (double)longest / (double)original : 1,
           usual = factor > 1 ? sqrt(1 + log(factor) / log((double)original)) : 1;
    if (k->rc == 0) {
        json_t *o = json_pack("{ss so so}", "type", "longrope", "short_factor",
                              list_of(shorter, n), "long_factor", list_of(longer, n));
        if (scale > 0 && fabs(scale - usual) > 1e-6 * usual)
            json_object_set_new(o, "attention_factor", json_real(scale));
        json_object_set_new(k->o, "rope_scaling", o);
        json_object_set_new(k->o, "original_max_position_embeddings", json_integer(original));
    }
    free(shorter);
    free(longer);
}

static void set_rope(struct keys *k, int64_t head)
{
    char type[32];
    size_t n = (size_t)key_size(k, ".rope.dimension_count", false, head) / 2;
    double theta = key_real(k, ".rope.freq_base", 10000),
           local = key_real(k, ".rope.freq_base_swa", 10000);
    key_text(k, ".rope.scaling.type", type, sizeof type);
    set(k, "rope_theta", json_real(theta));
    set(k, "rope_local_base_freq", json_real(local));
    if (k->rc || !n)
        return;
    if (has_tensor(k, "rope_freqs.weight")) {
        float *v = vector(k, "rope_freqs.weight", n);
        if (v)
            set_llama3(k, v, n, theta);
        free(v);
    } else if (has_tensor(k, "rope_factors_short.weight")) {
        set_longrope(k, n);
    } else if (!strcmp(type, "linear") || !strcmp(type, "yarn")) {
        json_t *o = json_pack("{ss sf}", "rope_type", type, "factor",
                              key_real(k, ".rope.scaling.factor", 0));
        int64_t original = key_size(k, ".rope.scaling.original_context_length", false, 0);
        if (original)
            json_object_set_new(o, "original_max_position_embeddings", json_integer(original));
        json_object_set_new(k->o, "rope_scaling", o);
    } else if (*type && strcmp(type, "none")) {
        k->rc = err_set(k->err, ERR_UNSUPPORTED,
                        "%s: %s.rope.scaling.type is '%s'; supported are none, linear and yarn",
                        k->g->path, k->arch, type);
    }
}

/* ---- what only some families have ------------------------------------------------- */

double gguf_gemma_scale(const char *arch, int layers, int width, int heads, int head_size)
{
    bool large = layers == (strcmp(arch, "gemma2") ? 62 : 46); // the 27B of each
    return large && heads ? (double)(width / heads) : head_size;
}

static void set_multipliers(struct keys *k, int64_t head)
{
    static const struct {
        const char *gguf, *own;
    } reals[] = {
        {".attn_logit_softcapping", "attn_logit_softcapping"},
        {".final_logit_softcapping", "final_logit_softcapping"},
        {".embedding_scale", "embedding_multiplier"},
        {".residual_scale", "residual_multiplier"},
        {".attention.scale", "attention_multiplier"},
        {".logit_scale", "logits_scaling"},
    };
    for (size_t i = 0; i < ARRAY_LEN(reals); i++)
        if (has_key(k, reals[i].gguf))
            json_object_set_new(k->o, reals[i].own, json_real(key_real(k, reals[i].gguf, 1)));
    if (!has_key(k, ".attention.scale") && head > 0)
        json_object_set_new(k->o, "attention_multiplier", json_real(1 / sqrt((double)head)));
    if (has_key(k, ".attention.sliding_window"))
        set(k, "sliding_window",
            json_integer(key_size(k, ".attention.sliding_window", false, 0)));
    else if (!str_starts(k->arch, "gemma"))
        set(k, "sliding_window", json_null());
    if (str_starts(k->arch, "gemma"))
        json_object_set_new(
            k->o, "query_pre_attn_scalar",
            json_real(gguf_gemma_scale(k->arch, (int)key_size(k, ".block_count", true, 0),
                                       (int)key_size(k, ".embedding_length", true, 0),
                                       (int)key_size(k, ".attention.head_count", true, 0),
                                       (int)head)));
    if (has_key(k, ".expert_count")) {
        json_object_set_new(k->o, "num_local_experts",
                            json_integer(key_size(k, ".expert_count", true, 0)));
        json_object_set_new(k->o, "num_experts_per_tok",
                            json_integer(key_size(k, ".expert_used_count", true, 0)));
    }
    bool parallel = true;
    char key[96];
    if (k->rc == 0)
        k->rc =
            gguf_get_bool(k->g, full_key(k, key, ".use_parallel_residual"), &parallel, k->err);
    json_object_set_new(k->o, "use_parallel_residual", json_boolean(parallel));
}

static void set_biases(struct keys *k)
{
    bool attention = has_tensor(k, "blk.0.attn_q.bias") || has_tensor(k, "blk.0.attn_qkv.bias");
    json_object_set_new(k->o, "attention_bias", json_boolean(attention));
    json_object_set_new(k->o, "mlp_bias", json_boolean(has_tensor(k, "blk.0.ffn_down.bias")));
}

static void set_ids(struct keys *k)
{
    int64_t bos = key_size(k, "tokenizer.ggml.bos_token_id", false, -1),
            eos = key_size(k, "tokenizer.ggml.eos_token_id", false, -1),
            eot = key_size(k, "tokenizer.ggml.eot_token_id", false, -1),
            pad = key_size(k, "tokenizer.ggml.padding_token_id", false, -1);
    json_t *ends = json_array();
    if (eos >= 0)
        json_array_append_new(ends, json_integer(eos));
    if (eot >= 0 && eot != eos)
        json_array_append_new(ends, json_integer(eot));
    json_object_set_new(k->o, "bos_token_id", bos >= 0 ? json_integer(bos) : json_null());
    json_object_set_new(k->o, "pad_token_id", pad >= 0 ? json_integer(pad) : json_null());
    json_object_set_new(k->o, "eos_token_id", ends);
}

int gguf_read_config(struct model_config *c, const struct gguf *g, struct err *err)
{
    bool seq_cls;
    struct keys k = {.g = g, .o = json_object(), .err = err};
    if (!k.o)
        return err_set(err, ERR_MEMORY, "%s: no memory for its config", g->path);
    find_family(&k);
    if (k.rc == 0) {
        set_sizes(&k);
        int64_t head = set_head(&k);
        set_rope(&k, head);
        set_multipliers(&k, head);
        set_biases(&k);
        set_ids(&k);
    }
    if (k.rc == 0)
        k.rc = config_from_json(c, &seq_cls, k.o, g->path, err);
    json_decref(k.o);
    return k.rc;
}
