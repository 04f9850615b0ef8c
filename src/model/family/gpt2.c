/* family/gpt2.c - GPT-2: LayerNorm, biases everywhere, learned positions, a plain MLP, matrices stored transposed. */
#include "model/family/family.h"

static const struct part_name parts[] = {
    {PART_EMBED, "transformer.wte"},
    {PART_POSITIONS, "transformer.wpe"},
    {PART_NORM1, "transformer.h.%d.ln_1"},
    {PART_QKV, "transformer.h.%d.attn.c_attn", ORDER_TRANSPOSED},
    {PART_OUT, "transformer.h.%d.attn.c_proj", ORDER_TRANSPOSED},
    {PART_NORM2, "transformer.h.%d.ln_2"},
    {PART_UP, "transformer.h.%d.mlp.c_fc", ORDER_TRANSPOSED},
    {PART_DOWN, "transformer.h.%d.mlp.c_proj", ORDER_TRANSPOSED},
    {PART_FINAL_NORM, "transformer.ln_f"},
    {PART_HEAD, "lm_head"},
    {0},
};

static const struct alias aliases[] = {
    {"hidden_size", "n_embd"},
    {"num_hidden_layers", "n_layer"},
    {"num_attention_heads", "n_head"},
    {"max_position_embeddings", "n_positions"},
    {"intermediate_size", "n_inner"},
    {"rms_norm_eps", "layer_norm_epsilon"},
    {"hidden_act", "activation_function"},
    {0},
};

static const struct key keys[] = {
    KEY("scale_attn_by_inverse_layer_idx", KEY_BOOL, choices.scale_by_layer),
    ONLY("add_cross_attention", "false"),
    {0},
};

static void defaults(struct model_config *c)
{
    c->vocab = 50257;
    c->width = 768;
    c->layers = c->heads = 12;
    c->ffn = 0;
    c->max_position = 1024;
    c->norm_eps = 1e-5f;
    c->tied = true;
    c->bos = c->eos = 50256;
    c->choices = (struct choices){.norm = NORM_LAYER, .qkv_bias = true, .out_bias = true, .mlp_bias = true,
                                  .plain_mlp = true, .act = ACT_GELU_TANH, .positions = 1};
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    bool scaled;
    int rc = json_bool_or(o, "scale_attn_weights", true, &scaled, where, err);
    if (!c->ffn && c->width > 0 && c->width <= INT32_MAX / 4)
        c->ffn = 4 * c->width;      // n_inner null or absent
    c->choices.positions = c->max_position;
    c->choices.attention_scale = scaled ? 0 : 1;
    return rc;
}

static void write(json_t *o, const struct model_config *c)
{
    json_object_set_new(o, "scale_attn_weights", json_boolean(c->choices.attention_scale == 0));
}

const struct family FAMILY_GPT2 = {
    .about = {"gpt2", "GPT-2", "openai-community/gpt2, openai-community/gpt2-xl, distilbert/distilgpt2", NULL, "gpt2"},
    .causal = "GPT2LMHeadModel",
    .classifier = "GPT2ForSequenceClassification",
    .base = "transformer.",
    .parts = parts,
    .keys = keys,
    .aliases = aliases,
    .defaults = defaults,
    .read = read,
    .write = write,
};
