/* records.c - typed views over rows: prompts, pairs, examples.
 *
 * Each view tries every row; one that cannot be used goes to the rejected list with its reason,
 * and the others keep their order.  Strings are borrowed from the rows; only prefixes and
 * arrays are copied.
 *
 * A pair without a prompt (or with a plain prompt beside whole conversations, as in
 * UltraFeedback) shares a prefix.  Anthropic HH is such a set of transcripts:
 *
 *   "\n\nHuman: question\n\nAssistant: answer\n\nHuman: more\n\nAssistant: reply"
 *    <----------------- prompt, if both begin so ----------------><-completion->
 *
 * What is left out: cutting a shared prefix of plain characters, which would end in the middle
 * of words. */
#include "data/internal.h"

#include <errno.h>

#define ASSISTANT "\n\nAssistant:"

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for the records");
}

/* ---- texts ------------------------------------------------------------------------- */

static int message_from_json(struct message *m, const json_t *v, size_t i, const char *where,
                             struct err *err)
{
    char at[256];
    snprintf(at, sizeof at, "%s[%zu]", where, i);
    int rc = json_get_str(v, "role", &m->role, at, err);
    if (rc == 0 && !m->role[0])
        rc = err_set(err, ERR_FORMAT, "%s: 'role' is empty", at);
    return rc ? rc : json_get_str(v, "content", &m->content, at, err);
}

int text_from_json(struct text *out, struct arena *a, const json_t *v, const char *where,
                   struct err *err)
{
    *out = (struct text){0};
    if (json_is_string(v)) {
        out->text = json_string_value(v);
        return 0;
    }
    if (!json_is_array(v))
        return err_set(err, ERR_FORMAT, "%s: expected a string or a list of messages", where);
    size_t n = json_array_size(v), bytes;
    if (n == 0)
        return err_set(err, ERR_FORMAT, "%s: the list of messages is empty", where);
    if (n > 100000)
        return err_set(err, ERR_FORMAT, "%s: %zu messages, at most 100000 are read", where, n);
    struct message *m = size_mul(&bytes, n, sizeof *m) ? arena_alloc(a, bytes) : NULL;
    if (!m)
        return no_memory(err);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = message_from_json(&m[i], json_array_get(v, i), i, where, err);
    if (rc == 0)
        *out = (struct text){.messages = m, .n = (int)n};
    return rc;
}

static int member_text(struct text *out, struct arena *a, const json_t *row, const char *key,
                       struct err *err)
{
    json_t *v = json_object_get(row, key);
    if (!v || json_is_null(v))
        return err_set(err, ERR_MISSING, "'%s' is %s", key, v ? "null" : "missing");
    return text_from_json(out, a, v, key, err);
}

static bool text_is_empty(const struct text *t)
{
    return t->n == 0 && (!t->text || !t->text[0]);
}

static bool message_equal(const struct message *a, const struct message *b)
{
    return strcmp(a->role, b->role) == 0 && strcmp(a->content, b->content) == 0;
}

static bool text_equal(const struct text *a, const struct text *b)
{
    if (a->n != b->n)
        return false;
    if (a->n == 0)
        return strcmp(a->text, b->text) == 0;
    for (int i = 0; i < a->n; i++)
        if (!message_equal(&a->messages[i], &b->messages[i]))
            return false;
    return true;
}

static int refuse_empty(const struct text *t, const char *key, struct err *err)
{
    return text_is_empty(t) ? err_set(err, ERR_VALUE, "'%s' is empty", key) : 0;
}

/* ---- ids ------------------------------------------------------------------------------ */

/* `id` or `prompt_id` where given (a number becomes its digits), else the hash of the named
 * members. */
static int record_id(const char **id, struct arena *a, const json_t *row,
                     const char *const *keys, struct err *err)
{
    static const char *const names[] = {"id", "prompt_id"};
    char text[40];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        json_t *v = json_object_get(row, names[i]);
        if (json_is_string(v) && json_string_value(v)[0]) {
            *id = json_string_value(v);
            return 0;
        }
        if (json_is_integer(v)) {
            snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
            *id = arena_strdup(a, text);
            return *id ? 0 : no_memory(err);
        }
    }
    struct buf b = {0};
    for (; *keys; keys++) {
        json_t *v = json_object_get(row, *keys);
        if (v)
            json_add_text(&b, v, 0);
        buf_add(&b, "", 1);     // so that no two splits of the same text look alike
    }
    hash_hex(text, hash_bytes(b.s, b.len));
    *id = b.failed ? NULL : arena_strdup(a, text);
    buf_release(&b);
    return *id ? 0 : no_memory(err);
}

/* ---- prefixes that a pair shares --------------------------------------------------------- */

