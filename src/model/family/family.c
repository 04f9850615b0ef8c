/* model/family/family.c - the table of families, and what their files share. */
#include "model/family/family.h"

#include <math.h>

extern const struct family FAMILY_LLAMA, FAMILY_MISTRAL, FAMILY_MIXTRAL, FAMILY_QWEN2, FAMILY_QWEN3, FAMILY_GEMMA,
    FAMILY_GEMMA2, FAMILY_GEMMA3, FAMILY_PHI3, FAMILY_GPT2, FAMILY_GPT_NEOX, FAMILY_OLMO2, FAMILY_GRANITE,
    FAMILY_SMOLLM3;

static const struct family *const families[] = {
    &FAMILY_LLAMA,  &FAMILY_MISTRAL, &FAMILY_MIXTRAL, &FAMILY_QWEN2, &FAMILY_QWEN3,   &FAMILY_GEMMA,   &FAMILY_GEMMA2,
    &FAMILY_GEMMA3, &FAMILY_PHI3,    &FAMILY_GPT2,    &FAMILY_GPT_NEOX, &FAMILY_OLMO2, &FAMILY_GRANITE, &FAMILY_SMOLLM3,
};

const struct family *family_find(const char *model_type)
{
    if (!*model_type)
        return &FAMILY_LLAMA;
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (!strcmp(families[i]->about.model_type, model_type))
            return families[i];
    return NULL;
}

const struct family *family_of_gguf(const char *arch, int experts)
{
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        const char *name = families[i]->about.gguf;
        if (name && !strcmp(name, arch) && (experts > 0) == !strcmp(families[i]->about.model_type, "mixtral"))
            return families[i];
    }
    return NULL;
}

int model_families(const struct model_family **out)
{
    static struct model_family all[ARRAY_LEN(families)];
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        all[i] = families[i]->about;
    *out = all;
    return (int)ARRAY_LEN(families);
}

const char *family_key(const struct family *f, const char *usual)
{
    for (const struct alias *a = f->aliases; a && a->usual; a++)
        if (!strcmp(a->usual, usual))
            return a->own;
    return usual;
}

/* ---- names most families share ------------------------------------------------------------ */

const struct part_name LLAMA_PARTS[] = {
    {PART_EMBED, "model.embed_tokens"},
    {PART_NORM1, "model.layers.%d.input_layernorm"},
    {PART_Q, "model.layers.%d.self_attn.q_proj"},
    {PART_K, "model.layers.%d.self_attn.k_proj"},
    {PART_V, "model.layers.%d.self_attn.v_proj"},
    {PART_Q_NORM, "model.layers.%d.self_attn.q_norm"},
    {PART_K_NORM, "model.layers.%d.self_attn.k_norm"},
    {PART_OUT, "model.layers.%d.self_attn.o_proj"},
    {PART_NORM2, "model.layers.%d.post_attention_layernorm"},
    {PART_GATE, "model.layers.%d.mlp.gate_proj"},
    {PART_UP, "model.layers.%d.mlp.up_proj"},
    {PART_DOWN, "model.layers.%d.mlp.down_proj"},
    {PART_FINAL_NORM, "model.norm"},
    {PART_HEAD, "lm_head"},
    {0},
};

/* attention_bias gives q, k, v and o biases, mlp_bias all three of the MLP. */
const struct key LLAMA_KEYS[] = {
    KEY("attention_bias", KEY_BOOL, choices.qkv_bias),
    KEY("mlp_bias", KEY_BOOL, choices.mlp_bias),
    {0},
};
const struct key PLAIN_KEYS[] = {{0}};

/* ---- helpers of family files ------------------------------------------------------------------ */

int family_int(int *out, const json_t *o, const char *key, const char *where, struct err *err)
{
    int64_t v;
    int rc = json_i64_or(o, key, 0, &v, where, err);
    if (rc == 0 && (v < 0 || v > INT32_MAX))
        rc = err_set(err, ERR_FORMAT, "%s: '%s' is %lld, expected 0 to %d", where, key, (long long)v, INT32_MAX);
    *out = rc ? 0 : (int)v;
    return rc;
}

bool windowed_all(const struct model_config *c, int layer)
{
    return true;
}

static int read_layer_types(struct model_config *c, const json_t *types, const char *where, struct err *err)
{
    if (!json_is_array(types) || json_array_size(types) != (size_t)c->layers)
        return err_set(err, ERR_FORMAT, "%s: 'layer_types' should be a list of %d names, one per layer", where, c->layers);
    for (int l = 0; l < c->layers; l++) {
        const char *type = json_string_value(json_array_get(types, (size_t)l));
        if (type && !strcmp(type, "sliding_attention"))
            c->choices.layer[l] |= LAYER_WINDOW;
        else if (!type || strcmp(type, "full_attention"))
            return err_set(err, ERR_UNSUPPORTED, "%s: 'layer_types' of layer %d is %.60s; only full_attention and "
                           "sliding_attention are supported", where, l, type ? type : "no string");
    }
    return 0;
}

int family_windows(struct model_config *c, const json_t *o, int window, bool (*windowed)(const struct model_config *c, int layer),
                   const char *where, struct err *err)
{
    const json_t *types = json_object_get(o, "layer_types");
    int marked = 0, rc = 0;
    c->choices.window = window;
    if (c->layers < 1 || c->layers > LAYERS_MAX)
        return 0;           // refused later, with all ranges
    if (types && !json_is_null(types))
        rc = read_layer_types(c, types, where, err);
    else
        for (int l = 0; window && l < c->layers; l++)
            if (windowed(c, l))
                c->choices.layer[l] |= LAYER_WINDOW;
    for (int l = 0; l < c->layers; l++)
        marked += (c->choices.layer[l] & LAYER_WINDOW) != 0;
    if (rc == 0 && marked && !window)
        return err_set(err, ERR_FORMAT, "%s: 'layer_types' has sliding_attention, but 'sliding_window' gives no size", where);
    if (!marked)
        c->choices.window = 0;
    return rc;
}

void family_write_layer_types(json_t *o, const struct model_config *c)
{
    json_t *list = json_array();
    for (int l = 0; l < c->layers; l++)
        json_array_append_new(list, json_string(c->choices.layer[l] & LAYER_WINDOW ? "sliding_attention" : "full_attention"));
    json_object_set_new(o, "layer_types", list);
}

json_t *family_real(float x)
{
    char s[40];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, (double)x);
        if (strtof(s, NULL) == x)
            break;
    }
    return json_real(strtod(s, NULL));
}
