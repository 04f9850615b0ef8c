/* adapter/facts.c - rlaif_adapter.json: what PEFT's files have no place for.
 *
 *     base            of the weights the adapter was trained on: how they are stored, a hash of
 * their values, and some values of the embedding.  Stored alike, hashes must agree; stored
 * otherwise (a quantised copy), the embeddings must be alike.  Folders made elsewhere have none
 * of it, and only shapes are checked. reward_mean, reward_std     of raw scores, where there is
 * a scalar head */
#include <math.h>

#include "model/adapter/adapter.h"
#include "model/format/store.h"

static const char NAME[] = "rlaif_adapter.json";
enum { SAMPLES = 96 };

/* Values here and there in the embedding. */
static int sample(double out[SAMPLES], const struct weights *w, struct err *err)
{
    const struct model_config *c = weights_config(w);
    char name[112];
    float *row = mem_alloc((size_t)c->width, sizeof *row);
    int rc = row ? 0 : err_set(err, ERR_MEMORY, "a row of %d", c->width);
    for (const struct part_name *p = family_of(c)->parts; p->hf; p++)
        if (p->part == PART_EMBED)
            snprintf(name, sizeof name, "%s.weight", p->hf);
    for (int i = 0; rc == 0 && i < SAMPLES; i++) {
        int id = (int)((int64_t)i * c->vocab / SAMPLES);
        rc = weights_read_rows(w, name, row, c->vocab, c->width, id, 1, err);
        out[i] = rc ? 0 : (double)row[i * 37 % c->width];
    }
    weights_forget_all(w);
    free(row);
    return rc;
}

/* Cosine of two samples. */
static double likeness(const double *a, const double *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < SAMPLES; i++) {
        ab += a[i] * b[i];
        aa += a[i] * a[i];
        bb += b[i] * b[i];
    }
    return ab / sqrt(aa * bb + 1e-300);
}

static int base_json(json_t **out, const struct weights *w, struct err *err)
{
    double value[SAMPLES];
    char hash[33];
    int rc = sample(value, w, err);
    if (rc)
        return rc;
    json_t *list = json_array();
    for (int i = 0; i < SAMPLES; i++)
        json_array_append_new(list, json_real(value[i]));
    weights_values_hash(hash, w);
    *out = json_pack("{s:s s:s s:o}", "stored", weights_stored(w), "values", hash, "embedding", list);
    return *out ? 0 : err_set(err, ERR_MEMORY, "facts of a base");
}

int facts_write(const struct model *m, const char *dir, struct err *err)
{
    json_t *o = json_object(), *base = NULL;
    char *path = path_join(dir, NAME);
    int rc = m->base->file ? base_json(&base, m->base->file, err) : 0;
    if (base)
        json_object_set_new(o, "base", base);
    if (m->scalar) {
        json_object_set_new(o, "reward_mean", json_real(m->config.reward_mean));
        json_object_set_new(o, "reward_std", json_real(m->config.reward_std));
    }
    if (rc == 0 && (!o || !path))
        rc = err_set(err, ERR_MEMORY, "%s: no memory", dir);
    if (rc == 0 && json_object_size(o))
        rc = json_write_file(path, o, err);
    json_decref(o);
    free(path);
    return rc;
}

static int check_base(const struct weights *base, const json_t *o, const char *path,
                      struct err *err)
{
    const char *stored, *values;
    const json_t *list = json_object_get(o, "embedding");
    double here[SAMPLES], there[SAMPLES];
    char hash[33];
    int rc = json_get_str(o, "stored", &stored, path, err);
    if (rc == 0)
        rc = json_get_str(o, "values", &values, path, err);
    if (rc)
        return rc;
    if (json_array_size(list) != SAMPLES)
        return err_set(err, ERR_FORMAT, "%s: 'embedding' should be a list of %d numbers", path,
                       SAMPLES);
    for (int i = 0; i < SAMPLES; i++)
        there[i] = json_number_value(json_array_get(list, (size_t)i));
    rc = sample(here, base, err);
    if (rc)
        return rc;
    double like = likeness(here, there);
    bool alike = like > 0.9;
    if (alike && !strcmp(stored, weights_stored(base))) {
        weights_values_hash(hash, base);
        alike = !strcmp(hash, values);
    }
    if (alike)
        return 0;
    return err_set(err, ERR_VALUE,
                   "%s: this adapter was trained on another base: the weights of %s differ "
                   "from those it knows (its "
                   "embedding is like this one's by %.2f); adapter_config.json names its base",
                   path, weights_path(base), like);
}

int facts_read(struct model_config *c, const char *dir, const struct weights *base, struct err *err)
{
    char *path = path_join(dir, NAME);
    if (!path)
        return err_set(err, ERR_MEMORY, "%s: no memory", dir);
    if (!file_exists(path)) {
        free(path);
        return 0;
    }
    json_t *o = json_read_file(path, err);
    int rc = o ? 0 : err ? err->code : ERR_FORMAT;
    const json_t *known = json_object_get(o, "base");
    if (rc == 0 && known && base)
        rc = check_base(base, known, path, err);
    if (rc == 0)
        rc = json_double_or(o, "reward_mean", c->reward_mean, &c->reward_mean,
                            path, err);
    if (rc == 0)
        rc = json_double_or(o, "reward_std", c->reward_std, &c->reward_std, path,
                            err);
    if (rc == 0 && !(c->reward_std > 0))
        rc = err_set(err, ERR_FORMAT, "%s: 'reward_std' is %g, expected a number above 0", path,
                     c->reward_std);
    json_decref(o);
    free(path);
    return rc;
}
