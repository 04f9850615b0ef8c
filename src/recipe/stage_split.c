/* recipe/stage_split.c - `rlaif split`: pairs that people compared, in parts that share no
 * conversation.
 *
 * A row's part is decided by the hash of its first human turn, so the same question never lies in
 * two parts, whatever the file's order or length.  Each part becomes NAME.jsonl
 * ({"id","prompt","chosen","rejected"}) and NAME_prompts.jsonl (each prompt once).  Transcripts
 * (Anthropic HH) can be turned into conversations, which policies and reward models read through
 * their chat template; labelers are shown the turns either way. */
#include "data/data.h"
#include "feedback/feedback.h"
#include "recipe/parts.h"
#include "recipe/recipe.h"

static const struct option options[] = {
    { "input", OPT_DATA, NULL, "rows {prompt, chosen, rejected} or transcripts {chosen, rejected} (Parquet, JSON, CSV)",
      NULL, true },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for NAME.jsonl and NAME_prompts.jsonl of each part", NULL, true },
    { "parts", OPT_LIST, "train=0.8,test=0.2", "NAME=SHARE or NAME=SHARE:ROWS (at most so many)", NULL, false },
    { "format", OPT_CHOICE, "as_is", "messages: \"\\n\\nHuman:\" and \"\\n\\nAssistant:\" turns become a conversation for the chat template",
      "as_is|messages", false },
    { "min_confidence", OPT_FLOAT, "0", "leave out pairs whose label_prob is nearer to even than this (0.5 to 1); 0: none", NULL, false },
    { "max_chars", OPT_INT, "0", "leave out pairs with a longer prompt and answer; 0: none", NULL, false },
    { "seed", OPT_INT, "1", "which conversations go where, and which rows are taken", NULL, false },
};

struct split {
    struct parts parts;
    struct rows rows;
    struct arena arena;
    struct pair *pair;
    int n;
    bool messages;      // transcripts are written as conversations
    int *order;         // rows in a drawn order
    int *where;         // (n) part of each row, -1: none
};

/* ---- rows --------------------------------------------------------------------------------- */

static size_t text_length(const struct text *t)
{
    size_t n = t->n ? 0 : strlen(t->text);
    for (int i = 0; i < t->n; i++)
        n += strlen(t->messages[i].content);
    return n;
}

static bool too_long(const struct pair *p, int64_t max)
{
    size_t c = text_length(&p->chosen), r = text_length(&p->rejected);
    return max > 0 && text_length(&p->prompt) + (c > r ? c : r) > (size_t)max;
}

static int assign(struct split *s, const json_t *opt, struct err *err)
{
    uint64_t seed = (uint64_t)opt_int(opt, "seed");
    data_epoch_order(s->order, s->n, seed, 0);
    for (int k = 0; k < s->n; k++) {
        int i = s->order[k];
        s->where[i] = -1;
        double p = s->pair[i].label_prob;
        if (too_long(&s->pair[i], opt_int(opt, "max_chars")) ||
            (p > 0.5 ? p : 1 - p) < opt_float(opt, "min_confidence"))
            continue;
        char *key = parts_key(&s->pair[i].prompt);
        if (!key)
            return err_set(err, ERR_MEMORY, "splitting");
        int w = parts_of(&s->parts, key, seed);
        free(key);
        if (w < s->parts.n &&
            (!s->parts.part[w].most || s->parts.part[w].rows < s->parts.part[w].most)) {
            s->where[i] = w;
            s->parts.part[w].rows++;
        }
    }
    return 0;
}

/* ---- out --------------------------------------------------------------------------------- */

static json_t *message(const char *role, const char *s, size_t n)
{
    while (n && strchr(" \n\t\r", s[0]))
        s++, n--;
    while (n && strchr(" \n\t\r", s[n - 1]))
        n--;
    return json_pack("{s:s, s:s%}", "role", role, "content", s, n);
}

/* The turns of a transcript; the open turn at its end is nobody's yet. */
static json_t *turns(const char *s)
{
    static const struct {
        const char *tag, *role;
    } who[] = { { "\n\nHuman:", "user" }, { "\n\nAssistant:", "assistant" } };
    json_t *list = json_array();
    const char *role = NULL, *start = s;
    for (const char *at = s;; at++) {
        size_t k = 0;
        while (*at && k < 2 && !str_starts(at, who[k].tag))
            k++;
        if (*at && k == 2)
            continue;
        if (role && *at)
            json_array_append_new(list, message(role, start, (size_t)(at - start)));
        if (!*at)
            break;
        role = who[k].role;
        start = at + strlen(who[k].tag);
        at = start - 1;
    }
    if (role && strspn(start, " \n\t\r") < strlen(start))
        json_array_append_new(list, message(role, start, strlen(start)));
    return list;
}

enum form { PLAIN, CHAT_PROMPT, CHAT_ANSWER };

