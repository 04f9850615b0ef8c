/* model/model.c - a language model as a whole: opening, making, naming and saving it. */
#include <math.h>

#include "model/format/store.h"
#include "model/internal.h"

void model_close(struct model *m)
{
    if (!m || --m->users > 0)
        return;
    if (m->base) {
        adapter_release(m);
        return;
    }
    params_release(m);
    tokenizer_free(m->tokenizer);
    weights_close(m->file);
    free(m);
}

static struct model *model_alloc(struct device *dev, const struct model_config *c, const struct model_options *opt)
{
    struct model *m = mem_alloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->dev = dev;
    m->users = 1;
    m->config = *c;
    m->dtype = opt->dtype;
    m->seed = opt->seed;
    m->scalar = opt->scalar_head;
    m->config.score_head = m->scalar;
    if (m->config.reward_std == 0)
        m->config.reward_std = 1;
    return m;
}

/* A checkpoint with a scalar head only says nothing about tokens. */
static int check_head(struct model *m, const char *path, struct err *err)
{
    const struct model_config *c = weights_config(m->file);
    char score[64];
    snprintf(score, sizeof score, "%s.weight", *c->score_name ? c->score_name : "score");
    bool has_score = weights_has(m->file, score);
    if (!m->scalar && c->score_head)
        return err_set(err, ERR_UNSUPPORTED, "%s is a reward or value model (%s); a language model is needed here", path, score);
    m->fresh_head = m->scalar && !has_score;
    return 0;
}

/* max_model_len: beyond longrope's original length the model has all its positions, and so its long factors. */
static int take_length(struct model_config *c, int tokens, const char *path, struct err *err)
{
    struct rope_choice *r = &c->choices.rope;
    if (r->kind != ROPE_LONGROPE || !r->longest || tokens <= r->original)
        return 0;
    if (tokens > r->longest)
        return err_set(err, ERR_VALUE, "%s: max_model_len is %d; this model's max_position_embeddings is %d", path, tokens,
                       r->longest);
    c->max_position = r->longest;
    return 0;
}

int model_open(struct model **out, struct device *dev, const char *path, const struct model_options *opt, struct err *err)
{
    PROFILE("open the model");
    struct weights *file;
    int rc = weights_open(&file, path, err);
    if (rc)
        return rc;
    struct model *m = model_alloc(dev, weights_config(file), opt);
    if (!m) {
        weights_close(file);
        return err_set(err, ERR_MEMORY, "opening %s", path);
    }
    m->file = file;
    m->masters = opt->trainable;
    m->dequantize = opt->dequantize;
    rc = take_length(&m->config, opt->max_model_len, path, err);
    if (rc == 0)
        rc = check_head(m, path, err);
    if (rc == 0)
        rc = tokenizer_open(&m->tokenizer, path, err);
    if (rc == 0)
        rc = params_init(m, err);
    if (rc == 0)
        rc = params_read(m, err);
    if (rc == 0 && m->masters) {
        weights_close(m->file);
        m->file = NULL;
    }
    if (rc == 0)
        *out = m;
    else
        model_close(m);
    return rc;
}

static int check_config(const struct model_config *c, struct err *err)
{
    if (c->vocab < 1 || c->width < 1 || c->layers < 1 || c->heads < 1 || c->kv_heads < 1 || c->head_size < 2 || c->ffn < 1)
        return err_set(err, ERR_VALUE, "a new model needs sizes above 0: vocab %d, width %d, layers %d, heads %d, kv_heads %d, "
                       "head_size %d, ffn %d", c->vocab, c->width, c->layers, c->heads, c->kv_heads, c->head_size, c->ffn);
    if (c->heads % c->kv_heads || c->head_size % 2)
        return err_set(err, ERR_VALUE, "a new model's heads (%d) must be a multiple of kv_heads (%d), head_size (%d) even",
                       c->heads, c->kv_heads, c->head_size);
    return 0;
}

int model_create(struct model **out, struct device *dev, const struct model_config *config, const char *tokenizer_dir,
                 const struct model_options *opt, struct err *err)
{
    int rc = check_config(config, err);
    if (rc)
        return rc;
    struct model *m = model_alloc(dev, config, opt);
    if (!m)
        return err_set(err, ERR_MEMORY, "making a model");
    rc = take_length(&m->config, opt->max_model_len, tokenizer_dir ? tokenizer_dir : "a new model", err);
    m->masters = true;
    m->fresh_head = m->scalar;
    if (!*m->config.model_type)
        snprintf(m->config.model_type, sizeof m->config.model_type, "llama");
    if (rc == 0 && tokenizer_dir)
        rc = tokenizer_open(&m->tokenizer, tokenizer_dir, err);
    if (rc == 0 && m->tokenizer && tokenizer_vocab(m->tokenizer) > config->vocab)
        rc = err_set(err, ERR_VALUE, "%s has %d tokens, the new model a vocabulary of %d", tokenizer_dir,
                     tokenizer_vocab(m->tokenizer), config->vocab);
    if (rc == 0)
        rc = params_init(m, err);
    if (rc == 0)
        rc = params_random(m, err);
    if (rc == 0)
        *out = m;
    else
        model_close(m);
    return rc;
}

struct device *model_device(const struct model *m)
{
    return m->dev;
}

const struct model_config *model_config(const struct model *m)
{
    return &m->config;
}

int model_check_length(const struct model_config *c, int tokens, struct err *err)
{
    enum rope_kind kind = c->choices.rope.kind;
    const char *why = c->choices.positions       ? "positions"
                      : kind == ROPE_LONGROPE    ? "tokens (original_max_position_embeddings) before longrope's long factors, which max_model_len takes"
                      : kind == ROPE_DYNAMIC     ? "tokens (max_position_embeddings) before dynamic scaling begins"
                                                 : NULL;
    if (!why || tokens <= c->max_position)
        return 0;
    return err_set(err, ERR_VALUE, "a sequence of %d tokens; this model has %d %s", tokens, c->max_position, why);
}

