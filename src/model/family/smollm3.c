/* family/smollm3.c - SmolLM3: Llama, every fourth layer without rotary positions. */
#include "model/family/family.h"

static void defaults(struct model_config *c)
{
    c->vocab = 128256;
    c->width = 2048;
    c->layers = 36;
    c->heads = 16;
    c->kv_heads = 4;
    c->max_position = 32768;
    c->rope_theta = 2e6f;
    c->tied = true;
    c->bos = 128000;
    c->eos = 128001;
    c->pad = 128004;
}

static int read_no_rope(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    const json_t *list = json_object_get(o, "no_rope_layers");
    int every = 4, rc = 0;
    if (json_object_get(o, "no_rope_layer_interval"))
        rc = family_int(&every, o, "no_rope_layer_interval", where, err);
    if (rc == 0 && (every < 1 || (list && !json_is_null(list) && json_array_size(list) < (size_t)c->layers)))
        rc = err_set(err, ERR_FORMAT, "%s: 'no_rope_layers' should list %d layers, 'no_rope_layer_interval' be above 0", where, c->layers);
    for (int l = 0; rc == 0 && l < c->layers && l < LAYERS_MAX; l++) {
        const json_t *v = json_array_get(list, (size_t)l);
        bool rope = v ? json_integer_value(v) != 0 : (l + 1) % every != 0;
        c->choices.layer[l] |= rope ? 0 : LAYER_NO_ROPE;
    }
    return rc;
}

static bool without_rope(const struct model_config *c, int layer)
{
    return c->choices.layer[layer] & LAYER_NO_ROPE;
}

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    bool use;
    int window, rc = json_bool_or(o, "use_sliding_window", false, &use, where, err);
    c->choices.out_bias = c->choices.qkv_bias;
    if (rc == 0)
        rc = read_no_rope(c, o, where, err);
    if (rc == 0)
        rc = family_int(&window, o, "sliding_window", where, err);
    return rc ? rc : family_windows(c, o, use ? window : 0, without_rope, where, err);
}

static void write(json_t *o, const struct model_config *c)
{
    json_t *list = json_array();
    for (int l = 0; l < c->layers; l++)
        json_array_append_new(list, json_integer(!(c->choices.layer[l] & LAYER_NO_ROPE)));
    json_object_set_new(o, "no_rope_layers", list);
    json_object_set_new(o, "use_sliding_window", json_boolean(c->choices.window != 0));
    json_object_set_new(o, "sliding_window", c->choices.window ? json_integer(c->choices.window) : json_null());
    family_write_layer_types(o, c);
}

const struct family FAMILY_SMOLLM3 = {
    .about = {"smollm3", "SmolLM3", "HuggingFaceTB/SmolLM3-3B", NULL, "smollm3"},
    .causal = "SmolLM3ForCausalLM",
    .classifier = "SmolLM3ForSequenceClassification",
    .base = "model.",
    .parts = LLAMA_PARTS,
    .keys = LLAMA_KEYS,
    .gguf_interleaved = true,
    .defaults = defaults,
    .read = read,
    .write = write,
};
