/* lab/truth.c - truth.jsonl: the facts of every post, for annotators and evaluation.
 *
 *     {"id", "topic", "facts": [{"subject", "deed", "thing", "salience"}, ...], "needs": [[one per fact] per annotator]}
 *
 * Words, not numbers, so that a reader can check a score by eye; they are looked up again on
 * opening. */
#include "lab/oracle.h"

static const char *const salience_name[] = {"key", "minor", "idle"};
#define NEED 0.15           // spread of what an annotator wants from each fact

struct lab_truth {
    struct world *world;
    struct arena arena;
    struct truth_post *post;    // (n) sorted by id
    int n;
};

json_t *truth_row(const char *id, const struct world *w, const struct post *p, struct rng *r)
{
    const struct topic *t = &w->topic[p->topic];
    json_t *facts = json_array(), *needs = json_array();
    for (int i = 0; i < p->n; i++) {
        const struct fact *f = &p->fact[i];
        json_array_append_new(
            facts, json_pack("{s:s,s:s,s:s,s:s}", "subject", t->subject[f->subject], "deed",
                             w->deed[f->deed].verb[0], "thing", t->thing[f->thing], "salience",
                             salience_name[f->salience]));
    }
    for (int k = 0; k < LAB_ANNOTATORS; k++) {
        json_t *need = json_array();
        for (int i = 0; i < p->n; i++)
            json_array_append_new(need, json_real((int)(1000 * NEED * rng_normal(r)) / 1000.0));
        json_array_append_new(needs, need);
    }
    return json_pack("{s:s,s:s,s:o,s:o}", "id", id, "topic", t->name, "facts", facts, "needs",
                     needs);
}

static int find_name(const char *name, const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i], name))
            return i;
    return -1;
}

static int read_topic(const struct world *w, const char *name)
{
    for (int i = 0; i < LAB_TOPICS; i++)
        if (!strcmp(w->topic[i].name, name))
            return i;
    return -1;
}

static int read_fact(struct fact *f, const struct world *w, const struct topic *t, const json_t *v,
                     const char *where, struct err *err)
{
    static const char *const key[] = {"subject", "deed", "thing", "salience"};
    const char *word[4];
    for (int i = 0; i < 4; i++) {
        int rc = json_get_str(v, key[i], &word[i], where, err);
        if (rc)
            return rc;
    }
    *f = (struct fact){.subject = find_name(word[0], t->subject, LAB_SUBJECTS), .deed = -1,
                       .thing = find_name(word[2], t->thing, LAB_THINGS), .detail = -1};
    for (int i = 0; i < LAB_DEEDS; i++)
        if (!strcmp(w->deed[i].verb[0], word[1]))
            f->deed = i;
    int how = find_name(word[3], salience_name, ARRAY_LEN(salience_name));
    if (f->subject < 0 || f->deed < 0 || f->thing < 0 || how < 0)
        return err_set(err, ERR_FORMAT, "%s: \"%s %s the %s\" (%s) is no fact of topic %s", where,
                       word[0], word[1], word[2], word[3], t->name);
    f->salience = (enum salience)how;
    return 0;
}

static int read_needs(struct truth_post *p, const json_t *needs, const char *where, struct err *err)
{
    if (json_array_size(needs) != LAB_ANNOTATORS)
        return err_set(err, ERR_FORMAT, "%s: needs: expected %d lists, found %zu", where,
                       LAB_ANNOTATORS, json_array_size(needs));
    for (int k = 0; k < LAB_ANNOTATORS; k++) {
        const json_t *list = json_array_get(needs, (size_t)k);
        if (json_array_size(list) != (size_t)p->post.n)
            return err_set(err, ERR_FORMAT, "%s: needs[%d]: expected %d numbers, found %zu", where,
                           k, p->post.n, json_array_size(list));
        for (int i = 0; i < p->post.n; i++)
            p->need[k][i] = json_number_value(json_array_get(list, (size_t)i));
    }
    return 0;
}

static int read_post(struct truth_post *p, struct lab_truth *t, const json_t *row,
                     const char *where, struct err *err)
{
    const char *id, *topic;
    int rc = json_get_str(row, "id", &id, where, err);
    if (rc == 0)
        rc = json_get_str(row, "topic", &topic, where, err);
    if (rc)
        return rc;
    const json_t *facts = json_object_get(row, "facts");
    size_t n = json_array_size(facts);
    if (n < 1 || n > LAB_MAX_FACTS)
        return err_set(err, ERR_FORMAT, "%s: facts: expected a list of 1 to %d, found %zu", where,
                       LAB_MAX_FACTS, n);
    *p = (struct truth_post){.id = arena_strdup(&t->arena, id)};
    p->post.topic = read_topic(t->world, topic);
    p->post.n = (int)n;
    if (!p->id)
        return err_set(err, ERR_MEMORY, "%s", where);
    if (p->post.topic < 0)
        return err_set(err, ERR_FORMAT, "%s: topic: \"%s\" is none of the world's", where, topic);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = read_fact(&p->post.fact[i], t->world, &t->world->topic[p->post.topic],
                       json_array_get(facts, i), where, err);
    return rc ? rc : read_needs(p, json_object_get(row, "needs"), where, err);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct truth_post *)a)->id, ((const struct truth_post *)b)->id);
}

static int read_rows(struct lab_truth *t, const struct rows *rows, struct err *err)
{
    for (int i = 0; i < rows->n; i++) {
        char where[512];
        snprintf(where, sizeof where, "%s", rows_place(rows, rows->line[i]).s);
        int rc = read_post(&t->post[t->n], t, rows->row[i], where, err);
        if (rc)
            return rc;
        t->n++;
    }
    qsort(t->post, (size_t)t->n, sizeof *t->post, by_id);
    return 0;
}

int lab_truth_open(struct lab_truth **out, const char *path, struct err *err)
{
    struct rows rows = {0};
    int rc = rows_read(&rows, path, 0, err);
    if (rc)
        return rc;
    if (rows.n_rejected)
        rc = err_set(err, ERR_FORMAT, "%s: %s", rows_place(&rows, rows.rejected[0].line).s,
                     rows.rejected[0].why);
    struct lab_truth *t = mem_alloc(1, sizeof *t);
    if (rc == 0 && t) {
        t->world = world_new();
        t->post = mem_alloc((size_t)rows.n, sizeof *t->post);
    }
    if (rc == 0 && (!t || !t->world || !t->post))
        rc = err_set(err, ERR_MEMORY, "opening %s", path);
    if (rc == 0)
        rc = read_rows(t, &rows, err);
    rows_release(&rows);
    if (rc == 0)
        *out = t;
    else
        lab_truth_free(t);
    return rc;
}

void lab_truth_free(struct lab_truth *t)
{
    if (!t)
        return;
    world_free(t->world);
    arena_release(&t->arena);
    free(t->post);
    free(t);
}

int lab_truth_count(const struct lab_truth *t)
{
    return t->n;
}

const struct world *truth_world(const struct lab_truth *t)
{
    return t->world;
}

const struct truth_post *truth_find(const struct lab_truth *t, const char *id)
{
    struct truth_post key = {.id = id};
    return bsearch(&key, t->post, (size_t)t->n, sizeof *t->post, by_id);
}
