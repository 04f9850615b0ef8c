/* adapter/adapter.c - models that share their base's weights and differ by an adapter.
 *
 * Such a model has its own list of parameters: the base's, shared, but for those modules that
 * are trained whole (their own copies) and a scalar head; then, from at.n on, the A and B of
 * every adapted matrix.  Config, positions' tables and dtype are copies of the base's;
 * tokenizer and tables of frequencies are the base's own.  The base lives until its last user
 * closes. */
#include <math.h>

#include "model/adapter/adapter.h"

/* ---- the light model --------------------------------------------------------------------- */

void adapter_release(struct model *m)
{
    for (int i = 0; m->param && i < m->n_params; i++) {
        if (m->param[i].shared)
            continue;
        tensor_release(&m->param[i].value);
        weight_free(m->param[i].packed);
    }
    tensor_release(&m->embed);
    if (m->adapter) {
        json_decref(m->adapter->config);
        weight_free(m->adapter->head);
        tensor_release(&m->adapter->head_values);
        free(m->adapter->lora);
    }
    free(m->adapter);
    free(m->param);
    free(m->slice);
    model_close(m->base);
    free(m);
}

/* Parameters of the base where m has the same; the head, when it is the embedding there alone,
 * is the base's all the same. */
static void share_params(struct model *m)
{
    const struct model *base = m->base;
    for (int i = 0; i < m->at.n; i++) {
        int from = i < base->at.n ? i : -1;
        if (i == m->at.head)
            from = m->scalar == base->scalar ? base->at.head : -1;
        if (from >= 0) {
            m->param[i] = base->param[from];
            m->param[i].shared = true;
            continue;
        }
        m->param[i].vector = !layout_shape(&m->at, &m->config, m->scalar, i, &m->param[i].rows,
                                           &m->param[i].cols);
    }
    m->embed = base->embed;
    m->embed.owned = false;
}

/* Lists with room for an A and a B on every tensor, so that they never move. */
static int make_room(struct model *m, struct err *err)
{
    struct tensor_spec *own = NULL;
    int n = 0, rc = family_tensors(&own, &n, &m->config, m->scalar, err);
    if (rc)
        return rc;
    m->slice = mem_alloc(3 * (size_t)n, sizeof *m->slice);
    m->param = mem_alloc((size_t)m->at.n + 2 * (size_t)n, sizeof *m->param);
    m->adapter = mem_alloc(1, sizeof *m->adapter);
    if (m->adapter)
        m->adapter->lora = mem_alloc((size_t)n, sizeof *m->adapter->lora);
    if (!m->slice || !m->param || !m->adapter || !m->adapter->lora)
        rc = err_set(err, ERR_MEMORY, "a model with an adapter");
    else
        memcpy(m->slice, own, (size_t)n * sizeof *own);
    m->n_slices = rc ? 0 : n;
    m->n_params = m->param ? m->at.n : 0;
    free(own);
    return rc;
}

static int new_scalar_head(struct model *m, struct err *err)
{
    struct param *p = &m->param[m->at.head];
    int rc = tensor_new(&p->value, m->dev, DTYPE_F32, p->rows, p->cols, err);
    m->fresh_head = true;
    return rc ? rc : param_random(m, m->at.head, 1 / sqrt(m->config.width + 1.0), err);
}

int adapter_begin(struct model **out, struct model *base, bool scalar, bool untie,
                  uint64_t seed, struct err *err)
{
    if (base->base)
        return err_set(err, ERR_UNSUPPORTED, "an adapter on a model that has one already");
    if (base->scalar && !scalar)
        return err_set(
            err, ERR_UNSUPPORTED,
            "the adapter's base is a reward or value model; a language model is needed here");
    struct model *m = mem_alloc(1, sizeof *m);
    if (!m)
        return err_set(err, ERR_MEMORY, "a model with an adapter");
    *m = *base;
    m->users = 1;
    m->base = base;
    base->users++;
    m->masters = false;
    m->file = NULL;
    m->seed = seed;
    m->scalar = scalar;
    m->config.score_head = scalar;
    m->config.tied = base->config.tied && !untie;
    m->at = layout_of(&m->config, scalar);
    m->n_params = 0;
    m->adapter = NULL;
    m->param = NULL;
    m->slice = NULL;
    m->n_slices = 0;
    m->embed = (struct tensor){0};
    *m->fingerprint = 0;
    int rc = make_room(m, err);
    if (rc == 0)
        share_params(m);
    if (rc == 0 && scalar && !base->scalar)
        rc = new_scalar_head(m, err);
    if (rc == 0)
        *out = m;
    else
        adapter_release(m);
    return rc;
}

