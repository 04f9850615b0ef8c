/* model_facts FOLDER ASK.json OUT - what this library computes of a model, for tools/parity/families.py; fp32.
 *
 * FOLDER may be a PEFT folder; ASK.json names its base then.
 * ASK.json: {"base": FOLDER, "sequences": [[ids], ..], "names": [[tensor, count], ..], "new": N, "router": weight, "scalar": bool}.
 * Into folder OUT: logits.bin (every row of every sequence, V floats each; with scalar, one score per row), grad.bin (the
 * named tensors' gradients of the mean loss; with scalar, of a weighted sum of all scores), facts.json (loss, router loss, ids
 * generated greedily after the first sequence, by how much the log-probs of generation and of one forward pass differ),
 * saved/ (the model, written again). */
#include <math.h>
#include <sys/stat.h>

#include "model/model.h"

struct job {
    struct model *m;
    struct trainable *t;
    struct workspace *ws;
    struct forest f;
    json_t *ask;
    const char *out;
    bool scalar;
};

static void must(int rc, const struct err *err)
{
    if (rc) {
        fprintf(stderr, "model_facts: %s\n", err->msg);
        exit(1);
    }
}

static FILE *create(const struct job *j, const char *name)
{
    char *path = path_join(j->out, name);
    FILE *f = fopen(path, "wb");
    if (!f) {
        fprintf(stderr, "model_facts: %s: %m\n", path);
        exit(1);
    }
    free(path);
    return f;
}

static void write_floats(FILE *f, const float *x, size_t n)
{
    if (fwrite(x, sizeof *x, n, f) != n)
        exit(1);
}

/* ---- forward and backward -------------------------------------------------------------------- */

static double language_model(struct job *j)
{
    int vocab = model_config(j->m)->vocab, n = 0, T = j->f.tokens.n;
    struct head_item *item = mem_alloc((size_t)(vocab > T ? vocab : T), sizeof *item);
    float *logp = mem_alloc((size_t)(vocab > T ? vocab : T), sizeof *logp), *lse = mem_alloc((size_t)vocab, sizeof *lse);
    FILE *f = create(j, "logits.bin");
    for (int row = 0; row < T; row++) {
        for (int i = 0; i < vocab; i++)
            item[i] = (struct head_item){row, i};
        model_logp(j->ws, logp, NULL, lse, item, vocab, 1);
        for (int i = 0; i < vocab; i++)
            logp[i] += lse[i];
        write_floats(f, logp, (size_t)vocab);
    }
    fclose(f);
    for (int s = 0; s < j->f.n; s++)
        n += forest_items(&j->f, s, 0, item + n);
    double loss = 0;
    model_logp(j->ws, logp, NULL, NULL, item, n, 1);
    for (int i = 0; i < n; i++) {
        loss -= logp[i] / n;
        logp[i] = -1.0f / (float)n;
    }
    workspace_router_loss(j->ws, (float)json_number_value(json_object_get(j->ask, "router")));
    model_backward(j->ws, j->t, item, logp, n, 1, NULL, NULL, 0);
    free(item);
    free(logp);
    free(lse);
    return loss;
}

static void scalar_head(struct job *j)
{
    int T = j->f.tokens.n;
    int *row = mem_alloc((size_t)T, sizeof *row);
    float *score = mem_alloc((size_t)T, sizeof *score), *weight = mem_alloc((size_t)T, sizeof *weight);
    for (int i = 0; i < T; i++) {
        row[i] = i;
        weight[i] = (float)(i % 5 - 2) / 8;
    }
    model_score(j->ws, score, row, T);
    FILE *f = create(j, "logits.bin");
    write_floats(f, score, (size_t)T);
    fclose(f);
    model_backward(j->ws, j->t, NULL, NULL, 0, 1, row, weight, T);
    free(row);
    free(score);
    free(weight);
}

static void gradients(struct job *j)
{
    struct err err = {0};
    size_t i;
    json_t *v;
    FILE *f = create(j, "grad.bin");
    json_array_foreach(json_object_get(j->ask, "names"), i, v)
    {
        size_t n = (size_t)json_integer_value(json_array_get(v, 1));
        float *g = mem_alloc(n, sizeof *g);
        must(trainable_gradient(j->t, json_string_value(json_array_get(v, 0)), g, n, &err), &err);
        write_floats(f, g, n);
        free(g);
    }
    fclose(f);
}

