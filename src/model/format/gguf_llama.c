/* gguf_llama.c - a Llama in a GGUF file: its config from the metadata, its tensors under
 * Hugging Face names.
 *
 * llama.cpp's converter reorders the rows of q_proj and k_proj (rotary pairs side by side
 * instead of half a head apart); entries that need it undone carry the number of heads. */
#include "model/format/gguf.h"

/* ---- config --------------------------------------------------------------------- */

static int get_size(const struct gguf *g, const char *key, bool need, int *out, struct err *err)
{
    int64_t v = INT64_MIN;
    int rc = gguf_get_int(g, key, &v, err);
    if (rc)
        return rc;
    if (v == INT64_MIN)
        return need ? err_set(err, ERR_MISSING, "%s: key '%s' is missing", g->path, key) : 0;
    if (v < 0 || v > INT32_MAX)
        return err_set(err, ERR_FORMAT, "%s: key '%s' is %lld, expected 0 to %d", g->path, key,
                       (long long)v, INT32_MAX);
    *out = (int)v;
    return 0;
}

static int check_family(const struct gguf *g, struct err *err)
{
    struct gguf_str arch, scaling;
    int splits = 1, experts = 0;
    int rc = gguf_get_str(g, "general.architecture", &arch, err);
    if (rc == 0)
        rc = gguf_get_str(g, "llama.rope.scaling.type", &scaling, err);
    if (rc == 0)
        rc = get_size(g, "split.count", false, &splits, err);
    if (rc == 0)
        rc = get_size(g, "llama.expert_count", false, &experts, err);
    if (rc)
        return rc;
    if (arch.n != 5 || memcmp(arch.s, "llama", 5))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: general.architecture is '%.*s', only llama is supported", g->path,
                       (int)(arch.n < 60 ? arch.n : 60), arch.s ? arch.s : "");
    if (scaling.n && (scaling.n != 4 || memcmp(scaling.s, "none", 4)))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: llama.rope.scaling.type is '%.*s', only none is supported", g->path,
                       (int)(scaling.n < 60 ? scaling.n : 60), scaling.s);
    if (splits > 1)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: one of %d files of a split model; join them first (llama-gguf-split --merge)",
            g->path, splits);
    if (experts > 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: llama.expert_count is %d, mixtures of experts are not supported",
                       g->path, experts);
    return 0;
}

static int read_sizes(struct model_config *c, const struct gguf *g, struct err *err)
{
    const struct {
        const char *key;
        bool need;
        int *out;
    } keys[] = {
        {"llama.embedding_length", true, &c->width},
        {"llama.block_count", true, &c->layers},
        {"llama.feed_forward_length", true, &c->ffn},
        {"llama.attention.head_count", true, &c->heads},
        {"llama.context_length", true, &c->max_position},
    };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        int rc = get_size(g, keys[i].key, keys[i].need, keys[i].out, err);
        if (rc)
            return rc;
    }
    c->kv_heads = c->heads;
    c->head_size = c->heads ? c->width / c->heads : 0;
    int rc = get_size(g, "llama.attention.head_count_kv", false, &c->kv_heads, err);
    if (rc == 0)
        rc = get_size(g, "llama.attention.key_length", false, &c->head_size, err);
    int value = c->head_size, rotary = c->head_size;
    if (rc == 0)
        rc = get_size(g, "llama.attention.value_length", false, &value, err);
    if (rc == 0)
        rc = get_size(g, "llama.rope.dimension_count", false, &rotary, err);
    if (rc == 0 && c->heads > 0 && (value != c->head_size || rotary != c->head_size))
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s: head size %d, but value_length %d and rope.dimension_count %d; they "
                     "must be equal",
                     g->path, c->head_size, value, rotary);
    return rc;
}

