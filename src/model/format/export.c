/* export.c - a checkpoint written anew with its values rounded or quantised. */
#include "model/family/family.h"
#include "model/format/gguf_out.h"
#include "model/internal.h"

/* ---- folders -------------------------------------------------------------------- */

struct source {
    const struct weights *w;
    const char *name;
    int rows, cols; // as folder_tensor's
};

static int fill(void *arg, float *out, struct err *err)
{
    const struct source *s = arg;
    return interrupted() ? err_set(err, ERR_INTERRUPTED, "interrupted; nothing was written")
                         : weights_read(s->w, s->name, out, s->rows, s->cols, err);
}

static int export_folder(const struct weights *w, const struct tokenizer *t, const char *output,
                         const struct model_export *e, struct err *err)
{
    const struct model_config *c = weights_config(w);
    struct tensor_spec *spec = NULL;
    int n = 0, rc = family_tensors(&spec, &n, c, c->score_head, err);
    struct folder_tensor *list = mem_alloc((size_t)n + 1, sizeof *list);
    struct source *source = mem_alloc((size_t)n + 1, sizeof *source);
    if (rc == 0 && (!list || !source))
        rc = err_set(err, ERR_MEMORY, "%s: no memory for its table of tensors", output);
    for (int i = 0; i < n && rc == 0; i++) {
        const struct tensor_spec *s = &spec[i];
        bool turned = s->order == ORDER_TRANSPOSED;
        bool vector =
            s->vector && s->part != PART_SCORE; // a scalar head is a matrix of one row
        source[i] = (struct source){w, s->name,
                                    vector   ? 0
                                    : turned ? s->cols
                                             : s->rows,
                                    turned ? s->rows : s->cols};
        list[i] = (struct folder_tensor){.name = s->name,
                                         .rows = source[i].rows,
                                         .cols = source[i].cols,
                                         .fill = fill,
                                         .arg = &source[i]};
    }
    if (rc == 0)
        rc = folder_write(output, c, &(struct folder_form){e->dtype, e->shard_bytes}, list, n,
                          t, err);
    free(list);
    free(source);
    free(spec);
    return rc;
}

/* ---- both ----------------------------------------------------------------------- */

int model_export(const char *source, const char *output, const struct model_export *e,
                 struct err *err)
{
    const struct gguf_kind *kind = e->gguf ? gguf_kind_find(e->gguf) : NULL;
    struct weights *w = NULL;
    struct tokenizer *t = NULL;
    if (e->gguf && !kind)
        return err_set(err, ERR_VALUE,
                       "GGUF type '%s'; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K_M and "
                       "Q6_K are written",
                       e->gguf);
    int rc = weights_open(&w, source, err);
    if (rc == 0 && e->adapter)
        rc = overlay_adapter(w, e->adapter, err);
    if (rc == 0)
        rc = tokenizer_open(&t, source, err);
    if (rc == 0)
        rc = kind ? gguf_write(output, w, t, kind, err) : export_folder(w, t, output, e, err);
    tokenizer_free(t);
    if (w)
        overlay_release(w->overlay);
    weights_close(w);
    return rc;
}
