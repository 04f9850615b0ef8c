/* family/phi3.c - Phi-3: Llama whose q, k, v and gate, up are one matrix each in files too, with longrope. */
#include "model/family/family.h"

static const struct part_name parts[] = {
    {PART_EMBED, "model.embed_tokens"},
    {PART_NORM1, "model.layers.%d.input_layernorm"},
    {PART_QKV, "model.layers.%d.self_attn.qkv_proj"},
    {PART_OUT, "model.layers.%d.self_attn.o_proj"},
    {PART_NORM2, "model.layers.%d.post_attention_layernorm"},
    {PART_GATE_UP, "model.layers.%d.mlp.gate_up_proj"},
    {PART_DOWN, "model.layers.%d.mlp.down_proj"},
    {PART_FINAL_NORM, "model.norm"},
    {PART_HEAD, "lm_head"},
    {0},
};

static void defaults(struct model_config *c)
{
    c->vocab = 32064;
    c->width = 3072;
    c->ffn = 8192;
    c->max_position = 4096;
    c->norm_eps = 1e-5f;
    c->eos = c->pad = 32000;
    c->choices.rope.original = 4096;
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    int window;
    int rc = family_int(&window, o, "sliding_window", where, err);
    return rc ? rc : family_windows(c, o, window, windowed_all, where, err);
}

static void write(json_t *o, const struct model_config *c)
{
    json_object_set_new(o, "sliding_window", c->choices.window ? json_integer(c->choices.window) : json_null());
}

const struct family FAMILY_PHI3 = {
    .about = {"phi3", "Phi-3, Phi-3.5, Phi-4", "microsoft/Phi-3-mini-4k-instruct, microsoft/Phi-3.5-mini-instruct, microsoft/phi-4",
              "long-context models with `--max_model_len`", "phi3"},
    .causal = "Phi3ForCausalLM",
    .classifier = "Phi3ForSequenceClassification",
    .base = "model.",
    .parts = parts,
    .keys = PLAIN_KEYS,
    .partial_rotary = true,
    .defaults = defaults,
    .read = read,
    .write = write,
};
