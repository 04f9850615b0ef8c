/* recipe/stage_revise.c - `rlaif revise`: answers are criticised and revised under principles
 * (Constitutional AI).
 *
 * Rows have `prompt` and may have `completion`, the answer to begin with; where it is missing the
 * labeler answers first. revisions.jsonl keeps every round; sft.jsonl has what a model then
 * learns from: prompt and revised answer, of every round as in the paper, or of the last one. */
#include "recipe/labeling.h"
#include "recipe/training.h"

static const struct option options[] = {
    { "labeler", OPT_MODEL, NULL, "model that criticises and revises: a Hugging Face folder, a GGUF file, ORG/NAME on the Hub, or https://HOST/v1#MODEL", NULL, true },
    ADAPTER_OPTION,
    COMPUTE_OPTIONS,
    { "input", OPT_DATA, NULL, "rows {prompt, completion?} (Parquet, JSON, CSV)", NULL, true },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for revisions.jsonl and sft.jsonl", NULL, true },
    { "store", OPT_STRING, NULL, "label store (default: labels.db in the run's folder); can be shared between runs", NULL, false },
    { "rounds", OPT_INT, "4", "revisions of each answer, 1 to 16; each has a principle of its own", NULL, false },
    { "exemplars", OPT_INT, "2", "examples of a critique and a revision, 0 to 4", NULL, false },
    { "keep", OPT_CHOICE, "all", "rounds that sft.jsonl has", "all|last", false },
    { "chat", OPT_BOOL, "false", "ask in the labeler's own chat template", NULL, false },
    { "chat_template", OPT_STRING, NULL, "another one: a name of the model's, chatml, or a file", NULL, false },
    { "temperature", OPT_FLOAT, "1", "of everything that is sampled; 0: the likeliest tokens", NULL, false },
    { "max_new_tokens", OPT_INT, "256", "of an answer, a critique, a revision", NULL, false },
    { "max_rows", OPT_INT, "0", "the first so many; 0: all", NULL, false },
    { "batch_tokens", OPT_INT, "4096", "tokens of one forward pass", NULL, false },
    ENDPOINT_OPTIONS,
    { "seed", OPT_INT, "1", "of samples and principles", NULL, false },
};

struct work {
    struct rows rows;
    struct arena arena;         // texts
    struct prompt *prompt;      // (n)
    struct revise_item *item;   // (n)
    int n, answered;            // answered: by the labeler, first of all
    struct revise_options how;
    struct revision *revision;  // (n, rounds)
    struct model *model;
    struct store *store;
    struct asker asker;
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for revisions");
}

static int read_options(struct revise_options *o, const json_t *opt, struct err *err)
{
    int64_t rounds = opt_int(opt, "rounds"), exemplars = opt_int(opt, "exemplars"),
            tokens = opt_int(opt, "max_new_tokens");
    revise_defaults(o);
    o->sampling.temperature = (float)opt_float(opt, "temperature");
    o->chat = opt_bool(opt, "chat");
    o->seed = (uint64_t)opt_int(opt, "seed");
    if (rounds < 1 || rounds > PRINCIPLES)
        return err_set(err, ERR_USAGE, "--rounds is %lld, expected 1 to %d", (long long)rounds,
                       PRINCIPLES);
    if (exemplars < 0 || exemplars > 64)
        return err_set(err, ERR_USAGE, "--exemplars is %lld, expected 0 to 4",
                       (long long)exemplars);
    if (tokens < 1 || tokens > 1 << 20)
        return err_set(err, ERR_USAGE, "--max_new_tokens is %lld, expected 1 or more",
                       (long long)tokens);
    if (!(o->sampling.temperature >= 0) || o->sampling.temperature > 100)
        return err_set(err, ERR_USAGE, "--temperature is %g, expected 0 to 100",
                       opt_float(opt, "temperature"));
    o->rounds = (int)rounds;
    o->exemplars = (int)exemplars;
    o->sampling.max_new_tokens = (int)tokens;
    return 0;
}

/* ---- rows in, first answers ---------------------------------------------------------------- */