/* ---- modules trained whole --------------------------------------------------------------- */

/* Its own copy of parameter i. */
static int own_param(struct model *m, int i, struct err *err)
{
    struct param *p = &m->param[i];
    if (!p->shared)
        return 0;
    bool matrix = p->packed != NULL,
         tied_head = i == m->at.head && m->base->at.head == param_embed();
    int rows = p->rows, cols = p->cols;
    device_purpose(m->dev, "fp32 masters");
    *p = (struct param){.rows = rows, .cols = cols, .vector = p->vector};
    int rc = tensor_new(&p->value, m->dev, DTYPE_F32, rows, cols, err);
    if (rc == 0)
        rc = param_read_into(m->base, tied_head ? param_embed() : i, &p->value, err);
    if (rc)
        return rc;
    if (i == param_embed()) {
        matrix = m->at.head == param_embed();
        m->embed = tensor_rows(&p->value, 0, rows);
        if (m->dtype != DTYPE_F32)
            rc = tensor_new(&m->embed, m->dev, m->dtype, rows, cols, err);
    }
    if (rc == 0 && matrix && !(p->packed = weight_new(m->dev, rows, cols, m->dtype)))
        rc = err_set(err, ERR_MEMORY, "no memory for a matrix of %d x %d", rows, cols);
    if (rc == 0 && i == m->at.head && !m->scalar)
        param_set_logits(m);
    if (rc == 0)
        param_repack(m, i);
    return rc;
}

static int save_module(struct model *m, const struct module *mod, struct err *err)
{
    const struct tensor_spec *s = mod->spec;
    int rc = 0;
    if (!s->vector && s->rows != m->param[s->param].rows)
        return err_set(
            err, ERR_UNSUPPORTED,
            "modules_to_save: %s lies in one matrix with its neighbours and cannot be trained "
            "whole by itself; an adapter can (target_modules)",
            mod->path);
    for (int i = 0; rc == 0 && i < m->n_slices; i++) // its bias too
        if (!strncmp(m->slice[i].name, mod->path, strlen(mod->path)) &&
            m->slice[i].name[strlen(mod->path)] == '.' &&
            (&m->slice[i] == s || m->slice[i].bias))
            rc = own_param(m, m->slice[i].param, err);
    return rc;
}

/* ---- A and B ----------------------------------------------------------------------------- */

/* packed: it is multiplied with. */
static int add_matrix(struct model *m, int rows, int cols, float scale, bool packed, struct err *err)
{
    device_purpose(m->dev, "fp32 masters");
    struct param *p = &m->param[m->n_params];
    *p = (struct param){.rows = rows, .cols = cols, .scale = scale};
    int rc = tensor_new(&p->value, m->dev, DTYPE_F32, rows, cols, err);
    if (rc == 0 && packed && !(p->packed = weight_new(m->dev, rows, cols, m->dtype)))
        rc = err_set(err, ERR_MEMORY, "no memory for a matrix of %d x %d", rows, cols);
    if (rc)
        tensor_release(&p->value);
    return rc ? rc : m->n_params++;
}

