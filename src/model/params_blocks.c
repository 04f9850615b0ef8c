/* model/params_blocks.c - matrices that stay in the blocks of a GGUF file, where a model is opened to be used, not trained.
 *
 * A parameter is made of one to three tensors under each other (q, k, v), each of its own type.  All of them have to be
 * types that products read; what is not (IQ4_NL, IQ4_XS, Q2_K, Q3_K) is held in the compute dtype as before.
 * The file's pages are let go as soon as a tensor is packed, so a model is in memory once. */
#include "model/internal.h"

enum { MOST_PARTS = 3 };

/* The slices of parameter i in the order of its rows; their number, or 0 where there are too many. */
static int slices_of(const struct model *m, int i, const struct tensor_spec *slice[MOST_PARTS])
{
    int n = 0;
    for (int s = 0; s < m->n_slices; s++)
        if (m->slice[s].param == i) {
            if (n == MOST_PARTS)
                return 0;
            int at = n++;
            for (; at > 0 && slice[at - 1]->first > m->slice[s].first; at--)
                slice[at] = slice[at - 1];
            slice[at] = &m->slice[s];
        }
    return n;
}

bool param_in_blocks(const struct model *m, int i)
{
    const struct tensor_spec *slice[MOST_PARTS];
    const struct param *p = &m->param[i];
    enum quant type;
    if (m->masters || m->dequantize || !m->file || p->vector || i == m->at.positions || (m->scalar && i == param_head(m)))
        return false;
    int n = slices_of(m, i, slice);
    for (int s = 0; s < n; s++)
        if (!weights_blocks(m->file, slice[s]->name, slice[s]->rows, slice[s]->cols, &type) || slice[s]->cols % quant_values(type))
            return false;
    return n > 0;
}

static int bad_scale(const struct model *m, const struct tensor_spec *s, const struct quant_fault *f, struct err *err)
{
    return err_set(err, ERR_NUMERIC, "%s: tensor '%s' (%s): block %d of row %d has the scale %g, which no weight has: the file is "
                   "damaged or was written wrongly", weights_file_name(m->file, s->name), s->name, weights_type_name(m->file, s->name),
                   f->block, f->row, (double)f->scale);
}

int param_load_blocks(struct model *m, int i, struct err *err)
{
    const struct tensor_spec *slice[MOST_PARTS];
    struct quant_rows part[MOST_PARTS];
    struct quant_fault fault = {0};
    struct param *p = &m->param[i];
    int n = slices_of(m, i, slice), at = 0;
    const unsigned char **row = mem_alloc((size_t)p->rows, sizeof *row);
    if (!row)
        return err_set(err, ERR_MEMORY, "no memory for a matrix of %d x %d", p->rows, p->cols);
    for (int s = 0; s < n; at += slice[s++]->rows) {
        BUG_IF(slice[s]->first != at);
        part[s] = (struct quant_rows){.n = slice[s]->rows, .row = row + at};
        BUG_IF(!weights_blocks(m->file, slice[s]->name, slice[s]->rows, slice[s]->cols, &part[s].type));
        weights_block_rows(m->file, slice[s]->name, row + at);
    }
    int rc = weight_new_quantised(&p->packed, m->dev, p->cols, m->dtype, part, n, &fault);
    if (rc == ERR_NUMERIC)
        bad_scale(m, slice[fault.part], &fault, err);
    else if (rc)
        err_set(err, rc, "no memory for a matrix of %d x %d", p->rows, p->cols);
    for (int s = 0; s < n; s++)
        weights_forget(m->file, slice[s]->name);
    free((void *)row);
    return rc;
}

void params_say_unpacked(const struct model *m)
{
    const char *type = NULL;
    int n = 0;
    for (int s = 0; s < m->n_slices && !m->masters && !m->dequantize && m->file; s++)
        if (weights_is_blocks(m->file, m->slice[s].name) && !param_in_blocks(m, m->slice[s].param)) {
            enum quant t;
            bool other = !weights_blocks(m->file, m->slice[s].name, m->slice[s].rows, m->slice[s].cols, &t);
            type = other || !type ? weights_type_name(m->file, m->slice[s].name) : type;
            n++;
        }
    if (n)
        log_info("%s: %d tensors are held as %s: products do not read %s", weights_path(m->file), n, dtype_name(m->dtype), type);
}
