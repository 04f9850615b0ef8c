/* chat_talk.c - a conversation: messages through a template into tokens, and the model's answer
 * to them.
 *
 * Each question renders the whole conversation anew; the writer finds what its cache holds of
 * it, so only what is new is computed.
 *
 * A turn ends with a token that many models do not name among their EOS ("<|im_end|>",
 * "<|eot_id|>"): the template says which, by what it writes after an answer. */
#include "recipe/chat.h"

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for a message");
}

/* ---- rendering ----------------------------------------------------------------------- */

static int apply(const struct talk *t, struct buf *out, const json_t *messages, bool open,
                 struct err *err)
{
    struct chat_request q = {.messages = messages, .add_generation_prompt = open};
    int rc = chat_apply(model_tokenizer(t->m), out, &q, NULL, err);
    return rc == 0 && out->failed ? err_set(err, ERR_MEMORY, "no memory for the conversation")
                                  : rc;
}

/* The conversation as the model reads it, ready for an answer. */
static int render(const struct talk *t, struct buf *out, struct err *err)
{
    if (!t->plain)
        return apply(t, out, t->messages, true, err);
    const json_t *last = json_array_get(t->messages, json_array_size(t->messages) - 1);
    buf_adds(out, json_string_value(json_object_get(last, "content")));
    return out->failed ? err_set(err, ERR_MEMORY, "no memory for the text") : 0;
}

static int encode(const struct talk *t, struct tokens *ids, struct err *err)
{
    struct buf text = {0};
    // a template writes BOS where it wants one; plain text gets what the tokenizer puts around
    // it
    int flags = TOKENIZE_PARSE_SPECIAL | (t->plain ? TOKENIZE_SPECIAL : 0);
    int rc = render(t, &text, err);
    if (rc == 0)
        rc = tokenize(model_tokenizer(t->m), ids, text.s, text.len, flags, err);
    buf_release(&text);
    return rc;
}

/* ---- what ends a turn ------------------------------------------------------------------ */

/* What the template writes after an answer: its first special token, or the text where it has
 * none. */
static int find_turn_end(struct talk *t, struct err *err)
{
    static const char mark[] = "rlaif-mark";
    const struct tokenizer *tokenizer = model_tokenizer(t->m);
    struct buf text = {0};
    struct tokens ids = {0};
    json_t *sample = json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "user", "content", "a",
                               "role", "assistant", "content", mark);
    int rc = sample ? apply(t, &text, sample, false, err) : no_memory(err);
    json_decref(sample);
    const char *after = rc == 0 && text.s ? strstr(text.s, mark) : NULL;
    after = after ? after + strlen(mark) : "";
    if (rc == 0)
        rc = tokenize(tokenizer, &ids, after, strlen(after), TOKENIZE_PARSE_SPECIAL, err);
    for (int i = 0; rc == 0 && i < ids.n && !t->sampling.n_stop_ids; i++)
        if (tokenizer_is_special(tokenizer, ids.id[i])) {
            t->turn_end_id = ids.id[i];
            t->sampling.stop_ids = &t->turn_end_id;
            t->sampling.n_stop_ids = 1;
        }
    after += strspn(after, " \n\t");
    size_t n = strcspn(after, "\n");
    if (rc == 0 && !t->sampling.n_stop_ids && n) {
        t->turn_end = str_printf("%.*s", (int)n, after);
        t->stop[t->sampling.n_stop++] = t->turn_end;
        t->sampling.stop = t->stop;
        if (!t->turn_end)
            rc = err_set(err, ERR_MEMORY, "no memory for the conversation");
    }
    tokens_release(&ids);
    buf_release(&text);
    return rc;
}

/* ---- messages -------------------------------------------------------------------------- */

static int add_message(struct talk *t, const char *role, const char *text, struct err *err)
{
    json_t *m = json_pack("{s:s, s:s}", "role", role, "content", text);
    return m && json_array_append_new(t->messages, m) == 0 ? 0 : no_memory(err);
}

static bool has_system(const struct talk *t)
{
    const char *role =
        json_string_value(json_object_get(json_array_get(t->messages, 0), "role"));
    return role && !strcmp(role, "system");
}

int talk_system(struct talk *t, const char *text, struct err *err)
{
    if (has_system(t))
        json_array_remove(t->messages, 0);
    if (!text)
        return 0;
    if (t->plain)
        return err_set(err, ERR_VALUE, "plain completion has no system message");
    json_t *m = json_pack("{s:s, s:s}", "role", "system", "content", text);
    return m && json_array_insert_new(t->messages, 0, m) == 0 ? 0 : no_memory(err);
}

int talk_reset(struct talk *t, struct err *err)
{
    size_t keep = has_system(t);
    while (json_array_size(t->messages) > keep)
        if (json_array_remove(t->messages, json_array_size(t->messages) - 1))
            return no_memory(err);
    return 0;
}

int talk_save(const struct talk *t, const char *path, struct err *err)
{
    struct buf line = {0};
    json_t *row = json_pack("{s:O}", "messages", t->messages);
    if (row)
        json_add_text(&line, row, 0);
    buf_adds(&line, "\n");
    int rc = row && !line.failed ? 0 : no_memory(err);
    FILE *f = rc ? NULL : fopen(path, "ab");
    if (f) {
        bool bad = fwrite(line.s, 1, line.len, f) != line.len;
        if (fclose(f) || bad)
            rc = err_set(err, ERR_IO, "%s: writing: %m", path);
    } else if (rc == 0) {
        rc = err_set(err, ERR_IO, "%s: %m", path);
    }
    json_decref(row);
    buf_release(&line);
    return rc;
}

