/* family/gemma23.c - Gemma 2 (soft caps, a window in every second layer) and the text models of Gemma 3 (norms of
 * queries and keys, a window in five of six layers, which have a rope base of their own).  Both norm each branch before
 * and after. */
#include "model/family/family.h"

#include <math.h>

static const struct part_name parts[] = {
    {PART_EMBED, "model.embed_tokens"},
    {PART_NORM1, "model.layers.%d.input_layernorm"},
    {PART_Q, "model.layers.%d.self_attn.q_proj"},
    {PART_K, "model.layers.%d.self_attn.k_proj"},
    {PART_V, "model.layers.%d.self_attn.v_proj"},
    {PART_Q_NORM, "model.layers.%d.self_attn.q_norm"},
    {PART_K_NORM, "model.layers.%d.self_attn.k_norm"},
    {PART_OUT, "model.layers.%d.self_attn.o_proj"},
    {PART_POST1, "model.layers.%d.post_attention_layernorm"},
    {PART_NORM2, "model.layers.%d.pre_feedforward_layernorm"},
    {PART_GATE, "model.layers.%d.mlp.gate_proj"},
    {PART_UP, "model.layers.%d.mlp.up_proj"},
    {PART_DOWN, "model.layers.%d.mlp.down_proj"},
    {PART_POST2, "model.layers.%d.post_feedforward_layernorm"},
    {PART_FINAL_NORM, "model.norm"},
    {PART_HEAD, "lm_head"},
    {0},
};

static const struct key keys[] = {
    KEY("attention_bias", KEY_BOOL, choices.qkv_bias),
    ONLY("use_bidirectional_attention", "false"),
    {0},
};

static void defaults(struct model_config *c)
{
    c->vocab = 256000;
    c->width = 2304;
    c->ffn = 9216;
    c->layers = 26;
    c->heads = 8;
    c->kv_heads = 4;
    c->head_size = 256;
    c->max_position = 8192;
    c->tied = true;
    c->bos = 2;
    c->eos = 1;
    c->pad = 0;
    c->choices.norm = NORM_RMS_OFFSET;
    c->choices.place = NORM_AROUND;
    c->choices.act = ACT_GELU_TANH;
    c->choices.attention_softcap = 50;
    c->choices.logit_softcap = 30;
}

static void defaults3(struct model_config *c)
{
    defaults(c);
    c->vocab = 262208;
    c->max_position = 131072;
    c->rope_theta = 1e6f;
    c->choices.local_theta = 10000;
    c->choices.qk_norm = QK_NORM_HEAD;
    c->choices.attention_softcap = c->choices.logit_softcap = 0;
}

static bool every_second(const struct model_config *c, int layer)
{
    return layer % 2 == 0;
}

static bool five_of_six(const struct model_config *c, int layer)
{
    return (layer + 1) % 6 != 0;
}

static int cap(float *out, const json_t *o, const char *key, const char *where, struct err *err)
{
    double v;
    int rc = json_double_or(o, key, json_object_get(o, key) ? 0 : *out, &v, where, err);
    if (rc == 0)
        *out = (float)v;        // null: none
    return rc;
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    bool is3 = c->choices.qk_norm == QK_NORM_HEAD;
    int window = 4096, rc = 0;
    double scalar;
    c->choices.out_bias = c->choices.qkv_bias;
    c->choices.embed_scale = (float)sqrt(c->width);
    if (json_object_get(o, "sliding_window"))
        rc = family_int(&window, o, "sliding_window", where, err);
    const json_t *pattern = json_object_get(o, "sliding_window_pattern");
    if (rc == 0 && is3 && !json_is_array(json_object_get(o, "layer_types")) && pattern && json_integer_value(pattern) != 6)
        return err_set(err, ERR_UNSUPPORTED, "%s: 'sliding_window_pattern' is %lld; without 'layer_types' only 6 is supported", where,
                       (long long)json_integer_value(pattern));
    if (rc == 0)
        rc = family_windows(c, o, window, is3 ? five_of_six : every_second, where, err);
    if (rc == 0)
        rc = json_double_or(o, "query_pre_attn_scalar", 256, &scalar, where, err);
    if (rc == 0)
        c->choices.attention_scale = (float)pow(scalar, -0.5);
    if (rc == 0)
        rc = cap(&c->choices.attention_softcap, o, "attn_logit_softcapping", where, err);
    if (rc == 0)
        rc = cap(&c->choices.logit_softcap, o, "final_logit_softcapping", where, err);
    if (rc == 0 && is3)     // transformers reads the key and does not use it
        c->choices.attention_softcap = 0;
    return rc;
}

static json_t *number_or_null(float x)
{
    return x > 0 ? family_real(x) : json_null();
}

static void write(json_t *o, const struct model_config *c)
{
    const struct choices *h = &c->choices;
    json_object_set_new(o, "query_pre_attn_scalar", json_integer(lround(pow(h->attention_scale, -2))));
    json_object_set_new(o, "sliding_window", h->window ? json_integer(h->window) : json_null());
    json_object_set_new(o, "attn_logit_softcapping", number_or_null(h->attention_softcap));
    json_object_set_new(o, "final_logit_softcapping", number_or_null(h->logit_softcap));
    family_write_layer_types(o, c);
}

static const struct alias aliases[] = {{"hidden_act", "hidden_activation"}, {0}};

const struct family FAMILY_GEMMA2 = {
    .about = {"gemma2", "Gemma 2", "google/gemma-2-2b-it, google/gemma-2-9b", NULL, "gemma2"},
    .causal = "Gemma2ForCausalLM",
    .classifier = "Gemma2ForSequenceClassification",
    .base = "model.",
    .parts = parts,
    .keys = keys,
    .aliases = aliases,
    .defaults = defaults,
    .read = read,
    .write = write,
};

const struct family FAMILY_GEMMA3 = {
    .about = {"gemma3_text", "Gemma 3", "google/gemma-3-1b-it, google/gemma-3-270m-it",
              "text models; those that read images are another architecture", "gemma3"},
    .causal = "Gemma3ForCausalLM",
    .classifier = "Gemma3TextForSequenceClassification",
    .base = "model.",
    .parts = parts,
    .keys = keys,
    .aliases = aliases,
    .defaults = defaults3,
    .read = read,
    .write = write,
};