/* The head's matrix with room for B beside it; the base's values stay in the compute dtype. */
static int extend_head(struct model *m, struct err *err)
{
    struct adapter *a = m->adapter;
    int V = m->config.vocab, C = m->config.width, r = m->param[m->at.head].lora->rank;
    int rc = tensor_new(&a->head_values, m->dev, m->dtype, V, C + r, err);
    if (rc == 0 && !(a->head = weight_new(m->dev, V, C + r, m->dtype)))
        rc = err_set(err, ERR_MEMORY, "no memory for a matrix of %d x %d", V, C + r);
    if (rc)
        return rc;
    struct tensor w = tensor_cols(&a->head_values, 0, C);
    param_set_logits(m);
    return param_read_into(m->base, m->base->at.head, &w, err);
}

void adapter_repack_head(struct model *m)
{
    struct adapter *a = m->adapter;
    const struct param *b = &m->param[m->param[m->at.head].lora->part[0].b];
    struct tensor to = tensor_cols(&a->head_values, m->config.width, b->cols), t;
    if (tensor_new(&t, m->dev, DTYPE_F32, b->rows, b->cols, NULL))
        mem_die("a scaled matrix of %d x %d", b->rows, b->cols);
    op_copy(&t, &b->value);
    op_scale(&t, b->scale);
    op_copy(&to, &t);
    weight_load(a->head, &a->head_values);
    tensor_release(&t);
}

static void add_slice(struct model *m, const struct module *mod, const char *which, int param,
                      int first, int rows, int cols, enum order order)
{
    struct tensor_spec *s = &m->slice[m->n_slices++];
    *s = (struct tensor_spec){.part = mod->spec->part,
                              .layer = mod->spec->layer,
                              .expert = mod->spec->expert,
                              .order = order,
                              .param = param,
                              .first = first,
                              .rows = rows,
                              .cols = cols};
    snprintf(s->name, sizeof s->name, "%.90s.%s", mod->path, which);
}

/* One projection of matrix `param`, whose A lies in l's from row `at` on. */
static int add_part(struct model *m, const struct module *mod, struct lora *l, int at, struct err *err)
{
    const struct tensor_spec *s = mod->spec;
    bool embedding = s->part == PART_EMBED;
    int rows = embedding ? s->cols : s->rows;
    int b = add_matrix(m, rows, mod->r, mod->scale, s->part != PART_HEAD, err);
    if (b < 0)
        return b;
    l->part[l->n++] = (struct lora_part){b, s->first, rows, at, mod->r, mod->scale};
    if (embedding)
        add_slice(m, mod, "lora_embedding_A", l->a, 0, s->rows, mod->r, ORDER_TRANSPOSED);
    else
        add_slice(m, mod, "lora_A.weight", l->a, at, mod->r, s->cols, ORDER_SAME);
    add_slice(m, mod, embedding ? "lora_embedding_B" : "lora_B.weight", b, 0, rows, mod->r,
              s->order == ORDER_BY_HEAD ? ORDER_BY_HEAD : ORDER_SAME);
    if (rows * mod->r > m->adapter->b_values)
        m->adapter->b_values = rows * mod->r;
    return 0;
}

/* The adapted modules of matrix `param` become one struct lora. */
static int add_lora(struct model *m, const struct module *mod, int n, int param, struct err *err)
{
    struct lora *l = &m->adapter->lora[m->adapter->n];
    const struct param *p = &m->param[param];
    bool embedding = param == param_embed();
    int rank = 0, at = 0;
    for (int i = 0; i < n; i++)
        rank += mod[i].spec->param == param ? mod[i].r : 0;
    if (!rank)
        return 0;
    l->rank = rank;
    l->a = embedding ? add_matrix(m, p->rows, rank, 1, false, err) : add_matrix(m, rank, p->cols, 1, true, err);
    int rc = l->a < 0 ? l->a : 0;
    for (int i = 0; rc == 0 && i < n; i++)
        if (mod[i].spec->param == param && mod[i].r) {
            rc = add_part(m, &mod[i], l, at, err);
            at += mod[i].r;
        }
    if (rc)
        return rc;
    m->param[param].lora = l;
    m->adapter->n++;
    m->adapter->rank = rank > m->adapter->rank ? rank : m->adapter->rank;
    return param == m->at.head ? extend_head(m, err) : 0;
}