/* ---- generation ------------------------------------------------------------------------------ */

/* Greedy ids after the first sequence; *off: the largest difference between the log-probs that generation reports and those of
 * one pass over prompt and ids. */
static json_t *generated(struct job *j, double *off)
{
    struct completion out = {0};
    struct sampling s;
    struct err err = {0};
    struct forest f = {0};
    sampling_defaults(&s);
    s.temperature = 0;
    s.max_new_tokens = (int)json_integer_value(json_object_get(j->ask, "new"));
    s.ignore_eos = true;
    struct prompt_ids prompt = {j->f.tokens.id, j->f.seg[0].len, 0};
    must(model_generate(&out, j->m, &prompt, 1, 1, &s, 1, NULL, NULL, &err), &err);

    int head = forest_add(&f, -1, prompt.id, prompt.n), tail = forest_add(&f, head, out.id, out.n);
    struct workspace *ws;
    struct head_item *item = mem_alloc((size_t)out.n, sizeof *item);
    float *logp = mem_alloc((size_t)out.n, sizeof *logp);
    must(workspace_new(&ws, j->m, f.tokens.n, false, &err), &err);
    model_forward(ws, j->m, &f);
    model_logp(ws, logp, NULL, NULL, item, forest_items(&f, tail, 0, item), 1);
    json_t *ids = json_array();
    *off = 0;
    for (int i = 0; i < out.n; i++) {
        json_array_append_new(ids, json_integer(out.id[i]));
        *off = fmax(*off, fabs((double)logp[i] - out.logp[i]));
    }
    workspace_free(ws);
    forest_release(&f);
    completions_release(&out, 1);
    free(item);
    free(logp);
    return ids;
}

static void read_sequences(struct job *j)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(j->ask, "sequences"), i, v)
    {
        int n = (int)json_array_size(v);
        int *id = mem_alloc((size_t)n, sizeof *id);
        for (int k = 0; k < n; k++)
            id[k] = (int)json_integer_value(json_array_get(v, (size_t)k));
        if (forest_add(&j->f, -1, id, n) < 0)
            exit(1);
        free(id);
    }
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct device *dev;
    if (argc != 4) {
        fputs("model_facts FOLDER ASK.json OUT\n", stderr);
        return 2;
    }
    struct job j = {.ask = json_read_file(argv[2], &err), .out = argv[3]};
    must(j.ask ? 0 : -1, &err);
    j.scalar = json_is_true(json_object_get(j.ask, "scalar"));
    mkdir(j.out, 0755);
    must(device_open(&dev, NULL, 1, &err), &err);
    struct model_options opt = {.dtype = DTYPE_F32, .trainable = true, .scalar_head = j.scalar,
                                .max_model_len = (int)json_integer_value(json_object_get(j.ask, "max_model_len"))};
    const char *base = json_string_value(json_object_get(j.ask, "base"));
    if (base) {
        struct model *under;
        struct model_options plain = {.dtype = DTYPE_F32, .max_model_len = opt.max_model_len};
        must(model_open(&under, dev, base, &plain, &err), &err);
        must(model_open_adapter(&j.m, under, argv[1], &opt, &err), &err);
        model_close(under);
    } else {
        must(model_open(&j.m, dev, argv[1], &opt, &err), &err);
    }
    must(trainable_new(&j.t, j.m, OPTIM_ADAMW, &err), &err);
    read_sequences(&j);
    must(workspace_new(&j.ws, j.m, j.f.tokens.n, true, &err), &err);
    model_forward(j.ws, j.m, &j.f);

    json_t *facts = json_object();
    if (j.scalar)
        scalar_head(&j);
    else
        json_object_set_new(facts, "loss", json_real(language_model(&j)));
    if (model_config(j.m)->choices.experts)
        json_object_set_new(facts, "router_loss", json_real(model_router_loss(j.ws)));
    gradients(&j);
    if (!j.scalar) {
        double off;
        json_object_set_new(facts, "greedy", generated(&j, &off));
        json_object_set_new(facts, "cached", json_real(off));
    }
    char *saved = path_join(j.out, "saved"), *path = path_join(j.out, "facts.json");
    must(model_save(j.m, saved, DTYPE_F32, &err), &err);
    must(json_write_file(path, facts, &err), &err);
    return 0;
}
