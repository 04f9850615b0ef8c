/* gguf_keys_out.c - a config as the metadata of a GGUF file.
 *
 * llama.cpp fixes several choices by the architecture's name (activation, which layers have a
 * window, biases, the scale of scores).  A model that chose otherwise is refused by the key of
 * its config.json: the file would run and be wrong. */
#include "model/format/gguf_out.h"

#include <math.h>

/* ---- pairs ---------------------------------------------------------------------- */

void gguf_add_u32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, sizeof v);
}

void gguf_add_u64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, sizeof v);
}

void gguf_add_f32(struct buf *b, float v)
{
    buf_add(b, &v, sizeof v);
}

void gguf_add_str(struct buf *b, const char *s, size_t n)
{
    gguf_add_u64(b, n);
    buf_add(b, s, n);
}

static void put_key(struct gguf_out *o, const char *key, enum gguf_type type)
{
    gguf_add_str(&o->kv, key, strlen(key));
    gguf_add_u32(&o->kv, type);
    o->n++;
}

void gguf_put_u32(struct gguf_out *o, const char *key, uint32_t v)
{
    put_key(o, key, GGUF_U32);
    gguf_add_u32(&o->kv, v);
}

void gguf_put_f32(struct gguf_out *o, const char *key, float v)
{
    put_key(o, key, GGUF_F32);
    gguf_add_f32(&o->kv, v);
}

void gguf_put_bool(struct gguf_out *o, const char *key, bool v)
{
    put_key(o, key, GGUF_BOOL);
    buf_add(&o->kv, &(char){v}, 1);
}

void gguf_put_strn(struct gguf_out *o, const char *key, const char *s, size_t n)
{
    put_key(o, key, GGUF_STRING);
    gguf_add_str(&o->kv, s, n);
}

void gguf_put_str(struct gguf_out *o, const char *key, const char *s)
{
    gguf_put_strn(o, key, s, strlen(s));
}

void gguf_put_array(struct gguf_out *o, const char *key, enum gguf_type of, uint64_t count)
{
    put_key(o, key, GGUF_ARRAY);
    gguf_add_u32(&o->kv, of);
    gguf_add_u64(&o->kv, count);
}

/* ---- what cannot be said ------------------------------------------------------------ */

struct out {
    struct gguf_out *o;
    const struct model_config *c;
    const struct family *f;
    const char *arch;
    struct err *err;
};

static int refuse(const struct out *x, const char *usual, const char *why)
{
    return err_set(x->err, ERR_UNSUPPORTED,
                   "%s: '%s' is not what llama.cpp computes for the architecture %s (%s); this "
                   "model has no GGUF",
                   x->o->path, family_key(x->f, usual), x->arch, why);
}

static bool is(const struct out *x, const char *model_type)
{
    return !strcmp(x->f->about.model_type, model_type);
}

static int check_fixed(const struct out *x)
{
    const struct choices *h = &x->c->choices;
    struct model_config usual;
    config_defaults(&usual);
    if (x->f->defaults)
        x->f->defaults(&usual);
    bool free_biases = is(x, "llama") || is(x, "granite") || is(x, "smollm3");
    if (h->act != usual.choices.act)
        return refuse(x, "hidden_act", "another activation");
    if (!free_biases && h->qkv_bias != usual.choices.qkv_bias)
        return refuse(x, "attention_bias", "biases");
    if (is(x, "gemma2") && !(h->attention_softcap > 0 && h->logit_softcap > 0))
        return refuse(
            x, h->logit_softcap > 0 ? "attn_logit_softcapping" : "final_logit_softcapping",
            "it caps always");
    if (is(x, "gemma3_text") && h->logit_softcap > 0)
        return refuse(x, "final_logit_softcapping", "it never caps");
    if (h->scale_by_layer)
        return refuse(x, "scale_attn_by_inverse_layer_idx", "one scale for all layers");
    if (is(x, "gpt2") && h->attention_scale > 0)
        return refuse(x, "scale_attn_weights", "it scales always");
    if (str_starts(x->arch, "gemma") && !is(x, "gemma")) {
        double q =
            gguf_gemma_scale(x->arch, x->c->layers, x->c->width, x->c->heads, x->c->head_size);
        if (fabs(h->attention_scale * sqrt(q) - 1) > 1e-5)
            return refuse(x, "query_pre_attn_scalar",
                          "it follows from head_dim and the layers");
    }
    return 0;
}

/* Windows of the architectures that know them; the others compute without, which is the same up
 * to the window's length. */
static int check_windows(const struct out *x)
{
    int every = is(x, "gemma2") ? 2 : is(x, "gemma3_text") ? 6 : 0;
    for (int l = 0; l < x->c->layers; l++) {
        bool window = x->c->choices.layer[l] & LAYER_WINDOW,
             still = x->c->choices.layer[l] & LAYER_NO_ROPE;
        if (still != (is(x, "smollm3") && (l + 1) % 4 == 0))
            return refuse(x, "no_rope_layers", "every fourth layer");
        if (every && x->c->choices.window && window != ((l + 1) % every != 0))
            return refuse(x, "layer_types", "a fixed order of layers with windows");
        if (!every && window && !is(x, "mistral") && !is(x, "mixtral") && !is(x, "phi3"))
            return refuse(x, "use_sliding_window", "no windows");
    }
    return 0;
}

