/* model/family/rope.c - rotary positions: what config.json says of them, and the frequencies that follow.
 *
 * transformers 4 writes rope_theta beside rope_scaling {"rope_type": ..}; 5 writes both into rope_parameters, which Gemma 3
 * nests by kind of layer.  All are read; the older one is written, which every version reads.
 *
 * Dynamic NTK scaling leaves frequencies alone up to max_position_embeddings, which is as far as we compute.
 * longrope has two sets of factors, of which transformers takes one by the length of a batch's longest sequence.  A token's
 * result may not depend on what follows it, so the choice is made when a model is opened: the short ones, up to
 * original_max_position_embeddings, or the long ones for everything (max_model_len). */
#include "model/family/family.h"

#include <math.h>

static const struct { enum rope_kind kind; const char *name; } KINDS[] = {
    {ROPE_DEFAULT, "default"}, {ROPE_LINEAR, "linear"}, {ROPE_DYNAMIC, "dynamic"},
    {ROPE_LLAMA3, "llama3"},   {ROPE_YARN, "yarn"},     {ROPE_LONGROPE, "longrope"},
};

/* ---- reading ----------------------------------------------------------------------------- */

static int read_kind(struct rope_choice *r, const json_t *o, const struct family *f, const char *where, struct err *err)
{
    const json_t *v = json_object_get(o, "rope_type");
    if (!v)
        v = json_object_get(o, "type");
    if (!v)
        return 0;
    const char *name = json_string_value(v);
    // what Phi-3's first folders call "su" and "yarn" is longrope to transformers
    if (name && !strcmp(f->about.model_type, "phi3") && (!strcmp(name, "su") || !strcmp(name, "yarn")))
        name = "longrope";
    for (size_t i = 0; name && i < ARRAY_LEN(KINDS); i++)
        if (!strcmp(name, KINDS[i].name)) {
            r->kind = KINDS[i].kind;
            return 0;
        }
    return err_set(err, ERR_UNSUPPORTED, "%s: 'rope_type' is \"%.60s\"; supported are default, linear, dynamic, llama3, yarn and "
                   "longrope", where, name ? name : "(not a string)");
}

/* A number that must be there, positive. */
static int need(double *out, const json_t *o, const char *key, const char *where, struct err *err)
{
    int rc = json_double_or(o, key, 0, out, where, err);
    if (rc == 0 && (!isfinite(*out) || *out <= 0))
        rc = err_set(err, ERR_FORMAT, "%s: rope scaling needs '%s', a number above 0", where, key);
    return rc;
}

/* One that may be absent or null: 0 then. */
static int may(double *out, const json_t *o, const char *key, const char *where, struct err *err)
{
    int rc = json_double_or(o, key, 0, out, where, err);
    if (rc == 0 && (!isfinite(*out) || *out < 0))
        rc = err_set(err, ERR_FORMAT, "%s: rope scaling's '%s' is %g, expected a number above 0", where, key, *out);
    return rc;
}

static int read_factors(float *out, int n, const json_t *o, const char *key, const char *where, struct err *err)
{
    const json_t *list = json_object_get(o, key);
    if (!json_is_array(list) || json_array_size(list) != (size_t)n)
        return err_set(err, ERR_FORMAT, "%s: rope scaling's '%s' should be a list of %d numbers", where, key, n);
    for (int i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        out[i] = (float)json_number_value(v);
        if (!json_is_number(v) || !isfinite(out[i]) || out[i] <= 0)
            return err_set(err, ERR_FORMAT, "%s: rope scaling's '%s' has an entry %d that is no number above 0", where, key, i);
    }
    return 0;
}

static int read_longrope(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    struct rope_choice *r = &c->choices.rope;
    r->n_factors = rope_size(c) / 2;
    if (r->n_factors < 1 || r->n_factors > ROPE_FACTORS_MAX)
        return err_set(err, ERR_UNSUPPORTED, "%s: rope scaling of %d pairs per head; 1 to %d are supported", where, r->n_factors,
                       ROPE_FACTORS_MAX);
    int rc = read_factors(r->short_factor, r->n_factors, o, "short_factor", where, err);
    if (rc == 0)
        rc = read_factors(r->long_factor, r->n_factors, o, "long_factor", where, err);
    if (rc == 0)
        rc = may(&r->factor, o, "factor", where, err);
    if (rc == 0 && r->original < c->max_position) {
        r->longest = c->max_position;
        c->max_position = r->original;
    }
    return rc;
}

