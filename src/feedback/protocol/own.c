/* feedback/protocol/own.c - a protocol out of the user's YAML file.
 *
 *     kind: pair                     or rating
 *     conversation: turns            or post, titled: how {text} is shown
 *     preamble: ...                  what the labeler is told first
 *     template: ...                  {text} and {first}, {second} of a pair, {response} of a rating; {reference}, {principle}
 *     ending: "Better="              one of the labels follows
 *     labels: ["1", "2"]             a pair's, first slot first
 *     asks_for: better               or worse: the label names the worse one
 *     scale: {"1": 1, "2": 2}        a rating's words and what they are worth; asks_for: worse where much is bad
 *     template_with_reference: ...   where an item has a reference
 *     rationale: {instruct: ..., lead: "Rationale:", gap: " "}     for --cot
 *     principles: [...]              one is drawn per item (--principle)
 *     exemplars: [{text, first, second, better, rationale}]        of a rating {text, response, answer, rationale}
 *     cot, rationales, order, chat   as the options of the same names, which win where they are given
 *
 * What is wrong is said by file, line and key before anything is asked. */
#include "feedback/protocol/internal.h"

#include <math.h>

struct file {
    const char *path;
    json_t *root, *lines;
    struct protocol *p;
};

/* "mine.yaml, line 12, 'exemplars'": in a buffer that the next call reuses. */
static const char *place(const struct file *f, const char *key, char out[512])
{
    char where[300];
    snprintf(where, sizeof where, "/%s", key);
    const json_t *line = json_object_get(f->lines, where);
    if (line)
        snprintf(out, 512, "%s, line %lld, '%s'", f->path, (long long)json_integer_value(line),
                 key);
    else
        snprintf(out, 512, "%s, '%s'", f->path, key);
    return out;
}

static const char *const keys[] = {"kind",
                                   "conversation",
                                   "preamble",
                                   "template",
                                   "template_with_reference",
                                   "ending",
                                   "labels",
                                   "asks_for",
                                   "scale",
                                   "rationale",
                                   "principles",
                                   "exemplars",
                                   "cot",
                                   "rationales",
                                   "order",
                                   "chat",
                                   NULL};

