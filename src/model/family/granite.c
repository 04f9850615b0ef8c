/* family/granite.c - Granite 3: Llama with multipliers of embeddings, branches, scores and logits. */
#include "model/family/family.h"

static const struct key keys[] = {
    KEY("attention_bias", KEY_BOOL, choices.qkv_bias),
    KEY("mlp_bias", KEY_BOOL, choices.mlp_bias),
    KEY("embedding_multiplier", KEY_FLOAT, choices.embed_scale),
    KEY("residual_multiplier", KEY_FLOAT, choices.residual_scale),
    KEY("attention_multiplier", KEY_FLOAT, choices.attention_scale),
    KEY("logits_scaling", KEY_FLOAT, choices.logit_divisor),
    {0},
};

static void defaults(struct model_config *c)
{
    c->choices.embed_scale = c->choices.residual_scale = c->choices.attention_scale = c->choices.logit_divisor = 1;
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    static const char *const need[] = {"embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling"};
    const float value[] = {c->choices.embed_scale, c->choices.residual_scale, c->choices.attention_scale, c->choices.logit_divisor};
    for (size_t i = 0; i < ARRAY_LEN(need); i++)
        if (!(value[i] > 0))
            return err_set(err, ERR_FORMAT, "%s: '%s' is %g, expected a number above 0", where, need[i], (double)value[i]);
    c->choices.out_bias = c->choices.qkv_bias;
    return 0;
}

const struct family FAMILY_GRANITE = {
    .about = {"granite", "Granite 3", "ibm-granite/granite-3.3-2b-instruct, ibm-granite/granite-3.1-8b-base",
              "dense models; those with experts are another architecture", "granite"},
    .causal = "GraniteForCausalLM",
    .classifier = "GraniteForSequenceClassification",
    .base = "model.",
    .parts = LLAMA_PARTS,
    .keys = keys,
    .gguf_interleaved = true,
    .defaults = defaults,
    .read = read,
};