/* original_max_position_embeddings beside rope_scaling goes before the one inside; where Phi-3 has none beside, its
 * class has (r->original on entry). */
static int read_original(struct model_config *c, const json_t *o, const json_t *rope, const char *where, struct err *err)
{
    static const char *const key = "original_max_position_embeddings";
    struct rope_choice *r = &c->choices.rope;
    const json_t *beside = json_object_get(o, key);
    double x = r->original ? r->original : c->max_position;
    int rc = 0;
    if (beside && !json_is_null(beside))
        rc = need(&x, o, key, where, err);
    else if (!r->original && !json_is_null(json_object_get(rope, key)) && json_object_get(rope, key))
        rc = need(&x, rope, key, where, err);
    if (rc == 0 && (x > INT32_MAX || x != floor(x)))
        rc = err_set(err, ERR_FORMAT, "%s: '%s' is %g, expected a whole number", where, key, x);
    if (rc == 0)
        r->original = (int)x;
    return rc;
}

static int read_scaling(struct model_config *c, const json_t *o, const json_t *rope, const char *where, struct err *err)
{
    struct rope_choice *r = &c->choices.rope;
    bool truncate = true;
    int rc = 0;
    if (r->kind == ROPE_LLAMA3 || r->kind == ROPE_YARN || r->kind == ROPE_LONGROPE)
        rc = read_original(c, o, rope, where, err);
    if (rc == 0 && r->kind != ROPE_LONGROPE)
        rc = need(&r->factor, rope, "factor", where, err);
    if (rc == 0 && r->kind == ROPE_LLAMA3)
        rc = need(&r->low_freq_factor, rope, "low_freq_factor", where, err);
    if (rc == 0 && r->kind == ROPE_LLAMA3)
        rc = need(&r->high_freq_factor, rope, "high_freq_factor", where, err);
    if (rc == 0 && r->kind == ROPE_LONGROPE)
        rc = read_longrope(c, rope, where, err);
    if (rc == 0 && (r->kind == ROPE_YARN || r->kind == ROPE_LONGROPE))
        rc = may(&r->attention_factor, rope, "attention_factor", where, err);
    if (rc || r->kind != ROPE_YARN)
        return rc;
    rc = may(&r->beta_fast, rope, "beta_fast", where, err);
    if (rc == 0)
        rc = may(&r->beta_slow, rope, "beta_slow", where, err);
    if (rc == 0)
        rc = may(&r->mscale, rope, "mscale", where, err);
    if (rc == 0)
        rc = may(&r->mscale_all_dim, rope, "mscale_all_dim", where, err);
    if (rc == 0)
        rc = json_bool_or(rope, "truncate", true, &truncate, where, err);
    r->no_truncate = !truncate;
    return rc;
}

static int read_float(float *out, const json_t *o, const char *key, const char *where, struct err *err)
{
    double v;
    int rc = json_double_or(o, key, *out, &v, where, err);
    if (rc == 0)
        *out = (float)v;
    return rc;
}

/* Gemma 3: {"full_attention": {..}, "sliding_attention": {..}}; the latter is never scaled. */
static int read_local(struct model_config *c, const json_t *o, const json_t *nested, const char *where, struct err *err)
{
    const json_t *local = json_object_get(nested, "sliding_attention");
    int rc = read_float(&c->choices.local_theta, o, "rope_local_base_freq", where, err);
    if (rc || !json_is_object(local))
        return rc;
    const char *type = json_string_value(json_object_get(local, "rope_type"));
    if (type && strcmp(type, "default"))
        return err_set(err, ERR_UNSUPPORTED, "%s: 'rope_type' of sliding_attention is \"%.60s\"; only default is supported", where,
                       type);
    return read_float(&c->choices.local_theta, local, "rope_theta", where, err);
}

