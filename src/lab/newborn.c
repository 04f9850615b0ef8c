/* lab/newborn.c - a Llama folder with weights that have seen nothing, ready for the SFT trainer.
 *
 * What a lab model has to learn first is to find a word of the summary again in the post.  From
 * the usual small random weights that takes millions of tokens.  Here no word means anything yet
 * either, but attention starts out able to look back, in the way that trained models are known to
 * end up (induction heads, Olsson et al. 2022; starting from structure, Trockman and Kolter 2023
 * call it mimetic):
 *
 *     everywhere          queries equal keys and outputs are values turned round: a token looks for its likeness and
 *                         copies it
 *     layer 0, group 0    its heads look one token back, two back, ..., and bring along a sketch of what they see there
 *     layer 1, first      group g looks for places where the token g + 1 before was the present one, and copies what
 *       groups            stands there
 *
 * Sketches live in 32 of the width's directions; an orthonormal basis keeps what is brought along
 * apart from what is there.  One direction is common to all embeddings, which is what a head that
 * attends by distance alone needs.  docs/lab.md has the measurement.
 *
 * The file is float32 safetensors: 8 bytes of header length, a JSON header padded with spaces,
 * the data in the order of the header.  Embedding and head are tied. */
#include "lab/lab.h"

#include <math.h>

#define SPREAD 0.08             // of projections
#define SPREAD_VALUE 0.05       // of values, which come back through their transpose
#define SPREAD_EMBEDDING 0.08
#define COMMON 0.5              // length of the common direction, as a share of an embedding's

