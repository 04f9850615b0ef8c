/* model/checkpoint.h - small checkpoints made by the tests of file formats: a folder with any
 * header and config. */
#ifndef TEST_MODEL_CHECKPOINT_H
#define TEST_MODEL_CHECKPOINT_H

#include <sys/stat.h>

#include "kit/kit.h"
#include "model/format/store.h"

enum {
    CK_VOCAB = 12,
    CK_WIDTH = 8,
    CK_FFN = 16,
    CK_LAYERS = 2,
    CK_HEADS = 2,
    CK_KV = 1,
    CK_MAX = 3 + 9 * CK_LAYERS + 2
};
#define CK_CONFIG                                                                              \
    "\"model_type\": \"llama\", \"vocab_size\": 12, \"hidden_size\": 8, "                      \
    "\"intermediate_size\": 16, "                                                              \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, "       \
    "\"bos_token_id\": 1, \"eos_token_id\": 2"

struct ck_part {
    char name[80];
    int rows, cols;
};

static inline int ck_parts(struct ck_part *p, bool head, bool score)
{
    static const struct {
        const char *name;
        int rows, cols;
    } layer[] = {
        {"input_layernorm", 0, CK_WIDTH},         {"self_attn.q_proj", CK_WIDTH, CK_WIDTH},
        {"self_attn.k_proj", 4, CK_WIDTH},        {"self_attn.v_proj", 4, CK_WIDTH},
        {"self_attn.o_proj", CK_WIDTH, CK_WIDTH}, {"post_attention_layernorm", 0, CK_WIDTH},
        {"mlp.gate_proj", CK_FFN, CK_WIDTH},      {"mlp.up_proj", CK_FFN, CK_WIDTH},
        {"mlp.down_proj", CK_WIDTH, CK_FFN},
    };
    int n = 0;
    p[n++] = (struct ck_part){"model.embed_tokens.weight", CK_VOCAB, CK_WIDTH};
    p[n++] = (struct ck_part){"model.norm.weight", 0, CK_WIDTH};
    for (int l = 0; l < CK_LAYERS; l++)
        for (size_t i = 0; i < ARRAY_LEN(layer); i++) {
            p[n] = (struct ck_part){.rows = layer[i].rows, .cols = layer[i].cols};
            snprintf(p[n++].name, sizeof p->name, "model.layers.%d.%s.weight", l,
                     layer[i].name);
        }
    if (head)
        p[n++] = (struct ck_part){"lm_head.weight", CK_VOCAB, CK_WIDTH};
    if (score)
        p[n++] = (struct ck_part){"score.weight", 1, CK_WIDTH};
    return n;
}

static inline size_t ck_count(const struct ck_part *p)
{
    return (size_t)(p->rows ? p->rows : 1) * (size_t)p->cols;
}

/* The header of a good file in one dtype, every tensor on a line of its own so that tests can
 * edit it. */
static inline void ck_header(struct buf *b, const struct ck_part *p, int n, const char *dtype)
{
    size_t at = 0, size = !strcmp(dtype, "F32") ? 4 : 2;
    buf_adds(b, "{\"__metadata__\": {\"format\": \"pt\"}");
    for (int i = 0; i < n; i++) {
        size_t end = at + ck_count(&p[i]) * size;
        buf_addf(b, ",\n\"%s\": {\"dtype\": \"%s\", \"shape\": ", p[i].name, dtype);
        if (p[i].rows)
            buf_addf(b, "[%d, %d]", p[i].rows, p[i].cols);
        else
            buf_addf(b, "[%d]", p[i].cols);
        buf_addf(b, ", \"data_offsets\": [%zu, %zu]}", at, end);
        at = end;
    }
    buf_adds(b, "}");
}

/* Writes DIR/model.safetensors: size field, header, values (n_values bytes). */
static inline void ck_write(const char *dir, const char *header, size_t size_field,
                            const void *values, size_t n_values)
{
    char *path = path_join(dir, "model.safetensors");
    FILE *f = fopen(path, "wb");
    uint64_t n = size_field;
    assert_non_null(f);
    fwrite(&n, 8, 1, f);
    fwrite(header, 1, strlen(header), f);
    fwrite(values, 1, n_values, f);
    fclose(f);
    free(path);
}

static inline void ck_text(const char *dir, const char *name, const char *text)
{
    char *path = path_join(dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    free(path);
}

static inline void ck_config(const char *dir, const char *more)
{
    char *text = str_printf("{" CK_CONFIG "%s%s}", *more ? ", " : "", more);
    ck_text(dir, "config.json", text);
    free(text);
}

/* The float that value i of tensor t has in a checkpoint made here; exact in F16 and BF16. */
static inline float ck_value(int t, size_t i)
{
    return (float)((int)((i * 7 + (size_t)t * 13) % 64) - 32) / 16;
}

/* A good folder.  dtype "F32", "F16" or "BF16". */
static inline const char *ck_folder(const char *name, const char *dtype, bool head, bool score,
                                    const char *config)
{
    const char *dir = kit_path(name);
    struct ck_part p[CK_MAX];
    struct buf header = {0}, values = {0};
    int n = ck_parts(p, head, score);
    mkdir(dir, 0755);
    ck_header(&header, p, n, dtype);
    for (int t = 0; t < n; t++)
        for (size_t i = 0; i < ck_count(&p[t]); i++) {
            float v = ck_value(t, i);
            uint16_t b = bf16_from_float(v);
            _Float16 h = (_Float16)v;
            if (!strcmp(dtype, "F32"))
                buf_add(&values, &v, 4);
            else
                buf_add(&values, !strcmp(dtype, "BF16") ? (void *)&b : (void *)&h, 2);
        }
    ck_write(dir, header.s, header.len, values.s, values.len);
    ck_config(dir, config);
    buf_release(&header);
    buf_release(&values);
    return dir;
}

/* Opening must fail, and its sentence must hold all of the parts (NULL-terminated). */
static inline void ck_refused(const char *path, ...)
{
    struct weights *w = NULL;
    struct err err = {0};
    int rc = weights_open(&w, path, &err);
    weights_close(w);
    if (rc == 0)
        fail_msg("%s was accepted", path);
    assert_int_equal(rc, err.code);
    va_list ap;
    va_start(ap, path);
    for (const char *part; (part = va_arg(ap, const char *));)
        kit_contains(err.msg, part);
    va_end(ap);
}

#endif