static int read_share(struct model_config *c, const json_t *o, const json_t *rope, const struct family *f, const char *where,
                      struct err *err)
{
    const char *key = family_key(f, "partial_rotary_factor");
    double share = c->choices.rope.share, inner;
    int rc = json_double_or(o, key, share ? share : 1, &share, where, err);
    if (rc == 0)
        rc = json_double_or(rope, "partial_rotary_factor", share, &inner, where, err);
    if (rc)
        return rc;
    if (!(inner > 0 && inner <= 1))
        return err_set(err, ERR_FORMAT, "%s: '%s' is %g, expected a share above 0, at most 1", where, key, inner);
    if (inner != 1 && !f->partial_rotary)
        return err_set(err, ERR_UNSUPPORTED, "%s: '%s' is %g; only 1 is supported for %s", where, key, inner, f->about.model_type);
    c->choices.rope.share = inner == 1 ? 0 : inner;
    if (c->choices.rope.share && (rope_size(c) < 2 || rope_size(c) % 2))
        return err_set(err, ERR_UNSUPPORTED, "%s: '%s' of a head of %d turns %d columns; an even number above 0 is expected", where,
                       key, c->head_size, rope_size(c));
    return 0;
}

int rope_read(struct model_config *c, const json_t *o, const struct family *f, const char *where, struct err *err)
{
    const json_t *rope = json_object_get(o, "rope_scaling"), *old = rope, *params = json_object_get(o, "rope_parameters");
    int rc = read_float(&c->rope_theta, o, family_key(f, "rope_theta"), where, err);
    if (!json_is_object(rope) || !json_object_size(rope))
        rope = params;
    if ((rope && !json_is_null(rope) && !json_is_object(rope)) || (old && !json_is_null(old) && !json_is_object(old)))
        return err_set(err, ERR_FORMAT, "%s: '%s' should be an object", where, rope == params ? "rope_parameters" : "rope_scaling");
    if (rc == 0 && c->choices.local_theta > 0)
        rc = read_local(c, o, params, where, err);
    if (rc == 0 && json_is_object(json_object_get(rope, "full_attention"))) {
        if (c->choices.local_theta <= 0)
            return err_set(err, ERR_UNSUPPORTED, "%s: 'rope_parameters' differ by kind of layer, which is not supported for %s", where,
                           f->about.model_type);
        rope = json_object_get(rope, "full_attention");
    }
    if (rc == 0 && json_is_object(rope))
        rc = read_float(&c->rope_theta, rope, "rope_theta", where, err);
    if (rc == 0 && json_is_object(rope))
        rc = read_kind(&c->choices.rope, rope, f, where, err);
    if (rc == 0)
        rc = read_share(c, o, json_is_object(rope) ? rope : o, f, where, err);
    if (rc == 0 && c->choices.rope.kind != ROPE_DEFAULT)
        rc = read_scaling(c, o, rope, where, err);
    else if (rc == 0)
        c->choices.rope.original = 0;
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void add_given(json_t *o, const char *key, double x)
{
    if (x != 0)
        json_object_set_new(o, key, json_real(x));
}

static void add_factors(json_t *o, const char *key, const float *x, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, family_real(x[i]));
    json_object_set_new(o, key, list);
}

void rope_write(json_t *o, const struct model_config *c)
{
    const struct rope_choice *r = &c->choices.rope;
    const struct family *f = family_of(c);
    json_object_set_new(o, family_key(f, "rope_theta"), family_real(c->rope_theta));
    if (f->partial_rotary)
        json_object_set_new(o, family_key(f, "partial_rotary_factor"), json_real(r->share ? r->share : 1));
    if (c->choices.local_theta > 0)
        json_object_set_new(o, "rope_local_base_freq", family_real(c->choices.local_theta));
    if (r->kind == ROPE_DEFAULT) {
        json_object_set_new(o, "rope_scaling", json_null());
        return;
    }
    json_t *s = json_object();
    for (size_t i = 0; i < ARRAY_LEN(KINDS); i++)
        if (KINDS[i].kind == r->kind)   // transformers 4 knows Phi-3's by "type" alone
            json_object_set_new(s, r->kind == ROPE_LONGROPE ? "type" : "rope_type", json_string(KINDS[i].name));
    add_given(s, "factor", r->factor);
    add_given(s, "low_freq_factor", r->low_freq_factor);
    add_given(s, "high_freq_factor", r->high_freq_factor);
    add_given(s, "attention_factor", r->attention_factor);
    add_given(s, "beta_fast", r->beta_fast);
    add_given(s, "beta_slow", r->beta_slow);
    add_given(s, "mscale", r->mscale);
    add_given(s, "mscale_all_dim", r->mscale_all_dim);
    if (r->no_truncate)
        json_object_set_new(s, "truncate", json_false());
    if (r->kind == ROPE_LONGROPE) {
        add_factors(s, "short_factor", r->short_factor, r->n_factors);
        add_factors(s, "long_factor", r->long_factor, r->n_factors);
        json_object_set_new(o, "original_max_position_embeddings", json_integer(r->original));
    } else if (r->original)
        json_object_set_new(s, "original_max_position_embeddings", json_integer(r->original));
    json_object_set_new(o, "rope_scaling", s);
}

