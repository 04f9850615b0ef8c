/* promise.c - the tensors of a checkpoint against those its config promises.
 *
 * Every tensor of the body must be there in its shape.  A tensor that the config does not promise is refused: it may be
 * part of the computation.  Left alone are buffers that follow from the config, and a second copy of a tied head. */
#include "model/family/family.h"
#include "model/format/store.h"

struct promise {
    struct weights *w;
    const struct family *f;
    struct tensor_spec *t, *score; // with the vocabulary head, and the scalar head's
    int n;
};

static const struct tensor_spec *spec_of(const struct promise *p, enum part part)
{
    for (int i = 0; i < p->n; i++)
        if (p->t[i].part == part)
            return &p->t[i];
    return NULL;
}

static const char *head_name(const struct family *f, char out[112])
{
    out[0] = 0;
    for (const struct part_name *p = f->parts; p->hf; p++)
        if (p->part == PART_HEAD)
            snprintf(out, 112, "%s.weight", p->hf);
    return out;
}

/* ---- names ------------------------------------------------------------------------ */

static bool is_head(const struct weights *w, const char *name)
{
    char head[112], score[64];
    snprintf(score, sizeof score, "%s.",
             *w->config.score_name ? w->config.score_name : "score");
    return !strcmp(name, head_name(family_of(&w->config), head)) || str_starts(name, score) ||
           str_starts(name, "value_head.");
}

int promise_rename(struct weights *w, struct err *err)
{
    const char *base = family_of(&w->config)->base;
    for (int i = 0; i < w->n; i++)
        if (w->gguf || str_starts(w->entry[i].name, base))
            return 0;
    for (int i = 0; i < w->n; i++) {
        struct entry *e = &w->entry[i];
        char *name = is_head(w, e->name) ? NULL : str_printf("%s%s", base, e->name);
        if (!name)
            continue;
        e->name = arena_strdup(&w->arena, name);
        free(name);
        if (!e->name)
            return err_set(err, ERR_MEMORY, "%s: no memory for its table of tensors", w->path);
    }
    return 0;
}

/* ---- what must be there ---------------------------------------------------------------- */

static int check_one(const struct promise *p, const struct tensor_spec *t, struct err *err)
{
    bool turn = t->order == ORDER_TRANSPOSED;
    int rows = t->vector ? 0 : turn ? t->cols : t->rows;
    return weights_check_shape(p->w, weights_find(p->w, t->name), t->name, rows,
                               turn ? t->rows : t->cols, err);
}

/* seq_cls: the checkpoint says it is a reward model, so its head must be there, and a
 * vocabulary head need not. */
static int check_tensors(const struct promise *p, bool seq_cls, struct err *err)
{
    int rc = 0;
    bool scored = weights_find(p->w, p->score->name) != NULL;
    for (int i = 0; rc == 0 && i < p->n; i++)
        if (p->t[i].part != PART_HEAD || (!seq_cls && !scored))
            rc = check_one(p, &p->t[i], err);
    if (rc == 0 && (seq_cls || scored))
        rc = check_one(p, p->score, err);
    p->w->config.score_head = scored;
    return rc;
}

/* ---- what may be there -------------------------------------------------------------------- */

