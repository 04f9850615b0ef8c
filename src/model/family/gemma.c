/* family/gemma.c - Gemma 1: a wide head, gains around zero, embeddings times the root of their width. */
#include "model/family/family.h"

#include <math.h>

static const struct key keys[] = {
    KEY("attention_bias", KEY_BOOL, choices.qkv_bias),
    ONLY("use_bidirectional_attention", "false"),
    {0},
};

static void defaults(struct model_config *c)
{
    c->vocab = 256000;
    c->width = 3072;
    c->ffn = 24576;
    c->layers = 28;
    c->heads = c->kv_heads = 16;
    c->head_size = 256;
    c->max_position = 8192;
    c->tied = true;
    c->bos = 2;
    c->eos = 1;
    c->pad = 0;
    c->choices.norm = NORM_RMS_OFFSET;
    c->choices.act = ACT_GELU_TANH;
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    c->choices.out_bias = c->choices.qkv_bias;
    c->choices.embed_scale = (float)sqrt(c->width);
    if (c->choices.act == ACT_GELU)     // "gelu" in the first releases; transformers takes it for this one too
        c->choices.act = ACT_GELU_TANH;
    return 0;
}

const struct family FAMILY_GEMMA = {
    .about = {"gemma", "Gemma 1", "google/gemma-2b-it, google/gemma-7b", NULL, "gemma"},
    .causal = "GemmaForCausalLM",
    .classifier = "GemmaForSequenceClassification",
    .base = "model.",
    .parts = LLAMA_PARTS,
    .keys = keys,
    .defaults = defaults,
    .read = read,
};
