/* model/trainable.c - masters, gradients and moments: norm, step, gradients by name.
 *
 * One set of tensors per parameter, in the order of the model's list.  Gains and biases decay no weight. */
#include <math.h>

#include "model/trainable.h"

static int tensors_like(struct tensor **out, const struct model *m, struct err *err)
{
    int rc = 0;
    *out = mem_alloc((size_t)m->n_params, sizeof **out);
    if (!*out)
        return err_set(err, ERR_MEMORY, "optimiser state of %d parameters", m->n_params);
    for (int i = 0; rc == 0 && i < m->n_params; i++)
        rc = tensor_new(&(*out)[i], m->dev, DTYPE_F32, m->param[i].rows, m->param[i].cols, err);
    return rc;
}

int trainable_new(struct trainable **out, struct model *m, struct err *err)
{
    if (!m->masters)
        return err_set(err, ERR_VALUE, "this model was opened for reading only: training needs .trainable");
    struct trainable *t = mem_alloc(1, sizeof *t);
    if (!t)
        return err_set(err, ERR_MEMORY, "optimiser state");
    t->model = m;
    t->n = m->n_params;
    int rc = tensors_like(&t->grad, m, err);
    if (rc == 0)
        rc = tensors_like(&t->m, m, err);
    if (rc == 0)
        rc = tensors_like(&t->v, m, err);
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
    free(t);
}

void trainable_zero(struct trainable *t)
{
    for (int i = 0; i < t->n; i++)
        op_zero(&t->grad[i]);
}

double trainable_grad_norm(const struct trainable *t)
{
    double sum = 0;
    for (int i = 0; i < t->n; i++)
        sum += op_sumsq(&t->grad[i]);
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
        if (!isfinite(op_sumsq(&t->grad[i])))
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
        op_adamw(&p->value, &t->m[i], &t->v[i], &t->grad[i], p->vector ? &plain : h);
        param_repack(t->model, i);
    }
}

int trainable_gradient(const struct trainable *t, const char *name, float *out, size_t count, struct err *err)
{
    const struct tensor_spec *s = slice_find(t->model, name);
    if (!s)
        return err_set(err, ERR_MISSING, "no parameter is called %s", name);
    if (count != (size_t)s->rows * (size_t)s->cols)
        return err_set(err, ERR_VALUE, "%s has %d x %d values, room is for %zu", name, s->rows, s->cols, count);
    return slice_read(out, t->model, s, &t->grad[s->param], false, err);
}
