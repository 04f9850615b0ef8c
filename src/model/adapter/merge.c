/* adapter/merge.c - a checkpoint read with an adapter merged into it: W + scale B A, a few rows
 * at a time.
 *
 * All in the order of Hugging Face's files, in which PEFT's A and B are too; only Conv1D's
 * matrices lie transposed. */
#include "model/adapter/adapter.h"

struct added {
    char name[120]; // of the tensor
    float *a, *b;   // (r,in), (out,r); of an embedding (r,V), (C,r)
    int r, out, in;
    float scale;
    bool turned, embedding;
};

struct merge {
    struct overlay overlay; // first
    struct peft peft;
    char head[112],
        embed[112]; // tensors; a head that the checkpoint does not have is its embedding
    struct added *part;
    int n;
};

/* Row y of what is added. */
static void add_row(const struct added *p, float *row, int y)
{
    for (int j = 0; j < p->r; j++) {
        if (p->turned) // row y of (B A)^T
            for (int o = 0; o < p->out; o++)
                row[o] += p->scale * p->b[(size_t)o * (size_t)p->r + (size_t)j] *
                          p->a[(size_t)j * (size_t)p->in + (size_t)y];
        else if (p->embedding)
            for (int x = 0; x < p->out; x++)
                row[x] += p->scale * p->b[(size_t)x * (size_t)p->r + (size_t)j] *
                          p->a[(size_t)j * (size_t)p->in + (size_t)y];
        else
            for (int x = 0; x < p->in; x++)
                row[x] += p->scale * p->b[(size_t)y * (size_t)p->r + (size_t)j] *
                          p->a[(size_t)j * (size_t)p->in + (size_t)x];
    }
}

static int read_merged(struct overlay *o, const struct weights *w, const char *name, float *out,
                       int rows, int cols, int first, int n, struct err *err)
{
    const struct merge *m = (const struct merge *)o;
    const char *from = !strcmp(name, m->head) && !weights_has(w, name) ? m->embed : name;
    if (weights_find(m->peft.w, name)) // saved whole
        return weights_plain_rows(m->peft.w, name, out, rows, cols, first, n, err);
    int rc = weights_plain_rows(w, from, out, rows, cols, first, n, err);
    for (int i = 0; rc == 0 && i < m->n; i++)
        for (int y = 0; !strcmp(name, m->part[i].name) && y < n; y++)
            add_row(&m->part[i], out + (size_t)y * (size_t)cols, first + y);
    return rc;
}

static int read_matrix(float **out, const struct merge *m, const char *path, const char *end,
                       int rows, int cols, struct err *err)
{
    char name[200];
    snprintf(name, sizeof name, "%.120s%s", path, end);
    *out = mem_alloc((size_t)rows * (size_t)cols, sizeof **out);
    return *out ? weights_read(m->peft.w, name, *out, rows, cols, err)
                : err_set(err, ERR_MEMORY, "merging %s", path);
}

static int add_part(struct merge *m, const struct module *mod, struct err *err)
{
    const struct tensor_spec *s = mod->spec;
    struct added *p = &m->part[m->n++];
    bool embedding = s->part == PART_EMBED;
    *p = (struct added){.r = mod->r,
                       .out = embedding ? s->cols : s->rows,
                       .in = embedding ? s->rows : s->cols,
                       .scale = mod->scale,
                       .turned = s->order == ORDER_TRANSPOSED,
                       .embedding = embedding};
    snprintf(p->name, sizeof p->name, "%s", s->name);
    int rc = read_matrix(&p->a, m, mod->path,
                         embedding ? ".lora_embedding_A" : ".lora_A.weight", p->r, p->in, err);
    return rc ? rc
              : read_matrix(&p->b, m, mod->path,
                            embedding ? ".lora_embedding_B" : ".lora_B.weight", p->out, p->r,
                            err);
}

void overlay_release(struct overlay *o)
{
    struct merge *m = (struct merge *)o;
    if (!m)
        return;
    for (int i = 0; i < m->n; i++) {
        free(m->part[i].a);
        free(m->part[i].b);
    }
    free(m->part);
    peft_close(&m->peft);
    free(m);
}

static int fill(struct merge *m, const struct tensor_spec *spec, int n_specs, struct err *err)
{
    struct module *mod = NULL;
    int n, rc = peft_modules(&m->peft, &mod, &n, spec, n_specs, err);
    m->part = rc ? NULL : mem_alloc((size_t)n + 1, sizeof *m->part);
    if (rc == 0 && !m->part)
        rc = err_set(err, ERR_MEMORY, "merging %s", m->peft.dir);
    for (int i = 0; rc == 0 && i < n; i++)
        if (mod[i].r)
            rc = add_part(m, &mod[i], err);
    for (int i = 0; i < n_specs; i++) {
        if (spec[i].part == PART_HEAD)
            snprintf(m->head, sizeof m->head, "%s", spec[i].name);
        if (spec[i].part == PART_EMBED)
            snprintf(m->embed, sizeof m->embed, "%s", spec[i].name);
    }
    free(mod);
    return rc;
}

int overlay_adapter(struct weights *w, const char *dir, struct err *err)
{
    struct model_config c = *weights_config(w);
    struct tensor_spec *spec = NULL;
    struct merge *m = mem_alloc(1, sizeof *m);
    int n = 0;
    if (!m)
        return err_set(err, ERR_MEMORY, "merging %s", dir);
    m->overlay.read = read_merged;
    int rc = peft_open(&m->peft, dir, &c, err);
    if (rc == 0) {
        c.score_head |= m->peft.score;
        c.tied &= !peft_unties(&m->peft, &c);
        rc = facts_read(&c, dir, w, err);
    }
    if (rc == 0)
        rc = family_tensors(&spec, &n, &c, c.score_head, err);
    if (rc == 0)
        rc = fill(m, spec, n, err);
    free(spec);
    if (rc) {
        overlay_release(&m->overlay);
        return rc;
    }
    w->config = c;
    w->overlay = &m->overlay;
    return 0;
}
