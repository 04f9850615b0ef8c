/* adapter/peft_out.c - an adapter as a folder that PEFT loads.
 *
 *     adapter_config.json         what was adapted and how; base_model_name_or_path
 *     adapter_model.safetensors   base_model.model.MODULE.lora_A.weight (r,in) and .lora_B.weight
 *                                 (out,r), modules trained whole under their own names; F32
 *     rlaif_adapter.json          what these have no place for (facts.c); PEFT does not look at it
 *     tokenizer files             those of the base */
#include "model/adapter/adapter.h"
#include "model/format/store.h"

/* ---- the config -------------------------------------------------------------------------- */

static bool has(const json_t *list, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)list, i, v)
        if (!strcmp(json_string_value(v), name))
            return true;
    return false;
}

/* Names of one kind of module as they were given; where none were, or all-linear, the last words of their paths. */
static json_t *names_json(const char *const *name, int given, const struct module *mod, int n, bool saved)
{
    json_t *list = json_array();
    bool all = !given;
    for (int i = 0; i < given; i++) {
        if (!strcmp(name[i], "all-linear"))
            all = true;
        else
            json_array_append_new(list, json_string(name[i]));
    }
    for (int i = 0; all && i < n; i++) {
        const char *dot = strrchr(mod[i].path, '.'), *last = dot ? dot + 1 : mod[i].path;
        bool one = saved ? mod[i].saved : mod[i].r > 0;
        if (one && !has(list, last) && !has(list, mod[i].path))
            json_array_append_new(list, json_string(last));
    }
    return list;
}

static json_t *saved_json(const struct adapter_options *o, const struct module *mod, int n,
                          bool scalar)
{
    json_t *list = names_json(o->save, o->n_save, mod, n, true);
    if (scalar && !has(list, "score"))
        json_array_append_new(list, json_string("score"));
    if (json_array_size(list))
        return list;
    json_decref(list);
    return json_null();
}

json_t *peft_config(const struct model *m, const struct adapter_options *o,
                    const struct module *mod, int n)
{
    const char *name = o->base_name    ? o->base_name
                       : m->base->file ? weights_path(m->base->file)
                                       : NULL;
    bool turned = false;
    for (int i = 0; i < n; i++)
        turned |= mod[i].r && mod[i].spec->order == ORDER_TRANSPOSED;
    return json_pack("{s:s s:s s:o s:i s:f s:f s:o s:o s:s s:b s:b s:b s:{} s:{} s:b s:b}",
                     "peft_type", "LORA", "task_type", m->scalar ? "SEQ_CLS" : "CAUSAL_LM",
                     "base_model_name_or_path", name ? json_string(name) : json_null(), "r",
                     o->r, "lora_alpha", o->alpha, "lora_dropout", 0.0, "target_modules",
                     names_json(o->target, o->n_target, mod, n, false), "modules_to_save",
                     saved_json(o, mod, n, m->scalar), "bias", "none", "fan_in_fan_out",
                     (int)turned, "use_rslora", (int)o->rslora, "use_dora", 0, "rank_pattern",
                     "alpha_pattern", "init_lora_weights", 1, "inference_mode", 1);
}

/* ---- the folder -------------------------------------------------------------------------- */

struct source {
    const struct model *m;
    const struct tensor_spec *s;
};

static int fill(void *arg, float *out, struct err *err)
{
    const struct source *from = arg;
    return slice_read(out, from->m, from->s, &from->m->param[from->s->param].value, true, err);
}

static int write_tensors(const struct model *m, const char *dir, struct err *err)
{
    size_t room = (size_t)m->n_slices;
    struct folder_tensor *t = mem_alloc(room, sizeof *t);
    struct source *source = mem_alloc(room, sizeof *source);
    char(*name)[160] = mem_alloc(room, sizeof *name);
    int n = 0,
        rc = t && source && name ? 0 : err_set(err, ERR_MEMORY, "saving an adapter to %s", dir);
    for (int i = 0; rc == 0 && i < m->n_slices; i++) {
        const struct tensor_spec *s = &m->slice[i];
        bool turned = s->order == ORDER_TRANSPOSED;
        if (!param_trained(m, s->param))
            continue;
        source[n] = (struct source){m, s};
        snprintf(name[n], sizeof name[n], "base_model.model.%s",
                 s->part == PART_SCORE ? "score.weight" : s->name);
        t[n] = (struct folder_tensor){.name = name[n],
                                      .rows = s->vector ? 0
                                              : turned  ? s->cols
                                                        : s->rows,
                                      .cols = turned ? s->rows : s->cols,
                                      .fill = fill,
                                      .arg = &source[n]};
        n++;
    }
    if (rc == 0)
        rc = safetensors_write_file(dir, "adapter_model.safetensors", STORE_F32, t, n, err);
    free(t);
    free(source);
    free(name);
    return rc;
}

static int write_json(const char *dir, const char *name, const json_t *o, struct err *err)
{
    char *path = path_join(dir, name);
    int rc = path && o ? json_write_file(path, o, err)
                       : err_set(err, ERR_MEMORY, "%s: no memory for %s", dir, name);
    free(path);
    return rc;
}

int adapter_save(const struct model *m, const char *dir, struct err *err)
{
    char *tmp;
    int rc = dir_out_open(&tmp, dir, err);
    if (rc)
        return rc;
    rc = write_json(tmp, "adapter_config.json", m->adapter->config, err);
    if (rc == 0)
        rc = write_tensors(m, tmp, err);
    if (rc == 0)
        rc = facts_write(m, tmp, err);
    if (rc == 0 && m->tokenizer)
        rc = tokenizer_save(m->tokenizer, tmp, err);
    if (rc == 0)
        return dir_out_commit(tmp, dir, err);
    dir_out_drop(tmp);
    return rc;
}