static int read_rows(struct work *w, const json_t *opt, struct err *err)
{
    int64_t max = opt_int(opt, "max_rows");
    int rc = rows_read(&w->rows, opt_str(opt, "input"), 0, err);
    if (rc == 0)
        rc = data_prompts(&w->prompt, &w->n, &w->arena, &w->rows, err);
    if (rc)
        return rc;
    w->n = max > 0 && max < w->n ? (int)max : w->n;
    w->item = arena_alloc(&w->arena, (size_t)w->n * sizeof *w->item);
    w->revision =
        arena_alloc(&w->arena, (size_t)w->n * (size_t)w->how.rounds * sizeof *w->revision);
    if (!w->item || !w->revision)
        return no_memory(err);
    for (int i = 0; i < w->n && rc == 0; i++) {
        const json_t *v = json_object_get(w->prompt[i].row, "completion");
        struct text t;
        w->item[i].prompt = text_transcript(&w->arena, &w->prompt[i].text, true);
        if (v && !json_is_null(v)) {
            rc = text_from_json(&t, &w->arena, v, rows_place(&w->rows, w->prompt[i].line).s, err);
            w->item[i].response = rc ? NULL : text_transcript(&w->arena, &t, false);
            if (rc == 0 && !w->item[i].response)
                rc = no_memory(err);
        }
        if (!w->item[i].prompt)
            rc = no_memory(err);
    }
    return rc;
}

static char *first_question(const struct work *w, int i)
{
    const char *prompt = w->item[i].prompt;
    bool talk = !w->how.chat && !str_starts(prompt + strspn(prompt, " \n"), "Human:");
    return str_printf(talk ? "Human: %s\n\nAssistant:" : "%s", prompt);
}

static int first_answers(struct work *w, struct err *err)
{
    static const char *const stop[] = { "\n\nHuman:" };
    struct ask ask = { .kind = ASK_TEXT, .protocol = "answer 1", .sampling = w->how.sampling };
    struct ask_list list;
    ask.sampling.seed = w->how.seed;
    ask.sampling.stop = stop;
    ask.sampling.n_stop = 1;
    int rc = ask_list_init(&list, w->n, err);
    for (int i = 0; i < w->n && rc == 0; i++)
        if (!w->item[i].response)
            rc = ask_list_add(&list, &ask, first_question(w, i), w->how.chat, err);
    if (rc == 0)
        rc = ask_list_send(&list, &w->asker, err);
    for (int i = 0, k = 0; i < w->n && rc == 0; i++) {
        if (w->item[i].response)
            continue;
        const struct reply *r = &list.reply[k++];
        w->item[i].response =
            arena_strdup(&w->arena, r->state == REPLY_OK && r->text ? r->text : "");
        if (!w->item[i].response)
            rc = no_memory(err);
    }
    w->answered = list.n;
    ask_list_release(&list);
    return rc;
}

/* ---- rows out ---------------------------------------------------------------------------- */

static json_t *maybe(const char *s)
{
    return s ? json_string(s) : json_null();
}

static json_t *revision_row(const struct work *w, int i)
{
    json_t *rounds = json_array();
    for (int k = 0; k < w->how.rounds; k++) {
        const struct revision *r = &w->revision[i * w->how.rounds + k];
        json_array_append_new(rounds,
                              json_pack("{s:i, s:o, s:o}", "principle", r->principle, "critique",
                                        maybe(r->critique), "revision", maybe(r->text)));
    }
    return json_pack("{s:s, s:O, s:s, s:o, s:s}", "id", w->prompt[i].id, "prompt",
                     json_object_get(w->prompt[i].row, "prompt"), "completion", w->item[i].response,
                     "rounds", rounds, "labeler", w->asker.provider->fingerprint);
}

static json_t *sft_row(const struct work *w, int i, int round, const char *text)
{
    const json_t *prompt = json_object_get(w->prompt[i].row, "prompt");
    json_t *answer = json_is_array(prompt)
                         ? json_pack("[{s:s, s:s}]", "role", "assistant", "content", text)
                         : json_sprintf(" %s", text);
    return json_pack("{s:s, s:O, s:o, s:i}", "id", w->prompt[i].id, "prompt", prompt, "completion",
                     answer, "round", round + 1);
}

static int add(struct rows_out *out, json_t *row, struct err *err)
{
    int rc = row ? rows_out_add(out, row, err) : no_memory(err);
    json_decref(row);
    return rc;
}

