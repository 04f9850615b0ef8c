/* family/qwen.c - Qwen 2 and 2.5 (biases of q, k and v) and Qwen 3 (norms of queries and keys instead). */
#include "model/family/family.h"

static void defaults(struct model_config *c)
{
    c->vocab = 151936;
    c->ffn = 22016;
    c->kv_heads = 32;
    c->max_position = 32768;
    c->bos = c->eos = -1;
    c->choices.qkv_bias = true;
}

static void defaults3(struct model_config *c)
{
    defaults(c);
    c->head_size = 128;
    c->choices.qkv_bias = false;
    c->choices.qk_norm = QK_NORM_HEAD;
}

static int windows(struct model_config *c, const json_t *o, int last, const char *where, struct err *err)
{
    bool use;
    int window = 4096, from = 28, rc = json_bool_or(o, "use_sliding_window", false, &use, where, err);
    if (rc == 0 && json_object_get(o, "sliding_window"))
        rc = family_int(&window, o, "sliding_window", where, err);
    if (rc == 0 && json_object_get(o, "max_window_layers"))
        rc = family_int(&from, o, "max_window_layers", where, err);
    if (rc == 0)
        rc = family_windows(c, o, use ? window : 0, windowed_all, where, err);
    const json_t *types = json_object_get(o, "layer_types");
    for (int l = 0; rc == 0 && !json_is_array(types) && l < from && l < last; l++)
        c->choices.layer[l] &= (unsigned char)~LAYER_WINDOW;
    return rc;
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    return windows(c, o, c->layers < LAYERS_MAX ? c->layers : LAYERS_MAX, where, err);
}

static int read3(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    c->choices.out_bias = c->choices.qkv_bias;
    return read(c, o, where, err);
}

static void write(json_t *o, const struct model_config *c)
{
    json_object_set_new(o, "use_sliding_window", json_boolean(c->choices.window != 0));
    json_object_set_new(o, "sliding_window", c->choices.window ? json_integer(c->choices.window) : json_null());
    family_write_layer_types(o, c);
}

static const struct key keys3[] = {KEY("attention_bias", KEY_BOOL, choices.qkv_bias), {0}};

const struct family FAMILY_QWEN2 = {
    .about = {"qwen2", "Qwen 2, 2.5", "Qwen/Qwen2.5-0.5B-Instruct, Qwen/Qwen2-1.5B, Qwen/Qwen2.5-7B-Instruct", NULL, "qwen2"},
    .causal = "Qwen2ForCausalLM",
    .classifier = "Qwen2ForSequenceClassification",
    .base = "model.",
    .parts = LLAMA_PARTS,
    .keys = PLAIN_KEYS,
    .defaults = defaults,
    .read = read,
    .write = write,
};

const struct family FAMILY_QWEN3 = {
    .about = {"qwen3", "Qwen 3", "Qwen/Qwen3-0.6B, Qwen/Qwen3-8B", "dense models; those with experts are another architecture", "qwen3"},
    .causal = "Qwen3ForCausalLM",
    .classifier = "Qwen3ForSequenceClassification",
    .base = "model.",
    .parts = LLAMA_PARTS,
    .keys = keys3,
    .defaults = defaults3,
    .read = read3,
    .write = write,
};