struct tensors {
    const struct lab_newborn *shape;
    json_t *header;
    float *data;                // (n) everything, end to end
    size_t n, cap;
    double *basis;              // (C,C) orthonormal rows: 0 common, 1 to D a token's sketch, then what heads bring along
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
    json_object_set_new(t->header, name,
                        json_pack("{s:s,s:o,s:[I,I]}", "dtype", "F32", "shape", shape,
                                  "data_offsets", (json_int_t)(4 * t->n),
                                  (json_int_t)(4 * (t->n + count))));
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

struct attention { float *q, *k, *v, *o; };     // (H*D,C) (K*D,C) (K*D,C) (C,H*D)

/* q = k and o = v transposed, head by head; heads that share keys and values start alike. */
static void attend_likeness(struct tensors *t, const struct attention *a)
{
    int C = t->shape->width, D = t->shape->head_size, H = t->shape->heads, K = t->shape->kv_heads;
    for (int h = 0; h < H; h++)
        for (int d = 0; d < D; d++)
            for (int c = 0; c < C; c++) {
                int from = (h / (H / K)) * D + d, to = h * D + d;
                a->q[(size_t)to * C + c] = a->k[(size_t)from * C + c];
                a->o[(size_t)c * H * D + to] = a->v[(size_t)from * C + c];
            }
}

/* Row of the basis where what head h of group 0 brings along is kept. */
static const double *brought(const struct tensors *t, int h, int d)
{
    return t->basis + (size_t)(1 + (h + 1) * t->shape->head_size + d) * (size_t)t->shape->width;
}

static const double *sketch(const struct tensors *t, int d)
{
    return t->basis + (size_t)(1 + d) * (size_t)t->shape->width;
}

/* How many places back can be kept apart in this width. */
static int places(const struct lab_newborn *s)
{
    int group = s->heads / s->kv_heads, room = (s->width - 1) / s->head_size - 1;
    return room < group ? (room < 0 ? 0 : room) : group;
}

/* Keys point the same way for every token; the query of head h is turned back by h + 1 positions,
 * so that rotary position makes their product largest there.  Only the fast frequencies tell
 * neighbours apart. */
static void attend_back(struct tensors *t, const struct attention *a)
{
    int C = t->shape->width, D = t->shape->head_size, H = t->shape->heads, half = D / 2,
        fast = half * 3 / 8;
    double common = sqrt(C) * COMMON / sqrt(1 + COMMON * COMMON), contrast = 0;
    for (int j = 0; j < fast; j++)
        contrast += 1 - cos(pow(10000, -j / (double)half));
    double size = sqrt(4 * sqrt(D) / contrast) / common;    // one place off costs 4 in the exponent
    for (int d = 0; d < D; d++)
        for (int c = 0; c < C; c++) {
            a->k[(size_t)d * C + c] =
                (float)((d < fast ? size * t->basis[c] : 0) + 0.01 * rng_normal(&t->rng));
            a->v[(size_t)d * C + c] = (float)(0.5 * sketch(t, d)[c]);
        }
    for (int h = 0; h < places(t->shape); h++)
        for (int d = 0; d < D; d++) {
            double turn = (h + 1) * pow(10000, -(d % half) / (double)half);
            double point = d % half >= fast ? 0 : d < half ? cos(turn) : -sin(turn);
            for (int c = 0; c < C; c++) {
                a->q[(size_t)(h * D + d) * C + c] =
                    (float)(size * point * t->basis[c] + 0.01 * rng_normal(&t->rng));
                a->o[(size_t)c * H * D + h * D + d] = (float)(0.5 * brought(t, h, d)[c]);
            }
        }
}

/* Group g compares this token with the one that stood g + 1 places before the other.  Slow
 * frequencies only: likeness must not depend on distance. */
static void attend_after(struct tensors *t, const struct attention *a)
{
    int C = t->shape->width, D = t->shape->head_size, H = t->shape->heads, K = t->shape->kv_heads,
        half = D / 2;
    int groups = places(t->shape) < K ? places(t->shape) : K;
    for (int g = 0; g < groups; g++)
        for (int d = 0; d < D; d++)
            for (int c = 0; c < C; c++) {
                bool slow = d % half > half * 3 / 8;
                int row = g * D + d;
                a->k[(size_t)row * C + c] =
                    (float)((slow ? 2 * brought(t, g, d)[c] : 0) + 0.02 * rng_normal(&t->rng));
                a->v[(size_t)row * C + c] =
                    (float)(0.4 * sketch(t, d)[c] + 0.01 * rng_normal(&t->rng));
                for (int h = g * (H / K); h < (g + 1) * (H / K); h++) {
                    a->q[(size_t)(h * D + d) * C + c] =
                        (float)((slow ? sketch(t, d)[c] : 0) + 0.02 * rng_normal(&t->rng));
                    a->o[(size_t)c * H * D + h * D + d] = (float)(0.4 * sketch(t, d)[c]);
                }
            }
}

static void attention_add(struct tensors *t, const char *prefix, int layer)
{
    const struct lab_newborn *s = t->shape;
    int C = s->width, D = s->head_size, H = s->heads, K = s->kv_heads;
    struct attention a;
    char name[96];
    snprintf(name, sizeof name, "%s.self_attn.k_proj.weight", prefix);
    a.k = normal_add(t, name, K * D, C, SPREAD);
    snprintf(name, sizeof name, "%s.self_attn.v_proj.weight", prefix);
    a.v = normal_add(t, name, K * D, C, SPREAD_VALUE);
    snprintf(name, sizeof name, "%s.self_attn.q_proj.weight", prefix);
    a.q = tensor_add(t, name, H * D, C);
    snprintf(name, sizeof name, "%s.self_attn.o_proj.weight", prefix);
    a.o = tensor_add(t, name, C, H * D);
    if (t->failed)
        return;
    attend_likeness(t, &a);
    // A head as wide as the model would leave the basis no row for the direction that all tokens share.
    bool room = s->head_size < s->width;
    if (layer == 0 && room)
        attend_back(t, &a);
    if (layer == 1 && room)
        attend_after(t, &a);
}

/* Random directions made orthonormal, one after the other. */
static void basis_draw(struct tensors *t)
{
    int C = t->shape->width;
    for (int i = 0; i < C; i++) {
        double *x = t->basis + (size_t)i * C, length = 0;
        for (int c = 0; c < C; c++)
            x[c] = rng_normal(&t->rng);
        for (int k = 0; k < i; k++) {
            double dot = 0;
            for (int c = 0; c < C; c++)
                dot += x[c] * t->basis[(size_t)k * C + c];
            for (int c = 0; c < C; c++)
                x[c] -= dot * t->basis[(size_t)k * C + c];
        }
        for (int c = 0; c < C; c++)
            length += x[c] * x[c];
        for (int c = 0; c < C; c++)
            x[c] /= sqrt(length);
    }
}

static void embedding_add(struct tensors *t)
{
    int C = t->shape->width, V = t->shape->vocab_size;
    float *e = normal_add(t, "model.embed_tokens.weight", V, C, SPREAD_EMBEDDING);
    for (int i = 0; e && i < V; i++) {
        double along = 0;
        for (int c = 0; c < C; c++)
            along += e[(size_t)i * C + c] * t->basis[c];
        for (int c = 0; c < C; c++)
            e[(size_t)i * C + c] +=
                (float)((COMMON * SPREAD_EMBEDDING * sqrt(C) - along) * t->basis[c]);
    }
}

static void layer_add(struct tensors *t, int layer)
{
    const struct lab_newborn *s = t->shape;
    char prefix[48], name[96];
    snprintf(prefix, sizeof prefix, "model.layers.%d", layer);
    snprintf(name, sizeof name, "%s.input_layernorm.weight", prefix);
    ones_add(t, name, s->width);
    attention_add(t, prefix, layer);
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
    int rc = path && header ? file_out_open(&out, path, err)
                            : err_set(err, ERR_MEMORY, "writing weights into %s", dir);
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
    int rc = path && c ? json_write_file(path, c, err)
                       : err_set(err, ERR_MEMORY, "writing %s/config.json", dir);
    json_decref(c);
    free(path);
    return rc;
}

int lab_newborn_write(const char *dir, const struct lab_newborn *s, struct err *err)
{
    if (s->width < 32 || s->width > 1024 || s->layers < 1 || s->layers > 64 || s->heads < 1 ||
        s->heads > 64 || s->kv_heads < 1 || s->heads % s->kv_heads || s->ffn < 1 || s->ffn > 8192 ||
        s->head_size < 2 || s->head_size > 256 || s->head_size % 2 || s->vocab_size < 256 ||
        s->vocab_size > 65536)
        return err_set(err, ERR_VALUE, "a newborn of width %d, %d layers, %d heads over %d, head size %d, ffn %d and %d "
                       "tokens is out of bounds", s->width, s->layers, s->heads, s->kv_heads, s->head_size, s->ffn,
                       s->vocab_size);
    struct tensors t = {.shape = s, .header = json_object(), .cap = shape_count(s)};
    t.data = mem_alloc(t.cap, sizeof *t.data);
    t.basis = mem_alloc((size_t)s->width * (size_t)s->width, sizeof *t.basis);
    rng_init(&t.rng, s->seed, RNG_INIT, 0, 0);
    int rc = t.data && t.header && t.basis
                 ? dir_make(dir, err)
                 : err_set(err, ERR_MEMORY, "a newborn of %zu weights", t.cap);
    if (rc == 0) {
        json_object_set_new(t.header, "__metadata__", json_pack("{s:s}", "format", "pt"));
        basis_draw(&t);
        embedding_add(&t);
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
    free(t.basis);
    return rc;
}