static int check_keys(const struct file *f, const json_t *o, const char *const *known,
                      const char *inside, struct err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) {
        char path[300], where[512];
        bool fine = false;
        for (int i = 0; known[i]; i++)
            fine |= !strcmp(known[i], key);
        snprintf(path, sizeof path, "%s%s", inside, key);
        const char *near = fine ? NULL : str_nearest(key, known);
        if (!fine)
            return err_set(err, ERR_VALUE, "%s: there is no such key%s%s%s", place(f, path, where),
                           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return 0;
}

/* A string of the file, kept; dflt where it is absent (NULL: it must be there). */
static int text(const struct file *f, const char *key, const char *dflt, const char **out,
                struct err *err)
{
    char where[512];
    const json_t *v = json_object_get(f->root, key);
    if (!v && !dflt)
        return err_set(err, ERR_MISSING, "%s: key '%s' is missing", f->path, key);
    if (v && !json_is_string(v))
        return err_set(err, ERR_VALUE, "%s: expected a string (a number has to stand in quotes)",
                       place(f, key, where));
    *out = v ? arena_strdup(&f->p->arena, json_string_value(v)) : dflt;
    return *out ? 0 : err_set(err, ERR_MEMORY, "reading %s", f->path);
}

/* Index into names (NULL-terminated); *out stays where the key is absent. */
static int choice(const struct file *f, const char *key, const char *const *names, int *out,
                  struct err *err)
{
    char where[512], list[200] = "";
    const json_t *v = json_object_get(f->root, key);
    const char *s = json_string_value(v);
    if (!v)
        return 0;
    for (int i = 0; names[i]; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", names[i]);
        if (s && !strcmp(s, names[i])) {
            *out = i;
            return 0;
        }
    }
    return err_set(err, ERR_VALUE, "%s: found %s%s%s, expected one of %s", place(f, key, where),
                   s ? "\"" : "", s ? s : "no string", s ? "\"" : "", list);
}

/* A template without what is judged would ask the same question every time. */
static int template(const struct file *f, const char *key, const char *dflt, const char **out,
                    struct err *err)
{
    static const char *const of_pair[] = {"text",      "first",     "second",
                                          "reference", "principle", NULL};
    static const char *const of_rating[] = {"text", "response", "reference", "principle", NULL};
    bool pair = f->p->kind == PROTOCOL_PAIR;
    char where[512];
    int rc = text(f, key, dflt, out, err);
    if (rc || !**out)
        return rc;
    place(f, key, where);
    rc = form_check(*out, pair ? of_pair : of_rating, where, err);
    const char *need[] = {pair ? "{first}" : "{response}", pair ? "{second}" : "{response}"};
    for (int i = 0; i < 2 && rc == 0; i++)
        if (!strstr(*out, need[i]))
            rc = err_set(err, ERR_VALUE, "%s: %s does not occur in it, so nothing would be judged",
                         where, need[i]);
    // A block of YAML ends with a line break; the form puts its own.
    size_t n = strlen(*out);
    while (rc == 0 && n && (*out)[n - 1] == '\n')
        ((char *)*out)[--n] = '\0';
    return rc;
}

static int labels(const struct file *f, struct err *err)
{
    struct ask_form *form = &f->p->form;
    const json_t *v = json_object_get(f->root, "labels");
    char where[512];
    form->word[0] = "1";
    form->word[1] = "2";
    form->n_words = 2;
    if (json_object_get(f->root, "scale"))
        return err_set(err, ERR_VALUE, "%s: a scale belongs to kind rating",
                       place(f, "scale", where));
    if (!v)
        return 0;
    const char *one = json_string_value(json_array_get(v, 0)),
               *two = json_string_value(json_array_get(v, 1));
    if (json_array_size(v) != 2 || !one || !two || !*one || !*two || !strcmp(one, two))
        return err_set(err, ERR_VALUE,
                       "%s: expected a list of two different strings, such as [\"A\", \"B\"]",
                       place(f, "labels", where));
    form->word[0] = arena_strdup(&f->p->arena, one);
    form->word[1] = arena_strdup(&f->p->arena, two);
    return form->word[0] && form->word[1] ? 0 : err_set(err, ERR_MEMORY, "reading %s", f->path);
}

static int scale(const struct file *f, struct err *err)
{
    struct ask_form *form = &f->p->form;
    const json_t *v = json_object_get(f->root, "scale");
    const char *key;
    json_t *worth;
    char where[512];
    if (json_object_get(f->root, "labels"))
        return err_set(err, ERR_VALUE, "%s: labels belong to kind pair; a rating has a scale",
                       place(f, "labels", where));
    if (!json_is_object(v) || json_object_size(v) < 2 || json_object_size(v) > PROVIDER_MAX_WORDS)
        return err_set(err, ERR_VALUE,
                       "%s: expected 2 to %d words with their values, such as {bad: 0, good: 1}",
                       place(f, "scale", where), PROVIDER_MAX_WORDS);
    double low = INFINITY, high = -INFINITY;
    json_object_foreach((json_t *)v, key, worth) {
        if (!json_is_number(worth) || !*key)
            return err_set(err, ERR_VALUE, "%s: the value of \"%s\" is no number",
                           place(f, "scale", where), key);
        form->word[form->n_words] = arena_strdup(&f->p->arena, key);
        form->value[form->n_words] = json_number_value(worth);
        low = fmin(low, form->value[form->n_words]);
        high = fmax(high, form->value[form->n_words]);
        if (!form->word[form->n_words++])
            return err_set(err, ERR_MEMORY, "reading %s", f->path);
    }
    return low < high ? 0
                      : err_set(err, ERR_VALUE, "%s: all words have the same value",
                                place(f, "scale", where));
}

static int rationale(const struct file *f, struct err *err)
{
    static const char *const known[] = {"instruct", "lead", "gap", NULL};
    const json_t *v = json_object_get(f->root, "rationale");
    struct ask_form *form = &f->p->form;
    char where[512];
    if (!v)
        return 0;
    place(f, "rationale", where);
    if (!json_is_object(v))
        return err_set(err, ERR_VALUE, "%s: expected a mapping of instruct, lead and gap", where);
    const char *instruct, *lead, *gap;
    int rc = check_keys(f, v, known, "rationale/", err);
    if (rc == 0)
        rc = json_str_or(v, "instruct", "", &instruct, where, err);
    if (rc == 0)
        rc = json_str_or(v, "lead", "Rationale:", &lead, where, err);
    if (rc == 0)
        rc = json_str_or(v, "gap", " ", &gap, where, err);
    if (rc)
        return rc;
    struct span t = span_trim(instruct, strlen(instruct));
    form->instruct = arena_strndup(&f->p->arena, t.s, t.n);
    form->lead = arena_strdup(&f->p->arena, lead);
    form->gap = arena_strdup(&f->p->arena, gap);
    return form->instruct && form->lead && form->gap
               ? 0
               : err_set(err, ERR_MEMORY, "reading %s", f->path);
}

static int principles(const struct file *f, struct err *err)
{
    const json_t *v = json_object_get(f->root, "principles");
    size_t n = json_array_size(v);
    char where[512];
    if (!v)
        return strstr(f->p->form.sample, "{principle}")
                   ? err_set(err, ERR_MISSING,
                             "%s: the template has {principle}, and there are no 'principles'",
                             f->path)
                   : 0;
    if (!json_is_array(v) || n < 1 || n > PRINCIPLES)
        return err_set(err, ERR_VALUE, "%s: expected a list of 1 to %d strings",
                       place(f, "principles", where), PRINCIPLES);
    const char **list = arena_alloc(&f->p->arena, n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(v, i));
        char key[64];
        snprintf(key, sizeof key, "principles/%zu", i);
        if (!s)
            return err_set(err, ERR_VALUE, "%s: expected a string", place(f, key, where));
        if (!list || !(list[i] = arena_strdup(&f->p->arena, s)))
            return err_set(err, ERR_MEMORY, "reading %s", f->path);
    }
    f->p->form.principle = list;
    f->p->form.n_principles = (int)n;
    if (f->p->how.principle < PRINCIPLE_ALL || f->p->how.principle > (int)n)
        return err_set(err, ERR_VALUE, "principle is %d, %s has %zu", f->p->how.principle, f->path,
                       n);
    return 0;
}

