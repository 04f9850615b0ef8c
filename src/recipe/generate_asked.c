/* recipe/generate_asked.c - `rlaif generate` of an endpoint: K completions of each prompt, asked
 * and stored as labels are.
 *
 * A prompt that is a string is sent as a text where the server continues texts, else as a user's
 * turn; messages go as they are. Rows are written in the input's order, with the provider's name
 * as `model`. */
#include "recipe/generating.h"
#include "recipe/inference.h"
#include "recipe/labeling.h"

enum { UNIT = 256 };            // prompts in memory together

struct asked {
    struct rows rows;
    struct arena arena;
    struct prompt *prompt;
    int n, k;
    struct sampling sampling;
    struct store *store;
    struct asker asker;
    json_t **out;               // (n) rows; NULL: rejected
    const char **why;           // (n) reason
};

/* The k questions of a prompt. */
static int put(struct ask *ask, const struct asked *g, const struct text *t, struct arena *a,
               struct err *err)
{
    struct chat_message *m = t->n ? arena_alloc(a, (size_t)t->n * sizeof *m) : NULL;
    if (t->n && !m)
        return err_set(err, ERR_MEMORY, "no memory for a prompt");
    for (int i = 0; i < t->n; i++)
        m[i] = (struct chat_message){ t->messages[i].role, t->messages[i].content };
    for (int k = 0; k < g->k; k++)
        ask[k] = (struct ask){ .kind = ASK_TEXT,
                               .prompt = t->n ? NULL : t->text,
                               .message = m,
                               .n_messages = t->n,
                               .sampling = g->sampling,
                               .draw = k,
                               .protocol = "generate" };
    return 0;
}

/* The row with its completions, or a reason why there is none. */
static int take(struct asked *g, int i, const struct reply *r, bool for_sft, struct err *err)
{
    json_t *row = json_copy((json_t *)g->prompt[i].row), *list = json_array();
    for (int k = 0; k < g->k && !g->why[i]; k++) {
        if (r[k].state != REPLY_OK || !r[k].text) {
            char *why = str_printf("completion %d: %s%s%s", k + 1, reply_state_name(r[k].state),
                                   r[k].error ? ": " : "", r[k].error ? r[k].error : "");
            g->why[i] = why ? arena_strdup(&g->arena, why) : "no memory";
            free(why);
        } else {
            json_array_append_new(list, json_string(r[k].text));
        }
    }
    if (!g->why[i]) {
        json_object_set(row, "completions", list);
        json_object_set_new(row, "model", json_string(g->asker.provider->name));
        if (for_sft)
            json_object_set(row, "completion", json_array_get(list, 0));
        g->out[i] = json_incref(row);
    }
    json_decref(list);
    json_decref(row);
    return 0;
}

static int ask_unit(struct asked *g, int at, int n, bool for_sft, struct err *err)
{
    size_t all = (size_t)n * (size_t)g->k;
    struct ask *ask = mem_alloc(all, sizeof *ask);
    struct reply *reply = mem_alloc(all, sizeof *reply);
    struct arena a = { 0 };
    int rc = ask && reply ? 0 : err_set(err, ERR_MEMORY, "no memory for %zu questions", all);
    for (int i = 0; i < n && rc == 0; i++)
        rc = put(ask + (size_t)i * (size_t)g->k, g, &g->prompt[at + i].text, &a, err);
    if (rc == 0)
        rc = ask_all(&g->asker, reply, ask, (int)all, err);
    for (int i = 0; i < n && rc == 0; i++)
        rc = take(g, at + i, reply + (size_t)i * (size_t)g->k, for_sft, err);
    if (reply)
        replies_release(reply, (int)all);
    arena_release(&a);
    free(ask);
    free(reply);
    return rc;
}

static int write_rows(struct asked *g, const char *output, struct err *err)
{
    struct rows_out out = { 0 };
    int rc = rows_out_open(&out, output, err), kept = 0;
    for (int i = 0; i < g->n && rc == 0; i++) {
        kept += g->out[i] != NULL;
        rc = g->out[i] ? rows_out_add(&out, g->out[i], err) : 0;
    }
    if (rc == 0 && !kept)
        rc = err_set(err, ERR_VALUE, "%s: no prompt was answered; the first: %s", g->rows.path,
                     g->why[0]);
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    for (int i = g->n - 1; i >= 0 && rc == 0; i--)
        if (!g->out[i])
            rows_reject(&g->rows, i, "%s", g->why[i]);
    return rc ? rc : rows_write_rejected_beside(&g->rows, output, err);
}