int adapter_build(struct model *m, const struct module *mod, int n, struct err *err)
{
    int plain = m->at.n, rc = 0;
    for (int i = 0; rc == 0 && i < n; i++)
        if (mod[i].saved)
            rc = save_module(m, &mod[i], err);
    for (int i = 0; rc == 0 && i < plain; i++)
        rc = add_lora(m, mod, n, i, err);
    return rc;
}

/* ---- a new one --------------------------------------------------------------------------- */

void adapter_defaults(struct adapter_options *o)
{
    *o = (struct adapter_options){.r = 16, .alpha = 32};
}

/* PEFT's choice where none is given: queries and values, or the matrix they lie in. */
static bool is_default(const struct module *mod)
{
    enum part p = mod->spec->part;
    return p == PART_Q || p == PART_V || p == PART_QKV;
}

static bool wanted(const struct module *mod, const char *name)
{
    if (!strcmp(name, "all-linear"))
        return module_fits(mod) && mod->spec->layer >= 0 && mod->spec->part != PART_ROUTER;
    return module_is(mod, name);
}

static int unknown(const char *key, const char *name, const struct module *mod, int n,
                   struct err *err)
{
    struct buf b = {0};
    modules_names(&b, mod, n);
    int rc = err_set(err, ERR_VALUE,
                     "%s: no module of this model is called '%.80s' (there are %.600s)", key,
                     name, b.s ? b.s : "");
    buf_release(&b);
    return rc;
}

static int choose_target(struct module *mod, int n, const char *name,
                         const struct adapter_options *o, struct err *err)
{
    float scale = (float)(o->alpha / (o->rslora ? sqrt(o->r) : o->r));
    int found = 0;
    for (int i = 0; i < n; i++) {
        if (name ? !wanted(&mod[i], name) : !is_default(&mod[i]))
            continue;
        if (!module_fits(&mod[i]))
            return err_set(err, ERR_UNSUPPORTED,
                           "target_modules: %s is no matrix that an adapter fits on",
                           mod[i].path);
        mod[i].r = o->r;
        mod[i].scale = scale;
        found++;
    }
    return found ? 0 : unknown("target_modules", name ? name : "q_proj", mod, n, err);
}

static int choose_saved(struct module *mod, int n, const char *name, struct err *err)
{
    int found = 0;
    for (int i = 0; i < n; i++)
        if (module_is(&mod[i], name)) {
            mod[i].saved = true;
            mod[i].r = 0;
            found++;
        }
    return found ? 0 : unknown("modules_to_save", name, mod, n, err);
}

static int choose(struct module *mod, int n, const struct adapter_options *o, bool scalar,
                  struct err *err)
{
    int rc = 0;
    if (o->r < 1 || o->r > ADAPTER_RANK_MAX)
        return err_set(err, ERR_VALUE, "lora_r is %d, expected 1 to %d", o->r,
                       ADAPTER_RANK_MAX);
    if (!(o->alpha > 0) || !isfinite(o->alpha))
        return err_set(err, ERR_VALUE, "lora_alpha is %g, expected a number above 0", o->alpha);
    for (int i = 0; rc == 0 && i < o->n_target; i++)
        rc = choose_target(mod, n, o->target[i], o, err);
    if (rc == 0 && !o->n_target)
        rc = choose_target(mod, n, NULL, o, err);
    for (int i = 0; i < n; i++)
        mod[i].saved = scalar && mod[i].spec->part == PART_SCORE;
    for (int i = 0; rc == 0 && i < o->n_save; i++)
        rc = choose_saved(mod, n, o->save[i], err);
    return rc;
}

/* U(-1/sqrt(in), 1/sqrt(in)), which is kaiming_uniform with a = sqrt(5); keyed by the module's
 * name, so that a module starts the same whatever else is adapted. */