static int check_rope(const struct out *x)
{
    const struct rope_choice *r = &x->c->choices.rope;
    bool yarn = r->kind == ROPE_YARN;
    if (yarn && (r->attention_factor || r->beta_fast || r->beta_slow || r->mscale ||
                 r->mscale_all_dim || r->no_truncate))
        return refuse(x, "rope_scaling", "yarn with numbers of its own");
    if (r->kind == ROPE_LONGROPE && !is(x, "phi3"))
        return refuse(x, "rope_scaling", "no longrope");
    if (r->kind == ROPE_LLAMA3 && !is(x, "llama") && !is(x, "granite"))
        return refuse(x, "rope_scaling", "no llama3 scaling");
    if (x->c->choices.local_theta > 0 && x->c->choices.local_theta != 10000)
        return refuse(x, "rope_local_base_freq", "10000");
    return 0;
}

/* ---- keys ------------------------------------------------------------------------- */

static const char *key(const struct out *x, char out[96], const char *name)
{
    snprintf(out, 96, "%s.%s", x->arch, name);
    return out;
}

static void u32(const struct out *x, const char *name, int v)
{
    char k[96];
    gguf_put_u32(x->o, key(x, k, name), (uint32_t)v);
}

static void f32(const struct out *x, const char *name, double v)
{
    char k[96];
    gguf_put_f32(x->o, key(x, k, name), (float)v);
}

static void put_rope(const struct out *x)
{
    const struct rope_choice *r = &x->c->choices.rope;
    char k[96];
    u32(x, "rope.dimension_count", rope_size(x->c));
    f32(x, "rope.freq_base", x->c->rope_theta);
    if (r->kind == ROPE_LINEAR || r->kind == ROPE_YARN) {
        gguf_put_str(x->o, key(x, k, "rope.scaling.type"),
                     r->kind == ROPE_YARN ? "yarn" : "linear");
        f32(x, "rope.scaling.factor", r->factor);
    }
    if (r->kind == ROPE_YARN || r->kind == ROPE_LONGROPE)
        u32(x, "rope.scaling.original_context_length", r->original);
    if (r->kind == ROPE_LONGROPE) {
        float frequencies[ROPE_FACTORS_MAX], scale;
        rope_frequencies(frequencies, &scale, x->c, false);
        f32(x, "rope.scaling.attn_factor", scale);
    }
}

static void put_some(const struct out *x)
{
    const struct choices *h = &x->c->choices;
    char k[96];
    if (h->window || str_starts(x->arch, "gemma2") || str_starts(x->arch, "gemma3"))
        u32(x, "attention.sliding_window", h->window ? h->window : x->c->max_position);
    if (h->window && !str_starts(x->arch, "gemma") && h->window < x->c->max_position)
        log_warn("%s: llama.cpp attends to all keys where this model sees the last %d; beyond "
                 "that many tokens its results differ",
                 x->o->path, h->window);
    if (is(x, "gemma2")) {
        f32(x, "attn_logit_softcapping", h->attention_softcap);
        f32(x, "final_logit_softcapping", h->logit_softcap);
    }
    if (is(x, "granite")) {
        f32(x, "embedding_scale", h->embed_scale);
        f32(x, "residual_scale", h->residual_scale);
        f32(x, "attention.scale", h->attention_scale);
        f32(x, "logit_scale", h->logit_divisor);
    }
    if (h->experts) {
        u32(x, "expert_count", h->experts);
        u32(x, "expert_used_count", h->experts_used);
    }
    if (is(x, "gpt_neox"))
        gguf_put_bool(x->o, key(x, k, "use_parallel_residual"), h->parallel);
}

int gguf_put_config(struct gguf_out *o, const struct model_config *c, struct err *err)
{
    const struct family *f = family_of(c);
    struct out x = {o, c, f, f->about.gguf, err};
    const struct rope_choice *r = &c->choices.rope;
    int rc;
    if (!x.arch)
        return err_set(err, ERR_UNSUPPORTED, "%s: llama.cpp has no architecture for %s",
                       o->path, f->about.model_type);
    if (c->score_head)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: a reward or value model; GGUF files hold language models only",
                       o->path);
    if ((rc = check_fixed(&x)) || (rc = check_windows(&x)) || (rc = check_rope(&x)))
        return rc;
    gguf_put_str(o, "general.architecture", x.arch);
    u32(&x, "vocab_size", c->vocab);
    u32(&x, "context_length", r->longest ? r->longest : c->max_position);
    u32(&x, "embedding_length", c->width);
    u32(&x, "block_count", c->layers);
    u32(&x, "feed_forward_length", c->ffn);
    u32(&x, "attention.head_count", c->heads);
    u32(&x, "attention.head_count_kv", c->kv_heads);
    u32(&x, "attention.key_length", c->head_size);
    u32(&x, "attention.value_length", c->head_size);
    f32(&x,
        c->choices.norm == NORM_LAYER ? "attention.layer_norm_epsilon"
                                      : "attention.layer_norm_rms_epsilon",
        c->norm_eps);
    if (!c->choices.positions)
        put_rope(&x);
    put_some(&x);
    return 0;
}
