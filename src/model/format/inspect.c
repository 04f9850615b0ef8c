/* inspect.c - what `rlaif inspect MODEL` says about a checkpoint. */
#include "model/format/store.h"
#include "model/tokenizer/tokenizer.h"

static json_t *tensor_json(struct weight_info f)
{
    json_t *shape = json_array();
    for (int i = 0; i < f.dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)f.size[i]));
    json_t *o = json_pack("{ss ss so sI}", "name", f.name, "dtype", f.dtype, "shape", shape,
                          "bytes", (json_int_t)f.bytes);
    if (o && strcmp(f.name, f.file_name))
        json_object_set_new(o, "file_name", json_string(f.file_name));
    return o;
}

/* The family by its names; null where the table has none. */
static json_t *family_json(const struct model_config *c)
{
    const struct model_family *f;
    const char *type = *c->model_type ? c->model_type : "llama";
    int n = model_families(&f);
    for (int i = 0; i < n; i++)
        if (!strcmp(f[i].model_type, type))
            return json_pack("{s:s, s:s, s:s?}", "model_type", type, "name", f[i].name, "gguf",
                             f[i].gguf);
    return json_null();
}

/* Layers, widths, heads: what one asks first, under the same names for every family. */
static json_t *shape_json(const struct model_config *c)
{
    const struct choices *h = &c->choices;
    int windowed = 0;
    for (int l = 0; l < c->layers && l < LAYERS_MAX; l++)
        windowed += (h->layer[l] & LAYER_WINDOW) != 0;
    json_t *o = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "layers", c->layers,
                          "width", c->width, "heads", c->heads, "kv_heads", c->kv_heads,
                          "head_size", c->head_size, "ffn", c->ffn, "vocab", c->vocab,
                          "context", c->max_position);
    if (o && windowed)
        json_object_update_new(
            o, json_pack("{s:i, s:i}", "window", h->window, "windowed_layers", windowed));
    if (o && h->experts)
        json_object_update_new(
            o, json_pack("{s:i, s:i}", "experts", h->experts, "experts_used", h->experts_used));
    return o;
}

/* The numbers of config.json without what transformers wants around them. */
static json_t *config_json(const struct model_config *c)
{
    static const char *const drop[] = {
        "attention_dropout", "initializer_range", "use_cache", "torch_dtype", "rope_scaling",
        "attention_bias",    "mlp_bias",          "id2label",  "label2id"};
    json_t *o = config_to_json(c, DTYPE_F32);
    for (size_t i = 0; o && i < ARRAY_LEN(drop); i++)
        json_object_del(o, drop[i]);
    return o;
}

static void add_tensors(json_t *o, const struct weights *w)
{
    json_t *list = json_array(), *types = json_object();
    json_int_t values = 0, bytes = 0;
    for (int i = 0; i < weights_count(w); i++) {
        struct weight_info f = weights_info(w, i);
        json_array_append_new(list, tensor_json(f));
        json_object_set_new(
            types, f.dtype,
            json_integer(json_integer_value(json_object_get(types, f.dtype)) + 1));
        values += (json_int_t)(f.rows * f.cols);
        bytes += (json_int_t)f.bytes;
    }
    json_object_set_new(o, "parameters", json_integer(values));
    json_object_set_new(o, "bytes", json_integer(bytes));
    json_object_set_new(o, "dtypes", types);
    json_object_set_new(o, "tensors", list);
}

static json_t *token_json(const struct tokenizer *t, int id)
{
    struct buf b = {0};
    json_t *v = NULL;
    if (id >= 0 && detokenize(t, &b, &id, 1, false) == 0 && b.len)
        v = json_string(b.s);
    buf_release(&b);
    return v ? v : json_null();
}

/* Ids that the tokenizer puts around a text. */
static json_t *around_json(const struct tokenizer *t)
{
    json_t *ids = json_array();
    struct tokens empty = {0};
    if (tokenize(t, &empty, "", 0, TOKENIZE_SPECIAL, NULL) == 0)
        for (int i = 0; i < empty.n; i++)
            json_array_append_new(ids, json_integer(empty.id[i]));
    tokens_release(&empty);
    return ids;
}

/* Whether there is a chat template, and if it does not render a greeting, why. */
static void add_template(json_t *o, const struct tokenizer *t)
{
    const struct chat_message hello = {"user", "Hello"};
    struct buf chat = {0};
    struct err why = {0};
    bool any = t->chat && t->chat->n > 0;
    int rc = chat_render(t, &chat, &hello, 1, true, &why);
    json_object_set_new(o, "chat_template", json_boolean(any));
    json_object_set_new(o, "chat_template_rendered", json_boolean(rc == 0));
    if (rc && any)
        json_object_set_new(o, "chat_template_error", json_string(why.msg));
    buf_release(&chat);
}

static json_t *tokenizer_json(const struct tokenizer *t, const struct model_config *c)
{
    int special = 0;
    for (int id = 0; id < tokenizer_vocab(t); id++)
        special += tokenizer_is_special(t, id);
    struct buf kind = {0};
    tokenizer_kind(t, &kind);
    json_t *o = json_pack("{ss si si so so so so}", "kind", kind.s ? kind.s : "", "vocab",
                          tokenizer_vocab(t), "special_tokens", special, "bos",
                          token_json(t, c->bos), "eos", token_json(t, c->eos), "pad",
                          token_json(t, c->pad), "added_around_a_text", around_json(t));
    buf_release(&kind);
    if (o)
        add_template(o, t);
    return o;
}

int model_inspect(json_t **out, const char *path, struct err *err)
{
    struct weights *w = NULL;
    struct tokenizer *t = NULL;
    struct err why = {0};
    char hash[33];
    int rc = weights_open(&w, path, err);
    if (rc)
        return rc;
    const struct model_config *c = weights_config(w);
    rc = weights_hash(hash, w, err);
    json_t *o = rc ? NULL
                   : json_pack("{ss ss ss so so ss sb so}", "path", path, "format",
                               weights_is_gguf(w) ? "gguf" : "safetensors", "hash", hash,
                               "family", family_json(c), "shape", shape_json(c), "head",
                               c->score_head ? "scalar" : "vocabulary", "tied", c->tied,
                               "config", config_json(c));
    if (rc == 0 && !o)
        rc = err_set(err, ERR_MEMORY, "%s: no memory to describe it", path);
    if (rc == 0) {
        // a checkpoint whose tokenizer is missing or of another kind can still be looked at
        if (tokenizer_open(&t, path, &why) == 0)
            json_object_set_new(o, "tokenizer", tokenizer_json(t, c));
        else
            json_object_set_new(o, "tokenizer_error", json_string(why.msg));
        add_tensors(o, w);
        *out = o;
    }
    tokenizer_free(t);
    weights_close(w);
    return rc;
}
