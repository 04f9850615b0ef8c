/* recipe/rehearsal.c - `--dry_run`: the exact questions that the first rows would be, without
 * asking them.
 *
 * For each row every question of the first pass, in the order they are asked (of many the first
 * few), and, where there is a rationale, what the second pass adds to the first question.  Of a
 * local labeler also the tokens of each prompt as it would compute them, and which tokens a label
 * word may be. */
#include "recipe/labeling.h"

enum { SHOWN_VIEWS = 4, SPELLINGS = 16 };
#define SAID "(what it said)"

struct showing {
    json_t *questions;
    const struct labeling *l;
    bool print;
    struct arena arena;
};

static json_t *word_row(const struct model *m, const char *word, struct err *err)
{
    const struct tokenizer *t = model_tokenizer(m);
    int id[SPELLINGS], n = tokenizer_spellings(t, word, id, SPELLINGS);
    struct tokens pieces = {0};
    json_t *row = json_pack("{s:s, s:[], s:[]}", "word", word, "ids", "pieces");
    if (!row || tokenize(t, &pieces, word, strlen(word), 0, err)) {
        json_decref(row);
        return NULL;
    }
    for (int i = 0; i < n; i++)
        json_array_append_new(json_object_get(row, "ids"), json_integer(id[i]));
    for (int i = 0; i < pieces.n && n == 0; i++)
        json_array_append_new(json_object_get(row, "pieces"), json_integer(pieces.id[i]));
    tokens_release(&pieces);
    return row;
}

static int add_words(json_t *result, const struct labeling *l, struct err *err)
{
    json_t *list = json_array();
    const struct ask_form *f = &l->protocol->form;
    for (int i = 0; i < f->n_words; i++) {
        json_t *row =
            l->model ? word_row(l->model, f->word[i], err) : json_pack("{s:s}", "word", f->word[i]);
        if (!row || json_array_append_new(list, row)) {
            json_decref(list);
            return err_set(err, ERR_MEMORY, "no memory to show questions");
        }
    }
    json_object_set_new(result, "words", list);
    return 0;
}

static void print_words(const json_t *words)
{
    size_t i;
    json_t *row;
    printf("---- label words\n");
    json_array_foreach((json_t *)words, i, row) {
        const json_t *ids = json_object_get(row, "ids"), *pieces = json_object_get(row, "pieces");
        const json_t *show = json_array_size(ids) ? ids : pieces;
        char *text = show ? json_dumps(show, JSON_COMPACT) : NULL;
        printf("\"%s\"%s%s\n", json_string_value(json_object_get(row, "word")),
               !text                  ? ""
               : json_array_size(ids) ? "  as one of the tokens "
                                      : "  as the tokens ",
               text ? text : "");
        free(text);
    }
}

static int show_ask(struct showing *s, const struct ask *a, int row, int pass, struct err *err)
{
    struct buf text = {0};
    struct tokens t = {0};
    int rc = 0;
    const struct tokenizer *tok = s->l->model ? model_tokenizer(s->l->model) : NULL;
    if (a->prompt)
        buf_adds(&text, a->prompt);
    else if (tok)
        rc = chat_render(tok, &text, a->message, a->n_messages, true, err);
    else
        buf_addf(&text, "[%s]\n%s\n[assistant]\n", a->message[0].role, a->message[0].content);
    buf_adds(&text, a->prefill ? a->prefill : "");
    if (rc == 0 && s->l->model)
        rc = provider_local_tokens(s->l->model, &t, a, err);
    json_t *q = rc || text.failed
                    ? NULL
                    : json_pack("{s:i, s:s, s:i, s:s, s:s}", "row", row, "order",
                                a->order ? "b" : "a", "pass", pass + 1, "kind",
                                a->kind == ASK_WORDS ? "words" : "text", "text", text.s);
    if (rc == 0 && (!q || json_array_append(s->questions, q)))
        rc = err_set(err, ERR_MEMORY, "no memory to show questions");
    if (rc == 0 && s->l->model)
        json_object_set_new(q, "tokens", json_integer(t.n));
    if (rc == 0 && s->print) {
        printf("---- row %d, order %s, pass %d: ", row, a->order ? "b" : "a", pass + 1);
        if (s->l->model)
            printf("%d tokens, ", t.n);
        if (a->kind == ASK_WORDS)
            printf("asked for a word\n%s\n", text.s);
        else
            printf("asked for a text of %d tokens at most, temperature %g\n%s\n",
                   a->sampling.max_new_tokens, (double)a->sampling.temperature, text.s);
    }
    json_decref(q);
    buf_release(&text);
    tokens_release(&t);
    return rc;
}

static int show_item(struct showing *s, const struct label_item *item, int row, struct err *err)
{
    const struct protocol *p = s->l->protocol;
    int n = protocol_n_views(p), rc = 0;
    struct view *view = mem_alloc((size_t)n, sizeof *view);
    if (!view)
        return err_set(err, ERR_MEMORY, "no memory to show questions");
    protocol_views(p, item, view);
    for (int k = 0; k < n && k < SHOWN_VIEWS && rc == 0; k++) {
        struct ask a;
        rc = protocol_ask(&a, p, item, view[k], 0, NULL, &s->arena, err);
        if (rc == 0)
            rc = show_ask(s, &a, row, 0, err);
    }
    if (rc == 0 && n > SHOWN_VIEWS && s->print)
        printf("---- row %d: and %d questions more\n", row, n - SHOWN_VIEWS);
    if (rc == 0 && protocol_passes(p) > 1) {
        struct ask a;
        rc = protocol_ask(&a, p, item, view[0], 1, SAID, &s->arena, err);
        if (rc == 0)
            rc = show_ask(s, &a, row, 1, err);
    }
    free(view);
    return rc;
}

int labeling_show(json_t *result, const struct run *run, const struct labeling *l,
                  const struct label_item *item, int n, struct err *err)
{
    struct showing s = {json_array(), l, !run->json, {0}};
    int rc = s.questions ? 0 : err_set(err, ERR_MEMORY, "no memory to show questions");
    for (int i = 0; i < n && rc == 0; i++)
        rc = show_item(&s, &item[i], i + 1, err);
    if (rc == 0)
        rc = add_words(result, l, err);
    if (rc == 0 && s.print) {
        print_words(json_object_get(result, "words"));
        json_object_del(result, "words");
    }
    if (rc == 0 && !s.print)
        json_object_set(result, "questions", s.questions);
    json_object_set_new(result, "protocol", json_string(l->protocol->name));
    json_object_set_new(result, "protocol_hash", json_string(l->protocol->hash));
    set_number(result, "questions_per_row",
               (double)protocol_n_views(l->protocol) * protocol_passes(l->protocol));
    json_decref(s.questions);
    arena_release(&s.arena);
    return rc;
}
