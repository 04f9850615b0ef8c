/* encode.c - texts and messages as token ids.
 *
 * Prompt and completion are tokenised apart and joined, so a completion's tokens never depend on where its
 * prompt ends, and what was sampled token by token is read the same way. */
#include "learn/learn.h"

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "encoding a text: no memory");
}

/* Renders n messages of a, then m of b. */
static int render(const struct tokenizer *t, struct buf *out, const struct text *a, const struct text *b,
                  bool generation_prompt, struct err *err)
{
    int n = a->n + (b ? b->n : 0);
    struct chat_message *msg = mem_alloc((size_t)n, sizeof *msg);
    if (!msg)
        return no_memory(err);
    for (int i = 0; i < n; i++) {
        const struct message *m = i < a->n ? &a->messages[i] : &b->messages[i - a->n];
        msg[i] = (struct chat_message){m->role, m->content};
    }
    int rc = chat_render(t, out, msg, n, generation_prompt, err);
    free(msg);
    return rc == 0 && out->failed ? no_memory(err) : rc;
}

int encode_prompt(const struct tokenizer *t, struct tokens *out, const struct text *prompt, struct err *err)
{
    if (prompt->n == 0)
        return tokenize(t, out, prompt->text, strlen(prompt->text), TOKENIZE_SPECIAL | TOKENIZE_PARSE_SPECIAL, err);
    struct buf b = {0};
    int rc = render(t, &b, prompt, NULL, true, err);
    if (rc == 0)
        rc = tokenize(t, out, b.s, b.len, TOKENIZE_PARSE_SPECIAL, err);
    buf_release(&b);
    return rc;
}

/* What the template writes for the answer: the whole conversation less the prompt with the answer's turn opened.
 * The line break after the last end marker belongs to the next turn, which there is none of. */
static int encode_messages(const struct tokenizer *t, struct tokens *out, const struct text *prompt,
                           const struct text *completion, struct err *err)
{
    struct buf head = {0}, all = {0};
    int rc = render(t, &head, prompt, NULL, true, err);
    if (rc == 0)
        rc = render(t, &all, prompt, completion, false, err);
    if (rc == 0 && (all.len < head.len || memcmp(all.s, head.s, head.len) != 0))
        rc = strcmp(completion->messages[0].role, "assistant")
                 ? err_set(err, ERR_FORMAT, "the completion's first message has the role '%.40s', expected an answer ('assistant')",
                           completion->messages[0].role)
                 : err_set(err, ERR_UNSUPPORTED, "the chat template does not write an answer behind its prompt as it stands alone; "
                                                 "training needs one that does");
    if (rc == 0) {
        while (all.len > head.len && all.s[all.len - 1] == '\n')
            all.len--;
        rc = tokenize(t, out, all.s + head.len, all.len - head.len, TOKENIZE_PARSE_SPECIAL, err);
    }
    buf_release(&head);
    buf_release(&all);
    return rc;
}

static bool is_end(const struct model_config *c, int id)
{
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos_ids[i] == id)
            return true;
    return c->eos >= 0 && id == c->eos;
}

static int push(struct tokens *t, int id, struct err *err)
{
    int *p = mem_grow(t->id, &t->cap, (size_t)t->n + 1, sizeof *p);
    if (!p)
        return no_memory(err);
    t->id = p;
    t->id[t->n++] = id;
    return 0;
}

int encode_completion(const struct tokenizer *t, struct tokens *out, const struct text *prompt,
                      const struct text *completion, const struct model_config *c, bool end, struct err *err)
{
    int rc, before = out->n;
    if (completion->n == 0)
        rc = tokenize(t, out, completion->text, strlen(completion->text), TOKENIZE_PARSE_SPECIAL, err);
    else if (prompt->n > 0)
        rc = encode_messages(t, out, prompt, completion, err);
    else
        rc = err_set(err, ERR_FORMAT, "the completion is a list of messages, but its prompt is a string");
    if (rc == 0 && end && c->eos >= 0 && (out->n == before || !is_end(c, out->id[out->n - 1])))
        rc = push(out, c->eos, err);
    return rc;
}