static int exemplars(const struct file *f, struct err *err)
{
    static const char *const of_pair[] = {"text", "first", "second", "better", "rationale", NULL};
    static const char *const of_rating[] = {"text", "response", "answer", "rationale", NULL};
    const json_t *v = json_object_get(f->root, "exemplars");
    size_t n = json_array_size(v);
    char where[512], key[64];
    if (f->p->how.exemplar_file || f->p->how.shipped_exemplars)
        return exemplars_choose(f->p, NULL, err);
    if (!v)
        return 0;
    if (!json_is_array(v))
        return err_set(err, ERR_VALUE, "%s: expected a list", place(f, "exemplars", where));
    struct exemplar *e = arena_alloc(&f->p->arena, (n + 1) * sizeof *e);
    int rc = e ? 0 : err_set(err, ERR_MEMORY, "reading %s", f->path);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *row = json_array_get(v, i);
        snprintf(key, sizeof key, "exemplars/%zu", i);
        place(f, key, where);
        rc = json_is_object(row) ? 0 : err_set(err, ERR_VALUE, "%s: expected a mapping", where);
        snprintf(key, sizeof key, "exemplars/%zu/", i);
        if (rc == 0)
            rc = check_keys(f, row, f->p->kind == PROTOCOL_PAIR ? of_pair : of_rating, key, err);
        if (rc == 0)
            rc = exemplar_read(&e[i], &f->p->arena, row, f->p, where, err);
    }
    f->p->form.exemplar = e;
    f->p->form.n_exemplars = rc ? 0 : (int)n;
    return rc;
}