static int compare_spec(const void *a, const void *b)
{
    const struct tensor_spec *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Buffers that exporters saved with the weights and that follow from the config: frequencies, and the causal masks of
 * GPT-2 and GPT-NeoX. */
static bool harmless(const struct promise *p, const char *name)
{
    const char *type = p->f->about.model_type;
    if (str_ends(name, "rotary_emb.inv_freq"))
        return true;
    if (!strcmp(type, "gpt2"))
        return str_ends(name, ".attn.bias") || str_ends(name, ".attn.masked_bias");
    return !strcmp(type, "gpt_neox") &&
           (str_ends(name, ".attention.bias") || str_ends(name, ".attention.masked_bias"));
}

/* Weights in eight bits are meaningless without their scales, whose layouts differ between
 * exporters. */
static bool is_scale(const char *name)
{
    return str_ends(name, "_scale") || str_ends(name, "_scale_inv") || str_ends(name, ".scale");
}

/* The layer a name speaks of, -1: none. */
static int layer_in(const char *name)
{
    int layer;
    for (const char *p = name; (p = strchr(p, '.')); p++)
        if (sscanf(p, ".%9d.", &layer) == 1)
            return layer;
    return -1;
}

static int refuse(const struct promise *p, const struct entry *e, struct err *err)
{
    const char *file = weights_file_of(p->w, e);
    int layers = p->w->config.layers;
    if (is_scale(e->name))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: tensor '%.200s' scales quantised weights; such checkpoints are "
                       "not supported (save it again in bfloat16)",
                       file, e->file_name);
    if (layer_in(e->name) >= layers)
        return err_set(err, ERR_FORMAT,
                       "%s: tensor '%.200s': '%s' is %d, so there is no layer %d", file,
                       e->file_name, family_key(p->f, "num_hidden_layers"), layers,
                       layer_in(e->name));
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: tensor '%.200s' is not part of a %s model with this config", file,
                   e->file_name, p->f->about.model_type);
}

/* A tensor nobody asks for is a computation nobody does. */
static int check_unknown(const struct promise *p, struct err *err)
{
    char head[112];
    head_name(p->f, head);
    for (int i = 0; i < p->w->n; i++) {
        const struct entry *e = &p->w->entry[i];
        struct tensor_spec key;
        snprintf(key.name, sizeof key.name, "%.111s", e->name);
        if (bsearch(&key, p->t, (size_t)p->n, sizeof key, compare_spec) || harmless(p, e->name) ||
            !strcmp(e->name, head) || !strcmp(e->name, p->score->name))
            continue;
        return refuse(p, e, err);
    }
    return 0;
}

/* A tied model may carry its head once more, as long as it is the embedding. */
static int check_tied(const struct promise *p, struct err *err)
{
    char head[112];
    const struct weights *w = p->w;
    const struct entry *a = weights_find(w, spec_of(p, PART_EMBED)->name),
                       *b = weights_find(w, head_name(p->f, head));
    if (!w->config.tied || !b || !a)
        return 0;
    bool same = a->type == b->type && a->bytes == b->bytes &&
                !memcmp(w->file[a->file].map.p + a->offset, w->file[b->file].map.p + b->offset,
                        a->bytes);
    return same ? 0
                : err_set(err, ERR_FORMAT,
                          "%s: 'tie_word_embeddings' is true, but tensor '%s' is there and is "
                          "not the embedding",
                          weights_file_of(w, b), b->file_name);
}

/* ---- all of it ---------------------------------------------------------------------------- */

int promise_check(struct weights *w, bool seq_cls, struct err *err)
{
    char head[112];
    struct promise p = {.w = w, .f = family_of(&w->config)};
    struct tensor_spec *with_score = NULL;
    int n_score = 0;
    // what OpenRLHF called the head before its config said how
    if (!*w->config.score_name && !weights_find(w, "score.weight") && weights_find(w, "value_head.weight"))
        snprintf(w->config.score_name, sizeof w->config.score_name, "value_head");
    if (w->gguf)
        w->config.tied = !weights_find(w, head_name(p.f, head));
    int rc = family_tensors(&p.t, &p.n, &w->config, false, err);
    if (rc == 0)
        rc = family_tensors(&with_score, &n_score, &w->config, true, err);
    for (int i = 0; i < n_score; i++)
        if (with_score[i].part == PART_SCORE)
            p.score = &with_score[i];
    if (rc == 0)
        rc = check_tensors(&p, seq_cls, err);
    if (rc == 0)
        rc = check_tied(&p, err);
    if (rc == 0) {
        qsort(p.t, (size_t)p.n, sizeof *p.t, compare_spec);
        rc = check_unknown(&p, err);
    }
    free(p.t);
    free(with_score);
    return rc;
}
