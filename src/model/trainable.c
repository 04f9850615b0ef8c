/* model/trainable.c - masters, gradients and moments: norm, step, gradients by name.
 *
 * One set of tensors per parameter that is trained, in the order of the model's list; of frozen ones the tensors are empty.  Gains and biases decay no weight. */
#include <math.h>

#include "model/trainable.h"

/* Too few to be worth a scale, and where one value may be far from the others. */
static bool in_8_bits(const struct param *p, enum optim optim)
{
    enum { FEW = 4096 };
    return optim == OPTIM_ADAMW_8BIT && !p->vector && (size_t)p->rows * (size_t)p->cols >= FEW;
}

static int moments_new(struct trainable *t, enum optim optim, struct err *err)
{
    const struct model *m = t->model;
    int rc = 0;
    device_purpose(m->dev, "optimiser");
    t->m = mem_alloc((size_t)t->n, sizeof *t->m);
    t->v = mem_alloc((size_t)t->n, sizeof *t->v);
    t->moments8 = mem_alloc((size_t)t->n, sizeof *t->moments8);
    if (!t->m || !t->v || !t->moments8)
        rc = err_set(err, ERR_MEMORY, "optimiser state of %d parameters", t->n);
    for (int i = 0; rc == 0 && i < t->n; i++) {
        const struct param *p = &m->param[i];
        if (!param_trained(m, i))
            continue;
        if (in_8_bits(p, optim)) {
            t->moments8[i] = moments8_new(m->dev, (size_t)p->rows * (size_t)p->cols);
            rc = t->moments8[i] ? 0 : err_set(err, ERR_MEMORY, "8-bit moments of %d x %d values", p->rows, p->cols);
            continue;
        }
        rc = tensor_new(&t->m[i], m->dev, DTYPE_F32, p->rows, p->cols, err);
        if (rc == 0)
            rc = tensor_new(&t->v[i], m->dev, DTYPE_F32, p->rows, p->cols, err);
    }
    return rc;
}

static int tensors_like(struct tensor **out, const struct model *m, struct err *err)
{
    int rc = 0;
    device_purpose(m->dev, "gradients");
    *out = mem_alloc((size_t)m->n_params, sizeof **out);
    if (!*out)
        return err_set(err, ERR_MEMORY, "optimiser state of %d parameters", m->n_params);
    for (int i = 0; rc == 0 && i < m->n_params; i++)
        if (param_trained(m, i))
            rc = tensor_new(&(*out)[i], m->dev, DTYPE_F32, m->param[i].rows, m->param[i].cols, err);
    return rc;
}

int trainable_new(struct trainable **out, struct model *m, enum optim optim, struct err *err)
{
    if (!m->masters && !m->base)
        return err_set(err, ERR_VALUE, "this model was opened for reading only: training needs .trainable");
    if (m->adapter && m->adapter->dropout != 0)
        return err_set(err, ERR_UNSUPPORTED, "adapter_config.json: 'lora_dropout' is %g; training is without dropout here, so that sampling, "
                       "training and reference say the same of a token: set it to 0", m->adapter->dropout);
    struct trainable *t = mem_alloc(1, sizeof *t);
    if (!t)
        return err_set(err, ERR_MEMORY, "optimiser state");
    t->model = m;
    t->n = m->n_params;
    int rc = tensors_like(&t->grad, m, err);
    if (rc == 0)
        rc = moments_new(t, optim, err);
    if (rc == 0)
        *out = t;
    else
        trainable_free(t);
    return rc;
}

void trainable_free(struct trainable *t)
{
    if (!t)
        return;
    struct tensor *all[] = {t->grad, t->m, t->v};
    for (size_t k = 0; k < ARRAY_LEN(all); k++) {
        for (int i = 0; all[k] && i < t->n; i++)
            tensor_release(&all[k][i]);
        free(all[k]);
    }
    for (int i = 0; t->moments8 && i < t->n; i++)
        moments8_free(t->moments8[i]);
    free(t->moments8);
    free(t);
}

void trainable_zero(struct trainable *t)
{
    for (int i = 0; i < t->n; i++)
        if (t->grad[i].data)
            op_zero(&t->grad[i]);
}

double trainable_grad_norm(const struct trainable *t)
{
    double sum = 0;
    for (int i = 0; i < t->n; i++)
        sum += t->grad[i].data ? op_sumsq(&t->grad[i]) : 0;
    return sqrt(sum);
}

/* Which slice of parameter i holds the number that is not finite. */
static const char *nonfinite_slice(const struct trainable *t, int i)
{
    const char *name = NULL;
    for (int s = 0; s < t->model->n_slices; s++) {
        const struct tensor_spec *sl = &t->model->slice[s];
        if (sl->param != i)
            continue;
        struct tensor rows = slice_view(&t->grad[i], sl);
        if (!isfinite(op_sumsq(&rows)))
            return sl->name;
        name = sl->name;
    }
    return name;
}

const char *trainable_nonfinite(const struct trainable *t)
{
    for (int i = 0; i < t->n; i++)
        if (t->grad[i].data && !isfinite(op_sumsq(&t->grad[i])))
            return nonfinite_slice(t, i);
    return NULL;
}

void trainable_step(struct trainable *t, const struct adamw *h)
{
    PROFILE("update");
    struct adamw plain = *h;
    plain.weight_decay = 0;
    for (int i = 0; i < t->n; i++) {
        struct param *p = &t->model->param[i];
        const struct adamw *now = p->vector ? &plain : h;
        if (!t->grad[i].data)
            continue;
        if (t->moments8[i])
            op_adamw8(&p->value, t->moments8[i], &t->grad[i], now);
        else
            op_adamw(&p->value, &t->m[i], &t->v[i], &t->grad[i], now);
        param_repack(t->model, i);
    }
}

int trainable_gradient(const struct trainable *t, const char *name, float *out, size_t count, struct err *err)
{
    const struct tensor_spec *s = slice_find(t->model, name);
    if (!s)
        return err_set(err, ERR_MISSING, "no parameter is called %s", name);
    if (!t->grad[s->param].data)
        return err_set(err, ERR_VALUE, "%s is frozen", name);
    if (count != (size_t)s->rows * (size_t)s->cols)
        return err_set(err, ERR_VALUE, "%s has %d x %d values, room is for %zu", name, s->rows, s->cols, count);
    return slice_read(out, t->model, s, &t->grad[s->param], false, err);
}