/* What the file chooses of the options; what was given beside it wins. */
static int plan(const struct file *f, struct err *err)
{
    static const char *const orders[] = {"both", "random", "fixed", NULL};
    struct protocol_options *o = &f->p->how;
    int order = o->order;
    int64_t k = 0;
    bool cot = false, chat = false;
    int rc = o->order == ORDER_BOTH ? choice(f, "order", orders, &order, err) : 0;
    if (rc == 0)
        rc = json_bool_or(f->root, "cot", false, &cot, f->path, err);
    if (rc == 0)
        rc = json_bool_or(f->root, "chat", false, &chat, f->path, err);
    if (rc == 0)
        rc = json_i64_or(f->root, "rationales", 0, &k, f->path, err);
    if (rc == 0 && (k < 0 || k > PROTOCOL_MAX_DRAWS))
        rc = err_set(err, ERR_VALUE, "%s, 'rationales': found %lld, expected 1 to %d", f->path,
                     (long long)k, PROTOCOL_MAX_DRAWS);
    o->order = (enum protocol_order)order;
    o->cot |= cot;
    o->chat |= chat;
    if (o->rationales <= 1 && k)
        o->rationales = (int)k;
    return rc;
}

static int fill(const struct file *f, struct err *err)
{
    static const char *const kinds[] = {"pair", "rating", NULL},
                             *const shows[] = {"post", "titled", "turns", NULL},
                             *const asks[] = {"better", "worse", NULL};
    struct ask_form *form = &f->p->form;
    int kind = PROTOCOL_PAIR, show = CONVERSATION_TURNS, worse = 0;
    form->instruct = form->gap = "";
    int rc = json_is_object(f->root)
                 ? 0
                 : err_set(err, ERR_FORMAT, "%s: a protocol is a mapping with a template", f->path);
    if (rc == 0)
        rc = check_keys(f, f->root, keys, "", err);
    if (rc == 0)
        rc = choice(f, "kind", kinds, &kind, err);
    f->p->kind = (enum protocol_kind)kind;
    if (rc == 0)
        rc = choice(f, "conversation", shows, &show, err);
    form->conversation = (enum conversation)show;
    if (rc == 0)
        rc = choice(f, "asks_for", asks, &worse, err);
    form->flip = worse;
    if (rc == 0)
        rc = plan(f, err);
    if (rc == 0)
        rc = text(f, "preamble", "", &form->preamble, err);
    if (rc == 0)
        rc = template(f, "template", NULL, &form->sample, err);
    if (rc == 0)
        rc = template(f, "template_with_reference", "", &form->referenced, err);
    if (rc == 0)
        rc = text(f, "ending", NULL, &form->ending, err);
    if (rc == 0)
        rc = kind == PROTOCOL_PAIR ? labels(f, err) : scale(f, err);
    if (rc == 0)
        rc = rationale(f, err);
    if (rc == 0)
        rc = principles(f, err);
    if (rc == 0)
        rc = exemplars(f, err);
    if (rc == 0 && !*form->referenced)
        form->referenced = NULL;
    return rc;
}

int own_form(struct protocol *p, const char *path, struct err *err)
{
    struct file f = {.path = path, .p = p};
    int rc = yaml_read_lines(&f.root, &f.lines, path, err);
    if (rc == 0)
        rc = fill(&f, err);
    // A preamble from a block ends with a line break that the form has already.
    size_t n = rc == 0 ? strlen(p->form.preamble) : 0;
    while (n && p->form.preamble[n - 1] == '\n')
        n--;
    if (rc == 0 && !(p->form.preamble = arena_strndup(&p->arena, p->form.preamble, n)))
        rc = err_set(err, ERR_MEMORY, "reading %s", path);
    const char *slash = strrchr(path, '/');
    snprintf(p->name, sizeof p->name, "%s", slash ? slash + 1 : path);
    json_decref(f.root);
    json_decref(f.lines);
    return rc;
}
