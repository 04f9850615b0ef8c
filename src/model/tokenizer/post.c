/* post.c - the post_processor of a tokenizer.json: ids before and after a text.
 *
 * ByteLevel only moves offsets, which nobody here asks for.  In a Sequence each processor puts
 * its ids around those of the one before. */
#include "model/tokenizer/tokenizer.h"

enum { DEPTH_MAX = 8 };

static const char *type_of(const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "type"));
    return s ? s : "";
}

static int bad(const struct tokenizer *t, const char *what, const char *name, struct err *err)
{
    return err_set(err, ERR_FORMAT, "%s: post_processor: '%.60s' %s", t->where, name, what);
}

/* What one processor adds. */
struct around {
    int before[TEMPLATE_MAX], n_before, after[TEMPLATE_MAX], n_after;
};

static int put(const struct tokenizer *t, struct around *a, bool after, const json_t *id,
               const char *name, struct err *err)
{
    int *list = after ? a->after : a->before, *n = after ? &a->n_after : &a->n_before;
    json_int_t v = json_integer_value(id);
    if (!json_is_integer(id) || v < 0 || v >= t->vocab)
        return bad(t, "has an id that is no token", name, err);
    if (*n == TEMPLATE_MAX)
        return err_set(err, ERR_UNSUPPORTED, "%s: post_processor adds more than %d tokens",
                       t->where, TEMPLATE_MAX);
    list[(*n)++] = (int)v;
    return 0;
}

/* ["</s>", 2] */
static int put_pair(const struct tokenizer *t, struct around *a, bool after, const json_t *o,
                    const char *key, struct err *err)
{
    const json_t *pair = json_object_get(o, key);
    return put(t, a, after, json_array_get(pair, 1), key, err);
}

static int put_ids(const struct tokenizer *t, struct around *a, bool after, const json_t *o,
                   const char *name, struct err *err)
{
    const json_t *ids =
        json_object_get(json_object_get(json_object_get(o, "special_tokens"), name), "ids");
    int rc = json_is_array(ids) ? 0 : bad(t, "has no ids listed", name, err);
    for (size_t i = 0; i < json_array_size(ids) && rc == 0; i++)
        rc = put(t, a, after, json_array_get(ids, i), name, err);
    return rc;
}

static int load_template(const struct tokenizer *t, struct around *a, const json_t *o,
                         struct err *err)
{
    const json_t *single = json_object_get(o, "single");
    int sequences = 0, rc = 0;
    for (size_t i = 0; i < json_array_size(single) && rc == 0; i++) {
        const json_t *v = json_array_get(single, i);
        const char *name =
            json_string_value(json_object_get(json_object_get(v, "SpecialToken"), "id"));
        if (json_object_get(v, "Sequence"))
            sequences++;
        else
            rc = name
                     ? put_ids(t, a, sequences > 0, o, name, err)
                     : bad(t, "has an item that is no SpecialToken or Sequence", "single", err);
    }
    if (rc == 0 && sequences != 1)
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s: post_processor: a template with %d sequences, expected one", t->where,
                     sequences);
    return rc;
}

static int wrap(struct tokenizer *t, const struct around *a, struct err *err)
{
    if (t->n_before + a->n_before > TEMPLATE_MAX || t->n_after + a->n_after > TEMPLATE_MAX)
        return err_set(err, ERR_UNSUPPORTED, "%s: post_processor adds more than %d tokens",
                       t->where, TEMPLATE_MAX);
    memmove(t->before + a->n_before, t->before, (size_t)t->n_before * sizeof *t->before);
    memcpy(t->before, a->before, (size_t)a->n_before * sizeof *t->before);
    memcpy(t->after + t->n_after, a->after, (size_t)a->n_after * sizeof *t->after);
    t->n_before += a->n_before;
    t->n_after += a->n_after;
    return 0;
}

static int load(struct tokenizer *t, const json_t *o, const char *at, int depth,
                struct err *err)
{
    struct around a = {0};
    const char *type = type_of(o);
    const json_t *list = json_object_get(o, "processors");
    int rc = 0;
    if (!o || json_is_null(o) || !strcmp(type, "ByteLevel"))
        return 0;
    if (!strcmp(type, "Sequence") && json_is_array(list) && depth < DEPTH_MAX) {
        for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
            char deeper[160];
            snprintf(deeper, sizeof deeper, "%.120s.processors[%zu]", at, i);
            rc = load(t, json_array_get(list, i), deeper, depth + 1, err);
        }
        return rc;
    }
    if (!strcmp(type, "TemplateProcessing")) {
        rc = load_template(t, &a, o, err);
    } else if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing")) {
        rc = put_pair(t, &a, false, o, "cls", err);
        if (rc == 0)
            rc = put_pair(t, &a, true, o, "sep", err);
    } else {
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s: %s has type '%.60s'; supported: ByteLevel, TemplateProcessing, "
                     "RobertaProcessing, BertProcessing, Sequence",
                     t->where, at, type);
    }
    return rc ? rc : wrap(t, &a, err);
}

int post_load(struct tokenizer *t, const json_t *o, struct err *err)
{
    return load(t, o, "post_processor", 0, err);
}