static json_t *text_json(const struct text *t, enum form form)
{
    if (!t->n && form == CHAT_PROMPT)
        return turns(t->text);
    if (!t->n && form == CHAT_ANSWER)
        return json_pack("[o]", message("assistant", t->text, strlen(t->text)));
    if (!t->n)
        return json_string(t->text);
    json_t *list = json_array();
    for (int i = 0; i < t->n; i++)
        json_array_append_new(list, json_pack("{ssss}", "role", t->messages[i].role, "content",
                                              t->messages[i].content));
    return list;
}

static int add(struct rows_out *out, json_t *row, struct err *err)
{
    int rc = row ? rows_out_add(out, row, err) : err_set(err, ERR_MEMORY, "splitting");
    json_decref(row);
    return rc;
}

static int write_part(const struct split *s, int w, const char *dir, int *prompts, struct err *err)
{
    struct rows_out pairs = { 0 }, only = { 0 };
    char *one = str_printf("%s/%s.jsonl", dir, s->parts.part[w].name),
         *two = str_printf("%s/%s_prompts.jsonl", dir, s->parts.part[w].name);
    json_t *seen = json_object();
    int rc = one && two && seen ? rows_out_open(&pairs, one, err)
                                : err_set(err, ERR_MEMORY, "splitting");
    if (rc == 0)
        rc = rows_out_open(&only, two, err);
    for (int k = 0; k < s->n && rc == 0; k++) {
        const struct pair *p = &s->pair[s->order[k]];
        if (s->where[s->order[k]] != w)
            continue;
        bool chat = s->messages && !p->prompt.n && str_starts(p->prompt.text, "\n\nHuman:");
        json_t *prompt = text_json(&p->prompt, chat ? CHAT_PROMPT : PLAIN);
        rc = add(&pairs, json_pack("{s:s, s:O, s:o, s:o}", "id", p->id, "prompt", prompt,
                                   "chosen", text_json(&p->chosen, chat ? CHAT_ANSWER : PLAIN),
                                   "rejected", text_json(&p->rejected, chat ? CHAT_ANSWER : PLAIN)), err);
        char *text = json_dumps(prompt, JSON_ENCODE_ANY | JSON_COMPACT), hex[33];
        hash_hex(hex, hash_bytes(text ? text : "", text ? strlen(text) : 0));
        free(text);
        if (rc == 0 && !json_object_get(seen, hex)) {
            json_object_set_new(seen, hex, json_true());
            rc = add(&only, json_pack("{s:s, s:O}", "id", hex, "prompt", prompt), err);
            ++*prompts;
        }
        json_decref(prompt);
    }
    if (rc == 0)
        rc = rows_out_commit(&pairs, err);
    if (rc == 0)
        rc = rows_out_commit(&only, err);
    rows_out_close(&pairs);
    rows_out_close(&only);
    json_decref(seen);
    free(one);
    free(two);
    return rc;
}

static int run_split(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct split s = { 0 };
    const char *dir = opt_str(opt, "output_dir");
    s.messages = !strcmp(opt_str(opt, "format"), "messages");
    int rc = parts_read(&s.parts, opt_list(opt, "parts"), err);
    if (rc == 0)
        rc = rows_read(&s.rows, opt_str(opt, "input"), 0, err);
    if (rc == 0)
        rc = data_pairs(&s.pair, &s.n, &s.arena, &s.rows, err);
    if (rc == 0) {
        s.order = mem_alloc((size_t)s.n, sizeof *s.order);
        s.where = mem_alloc((size_t)s.n, sizeof *s.where);
        rc = s.order && s.where ? assign(&s, opt, err)
                                : err_set(err, ERR_MEMORY, "splitting %d rows", s.n);
    }
    if (rc == 0)
        rc = dir_make(dir, err);
    for (int w = 0; w < s.parts.n && rc == 0; w++) {
        struct part *p = &s.parts.part[w];
        if (!p->rows)
            rc = err_set(err, ERR_VALUE, "%s: no row falls into part '%s' (of %d rows)",
                         s.rows.path, p->name, s.n);
        else
            rc = write_part(&s, w, dir, &p->prompts, err);
        json_object_set_new(result, p->name, json_integer(p->rows));
    }
    if (rc == 0)
        rc = rows_write_rejected(&s.rows, dir, err);
    json_object_set_new(result, "rows", json_integer(s.n));
    json_object_set_new(result, "rejected", json_integer(s.rows.n_rejected));
    free(s.order);
    free(s.where);
    arena_release(&s.arena);
    rows_release(&s.rows);
    return rc;
}

const struct stage stage_split = {
    .name = "split",
    .summary = "split human-compared pairs into parts that share no conversation",
    .example = "rlaif split --input runs/lab-tldr/labels/pairs.jsonl --parts train=0.8 "
               "test=0.2 --output_dir runs/try/parts",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_split,
};