static int write_item(struct work *w, int i, bool all, struct rows_out *out, struct rows_out *sft,
                      struct err *err)
{
    const struct revision *r = &w->revision[i * w->how.rounds];
    int last = w->how.rounds - 1, rc = add(out, revision_row(w, i), err);
    while (last > 0 && !r[last].text)
        last--;
    for (int k = all ? 0 : last; k <= last && rc == 0; k++)
        if (r[k].text)
            rc = add(sft, sft_row(w, i, k, r[k].text), err);
    return rc;
}

static int write_rows(struct work *w, const char *dir, bool all, int *n_sft, struct err *err)
{
    struct rows_out out = { 0 }, sft = { 0 };
    char *one = path_join(dir, "revisions.jsonl"), *two = path_join(dir, "sft.jsonl");
    int rc = one && two ? rows_out_open(&out, one, err) : no_memory(err);
    if (rc == 0)
        rc = rows_out_open(&sft, two, err);
    for (int i = 0; i < w->n && rc == 0; i++)
        rc = write_item(w, i, all, &out, &sft, err);
    *n_sft = sft.n;
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    if (rc == 0)
        rc = rows_out_commit(&sft, err);
    rows_out_close(&out);
    rows_out_close(&sft);
    free(one);
    free(two);
    return rc ? rc : rows_write_rejected(&w->rows, dir, err);
}

static int open_labeler(struct work *w, struct run *run, const json_t *opt, struct err *err)
{
    struct provider *p = NULL;
    const char *path = opt_str(opt, "store");
    int rc = labeling_store(&w->store, run, path, opt_str(opt, "output_dir"), err);
    if (rc == 0)
        rc = labeler_open(&p, &w->model, run, opt, opt_str(opt, "labeler"), err);
    w->asker = (struct asker){ .provider = p, .store = w->store, .budget = labeler_budget(opt) };
    if (rc == 0 && w->how.chat && w->model && !*p->wrap)
        rc = err_set(err, ERR_USAGE, "--chat: %s has no chat template; --chat_template chatml or a file gives it one", opt_str(opt, "labeler"));
    return rc;
}

static int figures(json_t *result, const struct work *w, int n_sft)
{
    int missing = 0;
    for (int i = 0; i < w->n * w->how.rounds; i++)
        missing += !w->revision[i].text;
    set_number(result, "prompts", w->n);
    set_number(result, "answered_first", w->answered);
    set_number(result, "rounds", w->how.rounds);
    set_number(result, "revisions", w->n * w->how.rounds - missing);
    set_number(result, "revisions_missing", missing);
    set_number(result, "sft_rows", n_sft);
    set_number(result, "replies_computed", (double)w->asker.counts.asked);
    set_number(result, "replies_found", (double)w->asker.counts.found);
    return 0;
}

static int run_revise(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct work w = { 0 };
    struct progress bar = { 0 };
    const char *dir = opt_str(opt, "output_dir");
    int n_sft = 0, rc = read_options(&w.how, opt, err);
    if (rc == 0)
        rc = read_rows(&w, opt, err);
    if (rc == 0)
        rc = dir_make(dir, err);
    if (rc == 0)
        rc = open_labeler(&w, run, opt, err);
    if (rc == 0) {
        progress_begin(&bar, "revising", "replies", (double)w.n * (2 * w.how.rounds + 1));
        w.asker.progress = &bar;
        rc = first_answers(&w, err);
    }
    if (rc == 0)
        rc = revise_items(w.revision, &w.asker, w.item, w.n, &w.how, &w.arena, err);
    progress_end(&bar);
    if (rc == 0)
        rc = write_rows(&w, dir, !strcmp(opt_str(opt, "keep"), "all"), &n_sft, err);
    if (rc == 0)
        rc = figures(result, &w, n_sft);
    provider_free(w.asker.provider);
    store_close(w.store);
    model_close(w.model);
    arena_release(&w.arena);
    rows_release(&w.rows);
    return rc;
}

const struct stage stage_revise = {
    .name = "revise",
    .summary = "have answers criticised and revised under principles, and write what was revised as SFT data",
    .example = "rlaif revise --labeler models/l --input examples/prompts.jsonl --rounds 1 --max_rows 2 --max_new_tokens 16 "
               "--output_dir runs/try/revised",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_revise,
};
