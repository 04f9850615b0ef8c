/* family/mistral.c - Mistral: Llama whose queries see a window of keys (in the first releases) and fewer keys than queries. */
#include "model/family/family.h"

static void defaults(struct model_config *c)
{
    c->ffn = 14336;
    c->kv_heads = 8;
    c->max_position = 131072;
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    int window = 4096, rc = 0;
    if (json_object_get(o, "sliding_window"))
        rc = family_int(&window, o, "sliding_window", where, err);
    return rc ? rc : family_windows(c, o, window, windowed_all, where, err);
}

static void write(json_t *o, const struct model_config *c)
{
    json_object_set_new(o, "sliding_window", c->choices.window ? json_integer(c->choices.window) : json_null());
}

const struct family FAMILY_MISTRAL = {
    .about = {"mistral", "Mistral", "mistralai/Mistral-7B-Instruct-v0.3, mistralai/Mistral-7B-v0.1",
              "sliding window where the config has one", "llama"},
    .causal = "MistralForCausalLM",
    .classifier = "MistralForSequenceClassification",
    .base = "model.",
    .parts = LLAMA_PARTS,
    .keys = PLAIN_KEYS,
    .gguf_interleaved = true,
    .defaults = defaults,
    .read = read,
    .write = write,
};
