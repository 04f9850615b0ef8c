/* lab/newborn.c - a Llama folder with weights that have seen nothing, ready for the SFT trainer.
 *
 * What a lab model has to learn first is to find a word of the summary again in the post.  From the usual small
 * random weights that takes it millions of tokens.  Here every attention head starts out with equal query and key
 * projections (a token looks for its own likeness) and with an output projection that is its value projection turned
 * round (what it finds is copied), and embeddings start larger; matching is then learned in a fraction of the steps.
 * Trockman and Kolter 2023 call such a start mimetic.  docs/lab.md has the measurement.
 *
 * The file is float32 safetensors: 8 bytes of header length, a JSON header padded with spaces, the data in the order
 * of the header.  Embedding and head are tied. */
#include "lab/lab.h"

#include <math.h>

#define SPREAD 0.08             // of projections
#define SPREAD_VALUE 0.05       // of values, which come back through their transpose
#define SPREAD_EMBEDDING 0.08

struct tensors {
    const struct lab_newborn *shape;
    json_t *header;
    float *data;                // (n) everything, end to end
    size_t n, cap;
    struct rng rng;
    bool failed;
};

static float *tensor_add(struct tensors *t, const char *name, int rows, int columns)
{
    size_t count = (size_t)rows * (size_t)(columns ? columns : 1);
    if (t->n + count > t->cap) {
        t->failed = true;
        return NULL;
    }
    json_t *shape = columns ? json_pack("[i,i]", rows, columns) : json_pack("[i]", rows);
    json_object_set_new(t->header, name, json_pack("{s:s,s:o,s:[I,I]}", "dtype", "F32", "shape", shape, "data_offsets",
        (json_int_t)(4 * t->n), (json_int_t)(4 * (t->n + count))));
    float *x = t->data + t->n;
    t->n += count;
    return x;
}

static float *normal_add(struct tensors *t, const char *name, int rows, int columns, double spread)
{
    float *x = tensor_add(t, name, rows, columns);
    for (size_t i = 0; x && i < (size_t)rows * (size_t)columns; i++)
        x[i] = (float)(spread * rng_normal(&t->rng));
    return x;
}

static void ones_add(struct tensors *t, const char *name, int n)
{
    float *x = tensor_add(t, name, n, 0);
    for (int i = 0; x && i < n; i++)
        x[i] = 1;
}

/* q = k and o = v transposed, head by head; heads that share keys and values start alike. */
static void attention_add(struct tensors *t, const char *prefix)
{
    const struct lab_newborn *s = t->shape;
    int C = s->width, D = s->head_size, H = s->heads, K = s->kv_heads;
    char name[96];
    snprintf(name, sizeof name, "%s.self_attn.k_proj.weight", prefix);
    const float *k = normal_add(t, name, K * D, C, SPREAD);
    snprintf(name, sizeof name, "%s.self_attn.v_proj.weight", prefix);
    const float *v = normal_add(t, name, K * D, C, SPREAD_VALUE);
    snprintf(name, sizeof name, "%s.self_attn.q_proj.weight", prefix);
    float *q = tensor_add(t, name, H * D, C);
    snprintf(name, sizeof name, "%s.self_attn.o_proj.weight", prefix);
    float *o = tensor_add(t, name, C, H * D);
    for (int h = 0; !t->failed && h < H; h++)
        for (int d = 0; d < D; d++)
            for (int c = 0; c < C; c++) {
                int from = (h / (H / K)) * D + d, to = h * D + d;
                q[(size_t)to * C + c] = k[(size_t)from * C + c];
                o[(size_t)c * H * D + to] = v[(size_t)from * C + c];
            }
}

static void layer_add(struct tensors *t, int layer)
{
    const struct lab_newborn *s = t->shape;
    char prefix[48], name[96];
    snprintf(prefix, sizeof prefix, "model.layers.%d", layer);
    snprintf(name, sizeof name, "%s.input_layernorm.weight", prefix);
    ones_add(t, name, s->width);
    attention_add(t, prefix);
    snprintf(name, sizeof name, "%s.post_attention_layernorm.weight", prefix);
    ones_add(t, name, s->width);
    snprintf(name, sizeof name, "%s.mlp.gate_proj.weight", prefix);
    normal_add(t, name, s->ffn, s->width, SPREAD);
    snprintf(name, sizeof name, "%s.mlp.up_proj.weight", prefix);
    normal_add(t, name, s->ffn, s->width, SPREAD);
    snprintf(name, sizeof name, "%s.mlp.down_proj.weight", prefix);
    normal_add(t, name, s->width, s->ffn, SPREAD / sqrt(2.0 * s->layers));
}