static int read_ids(struct model_config *c, const struct gguf *g, struct err *err)
{
    int eot = -1;
    c->bos = c->eos = c->pad = -1;
    int rc = get_size(g, "tokenizer.ggml.bos_token_id", false, &c->bos, err);
    if (rc == 0)
        rc = get_size(g, "tokenizer.ggml.eos_token_id", false, &c->eos, err);
    if (rc == 0)
        rc = get_size(g, "tokenizer.ggml.eot_token_id", false, &eot, err);
    if (rc == 0)
        rc = get_size(g, "tokenizer.ggml.padding_token_id", false, &c->pad, err);
    if (rc == 0 && eot >= c->vocab)
        rc = err_set(err, ERR_FORMAT,
                     "%s: tokenizer.ggml.eot_token_id is %d, but there are %d tokens", g->path,
                     eot, c->vocab);
    if (rc == 0 && c->eos >= 0)
        config_add_eos(c, c->eos);
    if (rc == 0 && eot >= 0)
        config_add_eos(c, eot);
    return rc;
}

/* The embedding's rows count, not llama.vocab_size: files exist whose embedding is padded
 * beyond it. */
static void read_vocab(struct model_config *c, const struct gguf *g)
{
    c->vocab = 0;
    for (size_t i = 0; i < g->n_tensors; i++)
        if (g->tensor[i].name.n == 17 && !memcmp(g->tensor[i].name.s, "token_embd.weight", 17))
            c->vocab = g->tensor[i].size[1] < INT32_MAX ? (int)g->tensor[i].size[1] : INT32_MAX;
}

static int read_config(struct model_config *c, const struct gguf *g, struct err *err)
{
    double eps = 1e-6, theta = 10000;
    config_defaults(c);
    int rc = check_family(g, err);
    if (rc == 0)
        rc = read_sizes(c, g, err);
    if (rc == 0)
        rc = gguf_get_float(g, "llama.attention.layer_norm_rms_epsilon", &eps, err);
    if (rc == 0)
        rc = gguf_get_float(g, "llama.rope.freq_base", &theta, err);
    c->norm_eps = (float)eps;
    c->rope_theta = (float)theta;
    read_vocab(c, g);
    if (rc == 0 && !c->vocab)
        rc = err_set(err, ERR_MISSING, "%s: tensor 'token_embd.weight' is missing", g->path);
    if (rc == 0)
        rc = read_ids(c, g, err);
    return rc ? rc : config_check(c, g->path, err);
}

/* ---- tensors -------------------------------------------------------------------- */

static const struct {
    const char *gguf, *hf;
} TOP[] =
    {
        {"token_embd.weight", "model.embed_tokens.weight"},
        {"output_norm.weight", "model.norm.weight"},
        {"output.weight", "lm_head.weight"},
},
  IN_LAYER[] = {
      {"attn_norm.weight", "input_layernorm.weight"},
      {"attn_q.weight", "self_attn.q_proj.weight"},
      {"attn_k.weight", "self_attn.k_proj.weight"},
      {"attn_v.weight", "self_attn.v_proj.weight"},
      {"attn_output.weight", "self_attn.o_proj.weight"},
      {"ffn_norm.weight", "post_attention_layernorm.weight"},
      {"ffn_gate.weight", "mlp.gate_proj.weight"},
      {"ffn_up.weight", "mlp.up_proj.weight"},
      {"ffn_down.weight", "mlp.down_proj.weight"},
};

/* Hugging Face's name of a tensor, or its own. */
static void hf_name(char *out, size_t size, const char *name)
{
    int layer, end = 0;
    snprintf(out, size, "%s", name);
    for (size_t i = 0; i < ARRAY_LEN(TOP); i++)
        if (!strcmp(name, TOP[i].gguf))
            snprintf(out, size, "%s", TOP[i].hf);
    if (sscanf(name, "blk.%9d.%n", &layer, &end) != 1 || !end || layer < 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(IN_LAYER); i++)
        if (!strcmp(name + end, IN_LAYER[i].gguf))
            snprintf(out, size, "model.layers.%d.%s", layer, IN_LAYER[i].hf);
}

static const char *ggml_name(uint32_t type)
{
    static const char *const names[] = {
        "F32",     "F16",    "Q4_0",    "Q4_1",  "Q4_2",   "Q4_3",  "Q5_0",  "Q5_1",
        "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
        "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
        "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16"};
    return type < ARRAY_LEN(names) ? names[type] : "unknown";
}