static int start_uniform(struct model *m, const struct tensor_spec *s, struct err *err)
{
    uint64_t item = hash_bytes(s->name, strlen(s->name)).lo;
    double bound = 1 / sqrt(s->cols);
    struct tensor to = slice_view(&m->param[s->param].value, s);
    float *row = malloc((size_t)s->cols * sizeof *row);
    if (!row)
        return err_set(err, ERR_MEMORY, "no memory for a row of %d", s->cols);
    for (int y = 0; y < s->rows; y++) {
        struct rng r;
        rng_init(&r, m->seed, RNG_INIT, item, (uint32_t)y);
        for (int x = 0; x < s->cols; x++)
            row[x] = (float)((2 * rng_uniform(&r) - 1) * bound);
        tensor_write(&to, y, 1, row);
    }
    free(row);
    return 0;
}

static int start(struct model *m, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < m->n_slices; i++)
        if (str_ends(m->slice[i].name, ".lora_A.weight"))
            rc = start_uniform(m, &m->slice[i], err);
        else if (str_ends(m->slice[i].name, ".lora_embedding_B"))
            rc = param_random(m, m->slice[i].param, 1, err);
    for (int i = m->at.n; rc == 0 && i < m->n_params; i++)
        param_repack(m, i);
    return rc;
}

/* Whether head or embedding is among the names: then they cannot be one parameter. */
static bool names_head(const struct model *base, const char *const *name, int n)
{
    struct module mod;
    for (const struct part_name *p = family_of(&base->config)->parts; p->hf; p++)
        for (int i = 0; i < n; i++) {
            snprintf(mod.path, sizeof mod.path, "%s", p->hf);
            if ((p->part == PART_HEAD || p->part == PART_EMBED) && module_is(&mod, name[i]))
                return true;
        }
    return false;
}

int model_with_adapter(struct model **out, struct model *base, const struct adapter_options *o,
                       struct err *err)
{
    struct model *m = NULL;
    struct module *mod = NULL;
    int n = 0;
    bool scalar = o->scalar_head || base->scalar;
    int rc =
        adapter_begin(&m, base, scalar, names_head(base, o->save, o->n_save) || names_head(base, o->target, o->n_target),
                           o->seed, err);
    if (rc == 0)
        rc = modules_list(&mod, &n, m->slice, m->n_slices, err);
    if (rc == 0)
        rc = choose(mod, n, o, scalar, err);
    if (rc == 0) {
        m->adapter->config = peft_config(m, o, mod, n);
        rc = m->adapter->config ? 0 : err_set(err, ERR_MEMORY, "a model with an adapter");
    }
    if (rc == 0)
        rc = adapter_build(m, mod, n, err);
    if (rc == 0)
        rc = start(m, err);
    free(mod);
    if (rc == 0)
        *out = m;
    else
        model_close(m);
    return rc;
}

struct model *model_base(const struct model *m)
{
    return m->base;
}

size_t model_trained_count(const struct model *m)
{
    size_t n = 0;
    for (int i = 0; i < m->n_params; i++)
        n += param_trained(m, i) ? (size_t)m->param[i].rows * (size_t)m->param[i].cols : 0;
    return n;
}

/* The base's name and everything of its own, values and scales; taken anew each time, since
 * they are trained. */
void adapter_hash(char out[33], const struct model *m)
{
    struct buf b = {0};
    buf_addf(&b, "%s %d %.17g %.17g", model_fingerprint(m->base), m->scalar,
             m->config.reward_mean, m->config.reward_std);
    for (int i = 0; i < m->n_params; i++)
        if (param_trained(m, i))
            buf_addf(&b, " %d %.9g %016llx", i, (double)m->param[i].scale,
                     (unsigned long long)tensor_hash(&m->param[i].value));
    for (int i = 0; i < m->adapter->n; i++)
        for (int k = 0; k < m->adapter->lora[i].n; k++)
            buf_addf(&b, " %d/%d", m->adapter->lora[i].part[k].b,
                     m->adapter->lora[i].part[k].first);
    if (b.failed)
        mem_die("the hash of an adapter");
    hash_hex(out, hash_bytes(b.s, b.len));
    buf_release(&b);
}