static size_t shape_count(const struct lab_newborn *s)
{
    size_t C = (size_t)s->width, D = (size_t)s->head_size;
    size_t attention = 2 * C * D * (size_t)(s->heads + s->kv_heads), ffn = 3 * C * (size_t)s->ffn;
    return (size_t)s->vocab_size * C + C + (size_t)s->layers * (attention + ffn + 2 * C);
}

static int weights_write(const char *dir, const struct tensors *t, struct err *err)
{
    struct file_out out = {0};
    char *path = path_join(dir, "model.safetensors"), *header = json_dumps(t->header, JSON_COMPACT);
    int rc = path && header ? file_out_open(&out, path, err) : err_set(err, ERR_MEMORY, "writing weights into %s", dir);
    if (rc == 0) {
        size_t used = strlen(header), padded = (used + 7) / 8 * 8;
        unsigned char length[8];
        for (int i = 0; i < 8; i++)
            length[i] = (unsigned char)(padded >> 8 * i);
        fwrite(length, 1, 8, out.f);
        fprintf(out.f, "%-*s", (int)padded, header);
        if (fwrite(t->data, sizeof *t->data, t->n, out.f) != t->n || ferror(out.f))
            rc = err_set(err, ERR_IO, "writing %s", path);
    }
    if (rc == 0)
        rc = file_out_commit(&out, err);
    file_out_close(&out);
    free(path);
    free(header);
    return rc;
}

static int config_write(const char *dir, const struct lab_newborn *s, struct err *err)
{
    char *path = path_join(dir, "config.json");
    json_t *c = json_pack("{s:[s],s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:f,s:f,s:b,s:s,s:b,s:b,s:n,s:i,s:i,s:s}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "vocab_size", s->vocab_size, "hidden_size", s->width,
        "intermediate_size", s->ffn, "num_hidden_layers", s->layers, "num_attention_heads", s->heads,
        "num_key_value_heads", s->kv_heads, "head_dim", s->head_size, "max_position_embeddings", 1024,
        "rms_norm_eps", 1e-5, "rope_theta", 10000.0, "tie_word_embeddings", 1, "hidden_act", "silu",
        "attention_bias", 0, "mlp_bias", 0, "bos_token_id", "eos_token_id", 0, "pad_token_id", 3, "dtype", "float32");
    int rc = path && c ? json_write_file(path, c, err) : err_set(err, ERR_MEMORY, "writing %s/config.json", dir);
    json_decref(c);
    free(path);
    return rc;
}

int lab_newborn_write(const char *dir, const struct lab_newborn *s, struct err *err)
{
    if (s->width < 32 || s->width > 1024 || s->layers < 1 || s->layers > 64 || s->heads < 1 || s->heads > 64 ||
        s->kv_heads < 1 || s->heads % s->kv_heads || s->ffn < 1 || s->ffn > 8192 || s->head_size < 2 ||
        s->head_size > 256 || s->head_size % 2 || s->vocab_size < 256 || s->vocab_size > 65536)
        return err_set(err, ERR_VALUE, "a newborn of width %d, %d layers, %d heads over %d, head size %d, ffn %d and %d "
                       "tokens is out of bounds", s->width, s->layers, s->heads, s->kv_heads, s->head_size, s->ffn,
                       s->vocab_size);
    struct tensors t = {.shape = s, .header = json_object(), .cap = shape_count(s)};
    t.data = mem_alloc(t.cap, sizeof *t.data);
    rng_init(&t.rng, s->seed, RNG_INIT, 0, 0);
    int rc = t.data && t.header ? dir_make(dir, err) : err_set(err, ERR_MEMORY, "a newborn of %zu weights", t.cap);
    if (rc == 0) {
        json_object_set_new(t.header, "__metadata__", json_pack("{s:s}", "format", "pt"));
        normal_add(&t, "model.embed_tokens.weight", s->vocab_size, s->width, SPREAD_EMBEDDING);
        for (int i = 0; i < s->layers; i++)
            layer_add(&t, i);
        ones_add(&t, "model.norm.weight", s->width);
        BUG_IF(t.failed || t.n != t.cap);
        rc = weights_write(dir, &t, err);
    }
    if (rc == 0)
        rc = config_write(dir, s, err);
    json_decref(t.header);
    free(t.data);
    return rc;
}
