/* folder.c - writing a Hugging Face folder, whole or not at all; the values are written by
 * safetensors_out.c. */
#include "model/format/store.h"

static const size_t SHARD_BYTES = 5000000000; // the customary cut: "5GB" of transformers

static int write_json(const char *dir, const char *name, json_t *o, struct err *err)
{
    char *path = path_join(dir, name);
    int rc = path && o ? json_write_file(path, o, err)
                       : err_set(err, ERR_MEMORY, "%s: no memory for %s", dir, name);
    free(path);
    json_decref(o);
    return rc;
}

/* The config as it is written. */
static struct model_config written_config(const struct model_config *config,
                                          const struct tokenizer *t)
{
    struct model_config c = *config;
    int pad = c.score_head && t ? tokenizer_pad(t, c.pad, c.bos, c.eos_ids, c.n_eos) : -1;
    if (pad >= 0 && pad < c.vocab)
        c.pad = pad;
    return c;
}

/* config.json of values stored as `type`. */
static json_t *stored_config(const struct model_config *c, enum store_type type)
{
    json_t *o = config_to_json(c, type == STORE_BF16 ? DTYPE_BF16 : DTYPE_F32);
    if (o && type == STORE_F16)
        json_object_set_new(o, "torch_dtype", json_string("float16"));
    return o;
}

static int form_type(enum store_type *out, const struct folder_form *form, const char *dir,
                     struct err *err)
{
    static const struct {
        const char *name;
        enum store_type type;
    } types[] = {
        {"float32", STORE_F32}, {"bfloat16", STORE_BF16}, {"float16", STORE_F16}};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (!strcmp(form->dtype, types[i].name)) {
            *out = types[i].type;
            return 0;
        }
    return err_set(err, ERR_VALUE, "%s: dtype '%s'; float32, bfloat16 or float16 is written",
                   dir, form->dtype);
}

int folder_write(const char *dir, const struct model_config *config,
                 const struct folder_form *form, const struct folder_tensor *tensor, int n,
                 const struct tokenizer *tokenizer, struct err *err)
{
    char *tmp;
    enum store_type type = STORE_F32;
    struct model_config c = written_config(config, tokenizer);
    int rc = form_type(&type, form, dir, err);
    if (rc == 0)
        rc = dir_out_open(&tmp, dir, err);
    if (rc)
        return rc;
    rc = write_json(tmp, "config.json", stored_config(&c, type), err);
    if (rc == 0)
        rc = write_json(tmp, "generation_config.json", config_generation_json(&c), err);
    if (rc == 0)
        rc = safetensors_write(tmp, type, form->shard_bytes ? form->shard_bytes : SHARD_BYTES,
                               tensor, n, err);
    if (rc == 0 && tokenizer)
        rc = tokenizer_save(tokenizer, tmp, err);
    if (rc == 0)
        return dir_out_commit(tmp, dir, err);
    dir_out_drop(tmp);
    return rc;
}