static int set_type(struct entry *e, uint32_t type, const char *path, struct err *err)
{
    e->type_name = ggml_name(type);
    for (enum store_type t = STORE_F32; t < STORE_TYPES; t++)
        if (!strcmp(e->type_name, store_name(t))) {
            e->type = t;
            return 0;
        }
    struct buf known = {0};
    for (enum store_type t = STORE_F32; t < STORE_TYPES; t++)
        buf_addf(&known, "%s%s", t ? ", " : "", store_name(t));
    int rc = err_set(err, ERR_UNSUPPORTED, "%s: tensor '%.200s' has type %s (%u); read are %s",
                     path, e->file_name, e->type_name, type, known.s ? known.s : "others");
    buf_release(&known);
    return rc;
}

static int set_shape(struct entry *e, const struct gguf_tensor *t, const char *path,
                     struct err *err)
{
    int dims = t->dims;
    while (dims > 2 && t->size[dims - 1] == 1)
        dims--;
    e->dims = dims;
    for (int i = 0; i < dims; i++)
        e->size[i] = t->size[dims - 1 - i];
    if (t->size[0] % store_block(e->type))
        return err_set(err, ERR_FORMAT,
                       "%s: tensor '%.200s': %llu columns of %s, whose blocks hold %zu values",
                       path, e->file_name, (unsigned long long)t->size[0], store_name(e->type),
                       store_block(e->type));
    if (!entry_measure(e, 0)) {
        char shape[100];
        entry_shape_text(shape, e);
        return err_set(err, ERR_FORMAT, "%s: tensor '%.200s': shape %s is larger than memory",
                       path, e->file_name, shape);
    }
    return 0;
}

/* Rows were interleaved within each head of q and k; a count of rows that heads do not divide
 * is caught by the check of shapes later, so it is only left alone here. */
static void set_heads(struct entry *e, const struct model_config *c)
{
    int heads = str_ends(e->name, "self_attn.q_proj.weight")   ? c->heads
                : str_ends(e->name, "self_attn.k_proj.weight") ? c->kv_heads
                                                               : 0;
    if (heads && e->rows % (2 * (size_t)heads) == 0)
        e->heads = heads;
}

static int read_entry(struct weights *w, struct entry *e, const struct gguf *g,
                      const struct gguf_tensor *t, struct err *err)
{
    char name[160];
    if (t->name.n > 120 || memchr(t->name.s, 0, t->name.n))
        return err_set(err, ERR_FORMAT,
                       "%s: a tensor's name has %zu bytes or holds NUL; at most 120 are read",
                       g->path, t->name.n);
    e->file_name = arena_strndup(&w->arena, t->name.s, t->name.n);
    if (!e->file_name)
        return err_set(err, ERR_MEMORY, "%s: no memory for its table of tensors", g->path);
    hf_name(name, sizeof name, e->file_name);
    e->name = arena_strdup(&w->arena, name);
    if (!e->name)
        return err_set(err, ERR_MEMORY, "%s: no memory for its table of tensors", g->path);
    if (!strcmp(name, "rope_freqs.weight"))
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: tensor 'rope_freqs.weight': scaled rotary embeddings are not supported",
            g->path);
    int rc = set_type(e, t->type, g->path, err);
    if (rc == 0)
        rc = set_shape(e, t, g->path, err);
    if (rc)
        return rc;
    set_heads(e, &w->config);
    if (!size_add(&e->offset, g->data_start, t->offset))
        return err_set(err, ERR_FORMAT,
                       "%s: tensor '%.200s': offset %llu is far beyond the file", g->path,
                       e->file_name, (unsigned long long)t->offset);
    return entry_check_range(e, g->data_start, g->n, g->path, err);
}

static int read_entries(struct weights *w, const struct gguf *g, struct err *err)
{
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct entry *e = weights_add_entry(w, err);
        int rc = e ? read_entry(w, e, g, &g->tensor[i], err) : ERR_MEMORY;
        if (rc)
            return rc;
    }
    return entries_check_overlap(w->entry, w->n, g->data_start, g->n, false, g->path, err);
}

int gguf_read_table(struct weights *w, struct err *err)
{
    struct gguf g = {0};
    int rc = gguf_open(&g, w->file[0].map.p, w->file[0].map.n, w->data_path, err);
    if (rc)
        return rc;
    rc = read_config(&w->config, &g, err);
    if (rc == 0)
        rc = read_entries(w, &g, err);
    gguf_release(&g);
    return rc;
}