int model_use_template(struct model *m, const char *choice, struct err *err)
{
    return tokenizer_use_template(m->tokenizer, choice, err);
}

const struct tokenizer *model_tokenizer(const struct model *m)
{
    return m->tokenizer;
}

size_t model_param_count(const struct model *m)
{
    size_t n = 0;
    for (int i = 0; i < m->n_params; i++)
        n += (size_t)m->param[i].rows * (size_t)m->param[i].cols;
    return n;
}

bool model_head_is_fresh(const struct model *m)
{
    return m->fresh_head;
}

void model_set_reward_norm(struct model *m, double mean, double std)
{
    m->config.reward_mean = mean;
    m->config.reward_std = std;
}

/* ---- what labels are keyed by --------------------------------------------------------- */

static bool is_plain_llama(const struct model_config *c)
{
    const struct choices *h = &c->choices;
    return !strcmp(family_of(c)->about.model_type, "llama") && h->rope.kind == ROPE_DEFAULT && !h->act && !h->qkv_bias &&
           !h->mlp_bias;
}

/* Everything else a config says, as it would be written. */
static uint64_t hash_choices(const struct model_config *c)
{
    struct buf b = {0};
    json_t *o = config_to_json(c, DTYPE_F32);
    if (o)
        json_add_text(&b, o, 0);
    if (!o || b.failed)
        mem_die("the text of a config");
    uint64_t h = hash_bytes(b.s, b.len).lo;
    json_decref(o);
    buf_release(&b);
    return h;
}

/* Masters change as they are trained, so their hash is taken anew each time. */
static void hash_masters(char out[33], const struct model *m)
{
    const struct model_config *c = &m->config;
    double facts[] = {c->heads, c->kv_heads, c->head_size, c->norm_eps, c->rope_theta, c->tied, c->score_head, c->reward_mean,
                      c->reward_std};     // what weights and shapes alone do not say
    uint64_t *h = malloc(((size_t)m->n_params + 2) * sizeof *h);
    if (!h)
        mem_die("%d hashes", m->n_params);
    for (int i = 0; i < m->n_params; i++)
        h[i] = tensor_hash(&m->param[i].value);
    h[m->n_params] = hash_bytes(facts, sizeof facts).lo;
    size_t n = (size_t)m->n_params + 1;
    if (!is_plain_llama(c))
        h[n++] = hash_choices(c);
    hash_hex(out, hash_bytes(h, n * sizeof *h));
    free(h);
}

const char *model_fingerprint(const struct model *m)
{
    struct model *own = (struct model *)m;      // the text is computed when first wanted
    char hash[33] = "";
    struct err err = {0};
    if (m->base)
        adapter_hash(hash, m);
    else if (m->masters)
        hash_masters(hash, m);
    else if (!*m->fingerprint && weights_hash(hash, m->file, &err))
        BUG("%s", err.msg);     // the file is mapped and was checked when it was opened
    if (*hash) {
        snprintf(own->fingerprint, sizeof own->fingerprint, "%s-%s-n%d", hash, dtype_name(m->dtype), NUMERICS_VERSION);
        if (m->quantised)
            snprintf(own->fingerprint + strlen(own->fingerprint), 8, "-int8");
        if (rope_is_long(&m->config))
            snprintf(own->fingerprint + strlen(own->fingerprint), 8, "-long");
        if (m->fresh_head)
            snprintf(own->fingerprint + strlen(own->fingerprint), 32, "-h%llu", (unsigned long long)m->seed);
    }
    return m->fingerprint;
}

/* ---- saving ------------------------------------------------------------------------------ */

struct source { const struct model *m; const struct tensor_spec *slice; };

static bool transposed(const struct tensor_spec *s)
{
    return s->order == ORDER_TRANSPOSED;
}

static int fill_slice(void *arg, float *out, struct err *err)
{
    const struct source *s = arg;
    const struct tensor_spec *sl = s->slice;
    const struct param *p = &s->m->param[sl->param];
    int rows = sl->vector ? 0 : transposed(sl) ? sl->cols : sl->rows, cols = transposed(sl) ? sl->rows : sl->cols;
    if (!p->value.data)
        return weights_read(s->m->file, sl->name, out, rows, cols, err);
    return slice_read(out, s->m, sl, &p->value, true, err);
}

int model_save(const struct model *m, const char *dir, enum dtype dtype, struct err *err)
{
    PROFILE("save the model");
    if (m->base)
        return adapter_save(m, dir, err);
    struct folder_tensor *t = mem_alloc((size_t)m->n_slices, sizeof *t);
    struct source *source = mem_alloc((size_t)m->n_slices, sizeof *source);
    int rc = 0;
    if (!t || !source)
        rc = err_set(err, ERR_MEMORY, "saving a model to %s", dir);
    for (int i = 0; rc == 0 && i < m->n_slices; i++) {
        const struct tensor_spec *s = &m->slice[i];
        source[i] = (struct source){m, s};
        t[i] = (struct folder_tensor){.name = s->part == PART_SCORE ? "score.weight" : s->name,
                                      .rows = s->vector ? 0 : transposed(s) ? s->cols : s->rows,
                                      .cols = transposed(s) ? s->rows : s->cols, .fill = fill_slice, .arg = &source[i]};
    }
    if (rc == 0)
        rc = folder_write(dir, &m->config, &(struct folder_form){dtype_name(dtype), 0}, t, m->n_slices, m->tokenizer, err);
    free(t);
    free(source);
    return rc;
}