static int begin(struct asked *g, struct run *run, const json_t *opt, struct model **m,
                 struct err *err)
{
    const char *output = opt_str(opt, "output"), *slash = strrchr(output, '/');
    char *dir = slash ? strndup(output, (size_t)(slash - output) + 1) : strdup(".");
    int64_t most = opt_int(opt, "max_prompts");
    struct provider *p = NULL;
    int rc = dir ? 0 : err_set(err, ERR_MEMORY, "no memory to generate");
    if (rc == 0 && (most < 0 || most > INT32_MAX))
        rc = err_set(err, ERR_USAGE, "--max_prompts is %lld, expected 0 or more", (long long)most);
    if (rc == 0)
        rc = option_positive(opt, "num_return_sequences", &g->k, err);
    if (rc == 0)
        rc = rows_read(&g->rows, opt_str(opt, "input"), (int)most, err);
    if (rc == 0)
        rc = data_prompts(&g->prompt, &g->n, &g->arena, &g->rows, err);
    if (rc == 0)
        rc = dir_make_parent(output, err);
    if (rc == 0)
        rc = labeling_store(&g->store, run, opt_str(opt, "store"), dir, err);
    if (rc == 0)
        rc = labeler_open(&p, m, run, opt, opt_str(opt, "model_name_or_path"), err);
    g->asker = (struct asker){ .provider = p, .store = g->store, .budget = labeler_budget(opt) };
    g->out = mem_alloc((size_t)g->n + 1, sizeof *g->out);
    g->why = mem_alloc((size_t)g->n + 1, sizeof *g->why);
    if (rc == 0 && (!g->out || !g->why))
        rc = err_set(err, ERR_MEMORY, "no memory for %d prompts", g->n);
    free(dir);
    return rc;
}

static void figures(json_t *result, const struct asked *g, double seconds)
{
    const struct ask_counts *c = &g->asker.counts;
    json_object_set_new(result, "prompts", json_integer(g->rows.n));
    json_object_set_new(result, "completions", json_integer((json_int_t)g->rows.n * g->k));
    json_object_set_new(result, "rejected", json_integer(g->rows.n_rejected));
    json_object_set_new(result, "tokens", json_integer(c->tokens_out));
    json_object_set_new(result, "tokens_in", json_integer(c->tokens_in));
    json_object_set_new(result, "replies_computed", json_integer(c->asked));
    json_object_set_new(result, "replies_found", json_integer(c->found));
    json_object_set_new(result, "price", json_real(c->price));
    json_object_set_new(result, "seconds", json_real(seconds));
    json_object_set_new(result, "tokens_per_second",
                        json_real(seconds > 0 ? (double)c->tokens_out / seconds : 0));
}

int generate_asked(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct asked g = { 0 };
    struct model *m = NULL;
    const char *stop[MAX_STOPS];
    double start = time_now();
    if (run->device && device_is_plan(run->device))
        return 0;       // whoever answers takes the memory; a plan buys nothing
    int rc = read_sampling(&g.sampling, stop, opt, err);
    if (rc == 0)
        rc = begin(&g, run, opt, &m, err);
    for (int at = 0; at < g.n && rc == 0; at += UNIT)
        rc = ask_unit(&g, at, g.n - at < UNIT ? g.n - at : UNIT, opt_bool(opt, "for_sft"), err);
    if (rc == 0)
        rc = write_rows(&g, opt_str(opt, "output"), err);
    if (rc == 0)
        figures(result, &g, time_now() - start);
    for (int i = 0; i < g.n && g.out; i++)
        json_decref(g.out[i]);
    free(g.out);
    free(g.why);
    provider_free(g.asker.provider);
    model_close(m);
    store_close(g.store);
    arena_release(&g.arena);
    rows_release(&g.rows);
    return rc;
}
