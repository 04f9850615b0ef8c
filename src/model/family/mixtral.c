/* family/mixtral.c - Mixtral: Mistral with several MLPs per layer, of which a router picks some for every token. */
#include "model/family/family.h"

static const struct part_name parts[] = {
    {PART_EMBED, "model.embed_tokens"},
    {PART_NORM1, "model.layers.%d.input_layernorm"},
    {PART_Q, "model.layers.%d.self_attn.q_proj"},
    {PART_K, "model.layers.%d.self_attn.k_proj"},
    {PART_V, "model.layers.%d.self_attn.v_proj"},
    {PART_OUT, "model.layers.%d.self_attn.o_proj"},
    {PART_NORM2, "model.layers.%d.post_attention_layernorm"},
    {PART_ROUTER, "model.layers.%d.block_sparse_moe.gate"},
    {PART_EXPERT_GATE, "model.layers.%d.block_sparse_moe.experts.%d.w1"},
    {PART_EXPERT_DOWN, "model.layers.%d.block_sparse_moe.experts.%d.w2"},
    {PART_EXPERT_UP, "model.layers.%d.block_sparse_moe.experts.%d.w3"},
    {PART_FINAL_NORM, "model.norm"},
    {PART_HEAD, "lm_head"},
    {0},
};

static const struct key keys[] = {
    KEY("num_local_experts", KEY_INT, choices.experts),
    KEY("num_experts_per_tok", KEY_INT, choices.experts_used),
    KEY("router_aux_loss_coef", KEY_FLOAT, choices.router_loss),
    KEY("output_router_logits", KEY_BOOL, choices.router_trained),
    {0},
};

static void defaults(struct model_config *c)
{
    c->ffn = 14336;
    c->kv_heads = 8;
    c->max_position = 131072;
    c->norm_eps = 1e-5f;
    c->rope_theta = 1e6f;
    c->choices.experts = 8;
    c->choices.experts_used = 2;
    c->choices.router_loss = 0.001f;
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

const struct family FAMILY_MIXTRAL = {
    .about = {"mixtral", "Mixtral", "mistralai/Mixtral-8x7B-Instruct-v0.1", "mixture of experts, with its router loss", "llama"},
    .causal = "MixtralForCausalLM",
    .classifier = "MixtralForSequenceClassification",
    .base = "model.",
    .parts = parts,
    .keys = keys,
    .gguf_interleaved = true,
    .defaults = defaults,
    .read = read,
    .write = write,
};