/* Cuts both at their longest common run of messages; each keeps at least one. */
static int split_messages(struct pair *p, struct err *err)
{
    struct text *c = &p->chosen, *r = &p->rejected;
    int common = 0, most = (c->n < r->n ? c->n : r->n) - 1;
    while (common < most && message_equal(&c->messages[common], &r->messages[common]))
        common++;
    if (common == 0)
        return err_set(
            err, ERR_FORMAT,
            "no 'prompt', and chosen and rejected do not begin with the same message");
    p->prompt = (struct text){.messages = c->messages, .n = common};
    *c = (struct text){.messages = c->messages + common, .n = c->n - common};
    *r = (struct text){.messages = r->messages + common, .n = r->n - common};
    return 0;
}

static int split_transcript(struct pair *p, struct arena *a, struct err *err)
{
    const char *c = p->chosen.text, *r = p->rejected.text;
    size_t same = 0, cut = 0;
    while (c[same] && c[same] == r[same])
        same++;
    for (const char *s = c; (s = strstr(s, ASSISTANT)); s++)
        if ((size_t)(s - c) + strlen(ASSISTANT) <= same)
            cut = (size_t)(s - c) + strlen(ASSISTANT);
    if (cut == 0)
        return err_set(
            err, ERR_FORMAT,
            "no 'prompt', and chosen and rejected do not share an \"Assistant:\" turn");
    p->prompt.text = arena_strndup(a, c, cut);
    p->chosen.text = c + cut;
    p->rejected.text = r + cut;
    return p->prompt.text ? 0 : no_memory(err);
}

/* A number, also as CSV has it: in digits. */
static int member_number(double *out, const json_t *row, const char *key, double dflt,
                         struct err *err)
{
    const char *text = json_string_value(json_object_get(row, key));
    if (!text)
        return json_double_or(row, key, dflt, out, "row", err);
    return str_to_double(text, out)
               ? 0
               : err_set(err, ERR_FORMAT, "'%s' is '%.40s', expected a number", key, text);
}

/* ---- one row of each kind ------------------------------------------------------------------ */

int pair_from_row(void *out, struct arena *a, const json_t *row, struct err *err)
{
    static const char *const keys[] = {"prompt", "chosen", "rejected", NULL};
    struct pair *p = out;
    int rc = member_text(&p->chosen, a, row, "chosen", err);
    if (rc == 0)
        rc = member_text(&p->rejected, a, row, "rejected", err);
    if (rc == 0 && (p->chosen.n > 0) != (p->rejected.n > 0))
        rc = err_set(err, ERR_FORMAT,
                     "one of 'chosen' and 'rejected' is a string, the other a list of messages");
    if (rc == 0 && text_equal(&p->chosen, &p->rejected))
        rc = err_set(err, ERR_VALUE, "'chosen' and 'rejected' are the same");
    if (rc)
        return rc;
    json_t *prompt = json_object_get(row, "prompt");
    bool has = prompt && !json_is_null(prompt);
    if (has && !(json_is_string(prompt) && p->chosen.n > 0))
        rc = member_text(&p->prompt, a, row, "prompt", err);
    else
        rc = p->chosen.n > 0 ? split_messages(p, err) : split_transcript(p, a, err);
    if (rc == 0)
        rc = refuse_empty(&p->prompt, "prompt", err);
    if (rc == 0)
        rc = refuse_empty(&p->chosen, "chosen", err);
    if (rc == 0)
        rc = refuse_empty(&p->rejected, "rejected", err);
    if (rc == 0)
        rc = member_number(&p->label_prob, row, "label_prob", 1.0, err);
    if (rc == 0 && !(p->label_prob >= 0 && p->label_prob <= 1))
        rc = err_set(err, ERR_VALUE, "'label_prob' is %g, expected a probability", p->label_prob);
    p->row = row;
    return rc ? rc : record_id(&p->id, a, row, keys, err);
}

static int prompt_from_row(void *out, struct arena *a, const json_t *row, struct err *err)
{
    static const char *const keys[] = {"prompt", NULL};
    struct prompt *p = out;
    int rc = member_text(&p->text, a, row, "prompt", err);
    if (rc == 0)
        rc = refuse_empty(&p->text, "prompt", err);
    p->row = row;
    return rc ? rc : record_id(&p->id, a, row, keys, err);
}

/* The last message is what is learned, the ones before it are the prompt. */
static int example_from_messages(struct example *e, struct err *err)
{
    struct text all = e->completion;
    if (all.n == 0)
        return err_set(err, ERR_FORMAT, "'messages' should be a list of messages");
    if (strcmp(all.messages[all.n - 1].role, "assistant") != 0)
        return err_set(err, ERR_FORMAT,
                       "the last of 'messages' has the role '%.40s', expected 'assistant'",
                       all.messages[all.n - 1].role);
    if (all.n == 1)
        return err_set(err, ERR_FORMAT, "'messages' holds no turn before the assistant's");
    e->prompt = (struct text){.messages = all.messages, .n = all.n - 1};
    e->completion = (struct text){.messages = all.messages + all.n - 1, .n = 1};
    return 0;
}

static bool has_member(const json_t *row, const char *key)
{
    json_t *v = json_object_get(row, key);
    return v && !json_is_null(v);   // tables have every column in every row
}