int talk_load(struct talk *t, const char *path, struct err *err)
{
    struct rows rows = {0};
    struct arena arena = {0};
    struct text text;
    int rc = rows_read(&rows, path, 0, err);
    if (rc)
        return rc;
    const json_t *v = rows.n ? json_object_get(rows.row[rows.n - 1], "messages") : NULL;
    if (!json_array_size(v))
        rc = err_set(err, ERR_FORMAT, "%s: its last row has no 'messages'", path);
    if (rc == 0)
        rc = text_from_json(&text, &arena, v, path, err); // checks roles and contents
    if (rc == 0) {
        json_t *all = json_deep_copy(v);
        if (all) {
            json_decref(t->messages);
            t->messages = all;
        } else {
            rc = no_memory(err);
        }
    }
    arena_release(&arena);
    rows_release(&rows);
    return rc;
}

/* ---- opening --------------------------------------------------------------------------- */

/* Chooses the template, and tries it: better now than at the first question. */
static int read_form(struct talk *t, struct model *m, const json_t *opt, struct err *err)
{
    const char *choice = opt_str(opt, "chat_template");
    t->plain = choice && !strcmp(choice, "none");
    if (t->plain)
        return 0;
    struct buf text = {0};
    struct err why = {0};
    int rc = choice ? model_use_template(m, choice, &why) : 0;
    json_t *hello = json_pack("[{s:s, s:s}]", "role", "user", "content", "a");
    if (rc == 0)
        rc = hello ? apply(t, &text, hello, true, &why) : no_memory(&why);
    json_decref(hello);
    buf_release(&text);
    if (rc && !choice)
        return err_set(err, rc,
                       "%s. Ways to talk all the same: --chat_template chatml (as most chat "
                       "models are asked), "
                       "--chat_template FILE (a Jinja template), --chat_template none (the "
                       "model continues each text)",
                       why.msg);
    return rc ? err_set(err, rc, "--chat_template: %s", why.msg) : 0;
}

static int read_window(const struct talk *t, const json_t *opt, int *window, struct err *err)
{
    int most = model_config(t->m)->max_position;
    int64_t n = opt_int(opt, "max_length");
    if (n < 0 || n > most)
        return err_set(err, ERR_USAGE,
                       "--max_length is %lld, expected 1 to %d, the model's context (or 0)",
                       (long long)n, most);
    *window = n ? (int)n : most < 4096 ? most : 4096;
    return 0;
}

int talk_open(struct talk *t, struct model *m, const json_t *opt, struct err *err)
{
    int window = 0, rc;
    *t = (struct talk){.m = m, .messages = json_array()};
    rc = t->messages ? read_sampling(&t->sampling, t->stop, opt, err) : no_memory(err);
    if (rc == 0)
        rc = read_window(t, opt, &window, err);
    if (rc == 0)
        rc = read_form(t, m, opt, err);
    if (rc == 0 && !t->plain)
        rc = find_turn_end(t, err);
    if (rc == 0 && opt_given(opt, "system"))
        rc = talk_system(t, opt_str(opt, "system"), err);
    return rc ? rc : writer_new(&t->writer, m, window, err);
}

void talk_close(struct talk *t)
{
    writer_free(t->writer);
    json_decref(t->messages);
    free(t->turn_end);
    *t = (struct talk){0};
}

/* ---- asking ---------------------------------------------------------------------------- */

/* Listens for the caller, and remembers whether it had enough. */
struct listener {
    writer_said *said;
    void *arg;
    bool enough;
};

static bool listen(void *arg, const char *text, size_t n)
{
    struct listener *l = arg;
    l->enough = l->enough || !l->said(l->arg, text, n);
    return !l->enough;
}

static int answer(struct talk *t, const struct tokens *ids, enum talk_end *end,
                  writer_said *said, void *arg, struct err *err)
{
    struct listener l = {said, arg, false};
    struct completion c;
    int window = writer_window(t->writer);
    if (ids->n >= window)
        return err_set(
            err, ERR_VALUE,
            "the context is full: with this the conversation has %d tokens, and there is room "
            "for %d. "
            "/reset begins anew%s",
            ids->n, window,
            window < model_config(t->m)->max_position ? ", --max_length makes more room" : "");
    int rc =
        writer_write(t->writer, &c, ids->id, ids->n, t->turns, &t->sampling, listen, &l, err);
    if (rc)
        return rc;
    t->turns++;
    t->prompt_tokens += ids->n;
    t->computed_tokens += writer_computed(t->writer);
    t->new_tokens += c.n;
    *end = c.eos                    ? TALK_ENDED
           : l.enough               ? TALK_STOPPED
           : ids->n + c.n >= window ? TALK_FULL
                                    : TALK_CUT;
    rc = add_message(t, "assistant", c.text, err);
    completions_release(&c, 1);
    return rc;
}

int talk_ask(struct talk *t, const char *text, enum talk_end *end, writer_said *said, void *arg,
             struct err *err)
{
    struct tokens ids = {0};
    size_t before = json_array_size(t->messages);
    int rc = add_message(t, "user", text, err);
    if (rc == 0)
        rc = encode(t, &ids, err);
    if (rc == 0)
        rc = answer(t, &ids, end, said, arg, err);
    while (rc && json_array_size(t->messages) > before)
        json_array_remove(t->messages, json_array_size(t->messages) - 1);
    tokens_release(&ids);
    return rc;
}