/* ---- frequencies -------------------------------------------------------------------------------- */

int rope_size(const struct model_config *c)
{
    return c->choices.rope.share ? (int)(c->head_size * c->choices.rope.share) : c->head_size;
}

/* Llama 3.1: long waves are slowed by the factor, short ones not, between them it is interpolated. */
static void llama3(float *f, int n, const struct rope_choice *r)
{
    double low = r->original / r->low_freq_factor, high = r->original / r->high_freq_factor;
    for (int i = 0; i < n; i++) {
        float wave = (float)(2 * M_PI) / f[i], factor = (float)r->factor;
        float slow = wave > (float)low ? f[i] / factor : f[i];
        if (!(wave < (float)high) && !(wave > (float)low)) {
            float smooth = ((float)r->original / wave - (float)r->low_freq_factor) / (float)(r->high_freq_factor - r->low_freq_factor);
            slow = (1 - smooth) * slow / factor + smooth * slow;
        }
        f[i] = slow;
    }
}

static double yarn_scale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

/* YaRN (Peng et al. 2023): columns that turn often keep their speed, those that turn seldom are slowed. */
static void yarn(float *f, int n, float *factor, const struct rope_choice *r, double base)
{
    double fast = r->beta_fast ? r->beta_fast : 32, slow = r->beta_slow ? r->beta_slow : 1;
    double low = 2 * n * log(r->original / (fast * 2 * M_PI)) / (2 * log(base));
    double high = 2 * n * log(r->original / (slow * 2 * M_PI)) / (2 * log(base));
    if (!r->no_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0 ? low : 0;
    high = high < 2 * n - 1 ? high : 2 * n - 1;
    if (low == high)
        high += 0.001;
    for (int i = 0; i < n; i++) {
        float ramp = ((float)i - (float)low) / (float)(high - low), wave = 1.0f / f[i];
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        f[i] = 1.0f / ((float)r->factor * wave) * (1 - (1 - ramp)) + 1.0f / wave * (1 - ramp);
    }
    if (r->attention_factor)
        *factor = (float)r->attention_factor;
    else if (r->mscale && r->mscale_all_dim)
        *factor = (float)(yarn_scale(r->factor, r->mscale) / yarn_scale(r->factor, r->mscale_all_dim));
    else
        *factor = (float)yarn_scale(r->factor, 1);
}

bool rope_is_long(const struct model_config *c)
{
    const struct rope_choice *r = &c->choices.rope;
    return r->kind == ROPE_LONGROPE && r->longest && c->max_position > r->original;
}

static float longrope_factor(const struct model_config *c)
{
    const struct rope_choice *r = &c->choices.rope;
    double longest = r->longest ? r->longest : c->max_position, factor = r->factor ? r->factor : longest / r->original;
    if (r->attention_factor)
        return (float)r->attention_factor;
    return factor <= 1 ? 1 : (float)sqrt(1 + log(factor) / log(r->original));
}

void rope_frequencies(float *inv_freq, float *factor, const struct model_config *c, bool local)
{
    const struct rope_choice *r = &c->choices.rope;
    int D = rope_size(c), n = D / 2;
    float theta = local ? c->choices.local_theta : c->rope_theta;
    *factor = 1;
    const float *longrope = rope_is_long(c) ? r->long_factor : r->short_factor;
    for (int i = 0; i < n; i++) {
        float wave = powf(theta, (float)(2 * i) / (float)D);
        inv_freq[i] = 1.0f / (r->kind == ROPE_LONGROPE ? longrope[i] * wave : wave);
    }
    if (local)
        return;
    if (r->kind == ROPE_LINEAR)
        for (int i = 0; i < n; i++)
            inv_freq[i] /= (float)r->factor;
    if (r->kind == ROPE_LLAMA3)
        llama3(inv_freq, n, r);
    if (r->kind == ROPE_YARN)
        yarn(inv_freq, n, factor, r, theta);
    if (r->kind == ROPE_LONGROPE)
        *factor = longrope_factor(c);
}