/* A prompt alone says nothing about what to learn: UltraChat has one beside its messages. */
static int example_parts(struct example *e, struct arena *a, const json_t *row, struct err *err)
{
    bool messages = has_member(row, "messages"), text = has_member(row, "text");
    int rc;
    if (has_member(row, "completion") || (has_member(row, "prompt") && !messages && !text)) {
        rc = member_text(&e->prompt, a, row, "prompt", err);
        if (rc == 0)
            rc = member_text(&e->completion, a, row, "completion", err);
        if (rc == 0 && (e->prompt.n > 0) != (e->completion.n > 0))
            rc = err_set(err, ERR_FORMAT,
                         "one of 'prompt' and 'completion' is a string, the other a list of messages");
        return rc ? rc : refuse_empty(&e->prompt, "prompt", err);
    }
    if (messages) {
        rc = member_text(&e->completion, a, row, "messages", err);
        return rc ? rc : example_from_messages(e, err);
    }
    if (!text)
        return err_set(err, ERR_MISSING,
                       "neither 'prompt' and 'completion', nor 'messages', nor 'text'");
    e->whole = true;
    const char *whole;
    rc = json_get_str(row, "text", &whole, "row", err);
    if (rc == 0)
        e->completion.text = whole;
    e->prompt.text = "";
    return rc;
}

static int example_from_row(void *out, struct arena *a, const json_t *row, struct err *err)
{
    static const char *const keys[] = {"prompt", "completion", "messages", "text", NULL};
    struct example *e = out;
    int rc = example_parts(e, a, row, err);
    if (rc == 0)
        rc = refuse_empty(&e->completion, e->whole ? "text" : "completion", err);
    e->row = row;
    return rc ? rc : record_id(&e->id, a, row, keys, err);
}

/* ---- all rows ------------------------------------------------------------------------------ */

typedef int from_row(void *out, struct arena *a, const json_t *row, struct err *err);

/* The line numbers are filled by the caller, whose type knows where they are. */
static int each_row(void **out, int *n, size_t size, const char *what, from_row *read,
                    struct arena *a, struct rows *r, struct err *err)
{
    size_t bytes;
    char *records = size_mul(&bytes, (size_t)r->n, size) ? arena_alloc(a, bytes) : NULL;
    if (!records)
        return no_memory(err);
    int kept = 0, rows = r->n;
    for (int i = 0; i < rows; i++) {
        struct err why = {0};
        memset(records + (size_t)kept * size, 0, size);
        int rc = read(records + (size_t)kept * size, a, r->row[i], &why);
        if (rc == ERR_MEMORY) {     // the rows not looked at yet close the gap
            memmove(r->row + kept, r->row + i, (size_t)(rows - i) * sizeof *r->row);
            memmove(r->line + kept, r->line + i, (size_t)(rows - i) * sizeof *r->line);
            r->n = kept + rows - i;
            return err_set(err, rc, "%s: %s", rows_place(r, r->line[kept]).s, why.msg);
        }
        if (rc) {
            char *text = str_printf("%.*s", (int)utf8_valid(why.msg, strlen(why.msg)), why.msg);
            r->rejected[r->n_rejected++] = (struct rejected){r->line[i], text, r->row[i]};
            continue;
        }
        r->row[kept] = r->row[i];
        r->line[kept++] = r->line[i];
    }
    r->n = kept;
    if (kept == 0)
        return err_set(err, ERR_VALUE, "%s: none of its rows is usable as %s (%s: %s)", r->path,
                       what, r->n_rejected ? rows_place(r, r->rejected[0].line).within : "nowhere",
                       r->n_rejected && r->rejected[0].why ? r->rejected[0].why : "no rows");
    *out = records;
    *n = kept;
    return 0;
}

int data_prompts(struct prompt **out, int *n, struct arena *a, struct rows *r, struct err *err)
{
    void *p = NULL;
    int rc = each_row(&p, n, sizeof **out, "a prompt", prompt_from_row, a, r, err);
    if (rc)
        return rc;
    *out = p;
    for (int i = 0; i < *n; i++)
        (*out)[i].line = r->line[i];
    return 0;
}

int data_pairs(struct pair **out, int *n, struct arena *a, struct rows *r, struct err *err)
{
    void *p = NULL;
    int rc = each_row(&p, n, sizeof **out, "a pair", pair_from_row, a, r, err);
    if (rc)
        return rc;
    *out = p;
    for (int i = 0; i < *n; i++)
        (*out)[i].line = r->line[i];
    return 0;
}

int data_examples(struct example **out, int *n, struct arena *a, struct rows *r, struct err *err)
{
    void *p = NULL;
    int rc = each_row(&p, n, sizeof **out, "an example", example_from_row, a, r, err);
    if (rc)
        return rc;
    *out = p;
    for (int i = 0; i < *n; i++)
        (*out)[i].line = r->line[i];
    return 0;
}
