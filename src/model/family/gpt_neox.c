/* family/gpt_neox.c - GPT-NeoX and Pythia: LayerNorm, both branches read the same input, a quarter of each head turns. */
#include "model/family/family.h"

static const struct part_name parts[] = {
    {PART_EMBED, "gpt_neox.embed_in"},
    {PART_NORM1, "gpt_neox.layers.%d.input_layernorm"},
    {PART_QKV, "gpt_neox.layers.%d.attention.query_key_value", ORDER_BY_HEAD},
    {PART_OUT, "gpt_neox.layers.%d.attention.dense"},
    {PART_NORM2, "gpt_neox.layers.%d.post_attention_layernorm"},
    {PART_UP, "gpt_neox.layers.%d.mlp.dense_h_to_4h"},
    {PART_DOWN, "gpt_neox.layers.%d.mlp.dense_4h_to_h"},
    {PART_FINAL_NORM, "gpt_neox.final_layer_norm"},
    {PART_HEAD, "embed_out"},
    {0},
};

static const struct alias aliases[] = {
    {"rms_norm_eps", "layer_norm_eps"},
    {"rope_theta", "rotary_emb_base"},
    {"partial_rotary_factor", "rotary_pct"},
    {0},
};

static const struct key keys[] = {
    KEY("use_parallel_residual", KEY_BOOL, choices.parallel),
    KEY("attention_bias", KEY_BOOL, choices.qkv_bias),
    {0},
};

static void defaults(struct model_config *c)
{
    c->vocab = 50432;
    c->width = 6144;
    c->layers = 44;
    c->heads = 64;
    c->ffn = 24576;
    c->norm_eps = 1e-5f;
    c->bos = 0;
    c->eos = 2;
    c->choices = (struct choices){.norm = NORM_LAYER, .qkv_bias = true, .mlp_bias = true, .plain_mlp = true,
                                  .parallel = true, .act = ACT_GELU, .rope.share = 0.25};
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    c->choices.out_bias = c->choices.qkv_bias;
    if (c->kv_heads != c->heads || c->head_size * c->heads != c->width)
        return err_set(err, ERR_UNSUPPORTED, "%s: %d heads of %d and %d of keys; gpt_neox has hidden_size / num_attention_heads "
                       "columns in each, and as many of keys", where, c->heads, c->head_size, c->kv_heads);
    return 0;
}

const struct family FAMILY_GPT_NEOX = {
    .about = {"gpt_neox", "GPT-NeoX, Pythia", "EleutherAI/pythia-160m, EleutherAI/gpt-neox-20b", NULL, "gptneox"},
    .causal = "GPTNeoXForCausalLM",
    .classifier = "GPTNeoXForSequenceClassification",
    .base = "gpt_neox.",
    .parts = parts,
    .keys = keys,
    .aliases = aliases,
    .partial_rotary = true,
    .defaults = defaults,
    .read = read,
};
