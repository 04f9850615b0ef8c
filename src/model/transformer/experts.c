/* model/transformer/experts.c - an MLP that is several, of which a router picks some for each row (Mixtral).
 *
 * Slot t*k+j is row t's j-th choice.  Experts are taken in ascending order; the rows of one are gathered, go through its
 * matrices and are added to their rows, so a row's sum has one order whatever else is in the batch.  What an expert's rows
 * left behind lies one expert after another, in ex_gate_up and ex_out.
 *
 * The router's loss (Switch Transformer, eq. 4 to 6, over all layers together) is E * sum over experts of the share of
 * choices times the mean probability.  It is a property of a batch, so only training asks for it. */
#include "model/transformer/transformer.h"

/* The slots that chose expert e, in order, and their rows. */
static int choosers(struct workspace *ws, const int *expert, int n, int k, int e)
{
    int count = 0;
    for (int s = 0; s < n * k; s++)
        if (expert[s] == e) {
            ws->slot[count] = s;
            ws->slot_row[count++] = s / k;
        }
    return count;
}

static void count_choices(struct workspace *ws, const struct layer_acts *a, const struct tensor *prob, int k)
{
    for (int s = 0; s < prob->rows * k; s++)
        ws->chosen[a->expert[s]]++;
    op_column_sums(ws->prob_sum, prob);
    ws->routed += prob->rows;
}

void experts_forward(struct workspace *ws, const struct model *m, int l, int n, struct layer_acts *a, const struct tensor *normed,
                     const struct tensor *x_in, struct tensor *x_out)
{
    const struct choices *c = &m->config.choices;
    int k = c->experts_used, done = 0;
    struct tensor logits = first_rows(&ws->router, n), prob = first_rows(&a->prob, n), weight = first_rows(&a->expert_weight, n);
    linear_forward(ws, m, param_layer(m, l, PARAM_ROUTER), &logits, normed, false);
    op_route(a->expert, &weight, &prob, &logits);
    if (ws->keep && !ws->again)
        count_choices(ws, a, &prob, k);
    if (x_out != x_in)
        op_copy(x_out, x_in);
    for (int e = 0; e < c->experts; e++) {
        int count = choosers(ws, a->expert, n, k, e);
        if (!count)
            continue;
        struct tensor in = first_rows(&ws->ex_in, count), h = first_rows(&ws->h, count);
        struct tensor gate_up = tensor_rows(&a->ex_gate_up, done, count), out = tensor_rows(&a->ex_out, done, count);
        op_gather_rows(&in, normed, ws->slot_row, count);
        linear_forward(ws, m, param_expert(m, l, e, false), &gate_up, &in, false);
        op_gated(&h, &gate_up, c->act);
        linear_forward(ws, m, param_expert(m, l, e, true), &out, &h, false);
        op_combine(x_out, &out, &weight, ws->slot, count);
        done += ws->keep ? count : 0;
    }
}

/* One expert's matrices; dnorm's rows receive what its inputs ask for. */
static void expert_backward(struct workspace *ws, struct trainable *t, int l, int e, int first, int count, const struct tensor *dy,
                            const struct tensor *normed, struct tensor *dweight)
{
    const struct model *m = t->model;
    const struct layer_acts *a = layer_acts(ws, l);
    int up = param_expert(m, l, e, false), down = param_expert(m, l, e, true);
    struct tensor in = first_rows(&ws->ex_in, count), h = first_rows(&ws->h, count), dout = first_rows(&ws->ex_dout, count);
    struct tensor gate_up = tensor_rows(&a->ex_gate_up, first, count), out = tensor_rows(&a->ex_out, first, count);
    struct tensor dh = first_rows(&ws->dh, count), dgate_up = first_rows(&ws->dgate_up, count), din = first_rows(&ws->ex_din, count);
    struct tensor weight = first_rows(&a->expert_weight, dy->rows), dnorm = first_rows(&ws->dnorm, dy->rows);

    op_combine_backward(&dout, dweight, dy, &out, &weight, ws->slot, count);
    linear_backward_x(ws, m, down, &dh, &dout, false);
    op_gated_backward(&dgate_up, &h, &dh, &gate_up, m->config.choices.act);
    linear_backward_w(ws, t, down, &dout, &h);
    op_gather_rows(&in, normed, ws->slot_row, count);
    linear_backward(ws, t, up, &din, &dgate_up, &in, false);
    op_embed_backward(&dnorm, &din, ws->slot_row);
}

/* The router's loss by the probability of each expert, the same for every row. */
static const float *loss_by_prob(struct workspace *ws, const struct choices *c)
{
    double rows = (double)ws->routed;
    if (ws->router_weight == 0)
        return NULL;
    for (int e = 0; e < c->experts; e++)
        ws->dprob[e] = (float)(ws->router_weight * c->experts * (double)ws->chosen[e] / rows / rows);
    return ws->dprob;
}

void experts_backward(struct workspace *ws, struct trainable *t, int l, int n, const struct tensor *dy, const struct tensor *normed)
{
    const struct model *m = t->model;
    const struct choices *c = &m->config.choices;
    const struct layer_acts *a = layer_acts(ws, l);
    int k = c->experts_used, done = 0;
    struct tensor dnorm = first_rows(&ws->dnorm, n), dweight = first_rows(&ws->dweight, n), dlogits = first_rows(&ws->router, n);
    struct tensor weight = first_rows(&a->expert_weight, n), prob = first_rows(&a->prob, n), low = first_rows(&ws->router_low, n);
    op_zero(&dnorm);
    op_zero(&dweight);
    for (int e = 0; e < c->experts; e++) {
        int count = choosers(ws, a->expert, n, k, e);
        if (count)
            expert_backward(ws, t, l, e, done, count, dy, normed, &dweight);
        done += count;
    }
    op_route_backward(&dlogits, &dweight, loss_by_prob(ws, c), &weight, &prob, a->expert);
    op_copy(&low, &dlogits);
    linear_backward(ws, t, param_layer(m, l, PARAM_ROUTER), &dnorm, &low, normed, true);
}

double model_router_loss(const struct workspace *ws)
{
    int experts = ws->config->choices.experts;
    double sum = 0, rows = (double)ws->routed;
    for (int e = 0; rows > 0 && e < experts; e++)
        sum += (double)ws->chosen[e] / rows * (ws->prob_sum[e] / rows);
    return sum * experts;
}

void workspace_router_loss(struct workspace *ws, float weight)
{
    ws->router_weight = weight;
}
