/* family/olmo2.c - OLMo 2: branches are normed at their output alone, queries and keys over their whole width. */
#include "model/family/family.h"

static const struct part_name parts[] = {
    {PART_EMBED, "model.embed_tokens"},
    {PART_Q, "model.layers.%d.self_attn.q_proj"},
    {PART_K, "model.layers.%d.self_attn.k_proj"},
    {PART_V, "model.layers.%d.self_attn.v_proj"},
    {PART_Q_NORM, "model.layers.%d.self_attn.q_norm"},
    {PART_K_NORM, "model.layers.%d.self_attn.k_norm"},
    {PART_OUT, "model.layers.%d.self_attn.o_proj"},
    {PART_POST1, "model.layers.%d.post_attention_layernorm"},
    {PART_GATE, "model.layers.%d.mlp.gate_proj"},
    {PART_UP, "model.layers.%d.mlp.up_proj"},
    {PART_DOWN, "model.layers.%d.mlp.down_proj"},
    {PART_POST2, "model.layers.%d.post_feedforward_layernorm"},
    {PART_FINAL_NORM, "model.norm"},
    {PART_HEAD, "lm_head"},
    {0},
};

static const struct key keys[] = {KEY("attention_bias", KEY_BOOL, choices.qkv_bias), {0}};

static void defaults(struct model_config *c)
{
    c->vocab = 50304;
    c->norm_eps = 1e-5f;
    c->bos = -1;
    c->eos = 50279;
    c->pad = 1;
    c->choices.place = NORM_AFTER;
    c->choices.qk_norm = QK_NORM_WIDTH;
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    c->choices.out_bias = c->choices.qkv_bias;
    return 0;
}

const struct family FAMILY_OLMO2 = {
    .about = {"olmo2", "OLMo 2", "allenai/OLMo-2-0425-1B-Instruct, allenai/OLMo-2-1124-7B", NULL, "olmo2"},
    .causal = "Olmo2ForCausalLM",
    .classifier = "Olmo2ForSequenceClassification",
    .base = "model.",
    .parts = parts,
    .keys = keys,
    .defaults = defaults,
    .read = read,
};
