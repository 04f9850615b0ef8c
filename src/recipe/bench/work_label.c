/* recipe/bench/work_label.c - pairs to label in both orders, after a preamble and exemplars that all share.
 *
 * The texts are random words, as many as make the row's number of tokens in the model's own tokenizer.  A run asks a new
 * provider, so nothing is left from the run before; what is shared within a run is computed once. */
#include "feedback/feedback.h"
#include "recipe/bench/bench.h"

struct labelling {
    const struct model *model;
    char *head;                     // preamble and exemplars
    char **prompt;                  // (2 * pairs) both orders of a pair side by side
    struct ask *ask;                // (2 * pairs)
    int pairs, head_tokens, pair_tokens;
};

/* Appends " word" so many times: four letters that are one token of bench_tokenizer. */
static void add_words(struct buf *b, struct rng *r, int n)
{
    for (int i = 0; i < n; i++)
        buf_addf(b, " %c%c%c%c", 'a' + rng_below(r, 2), 'a' + rng_below(r, 26), 'a' + rng_below(r, 26), 'a' + rng_below(r, 26));
}

/* Words that make about so many tokens. */
static int words_for(const struct tokenizer *t, int tokens, struct err *err)
{
    struct buf b = { 0 };
    struct tokens ids = { 0 };
    struct rng r;
    enum { TRIAL = 200 };
    rng_init(&r, 2, RNG_TEST, 0, 0);
    add_words(&b, &r, TRIAL);
    int rc = b.s ? tokenize(t, &ids, b.s, b.len, 0, err) : err_set(err, ERR_MEMORY, "words of the bench");
    int n = rc ? rc : ids.n ? (int)((double)tokens * TRIAL / ids.n + 0.5) : 1;
    tokens_release(&ids);
    buf_release(&b);
    return n;
}

/* The text is a third of the pair, each candidate a third; the ending is the word that is asked for. */
static int make_pair(struct labelling *l, int pair, int words, struct err *err)
{
    struct buf text = { 0 }, a = { 0 }, b = { 0 };
    struct rng r;
    rng_init(&r, 1, RNG_TEST, (uint64_t)pair, 0);
    add_words(&text, &r, words - 2 * (words / 3));
    add_words(&a, &r, words / 3);
    add_words(&b, &r, words / 3);
    if (text.s && a.s && b.s) {
        l->prompt[2 * pair] = str_printf("%s%s%s%s\n", l->head, text.s, a.s, b.s);
        l->prompt[2 * pair + 1] = str_printf("%s%s%s%s\n", l->head, text.s, b.s, a.s);
    }
    buf_release(&text);
    buf_release(&a);
    buf_release(&b);
    return l->prompt[2 * pair] && l->prompt[2 * pair + 1] ? 0 : err_set(err, ERR_MEMORY, "pairs of the bench");
}

static bool go_on(void *arg, int i)
{
    return !interrupted();
}

static int run_label(struct bench_work *w, struct err *err)
{
    struct labelling *l = w->own;
    struct provider *p = NULL;
    int n = 2 * l->pairs;
    struct reply *reply = mem_alloc((size_t)n, sizeof *reply);
    int rc = reply ? provider_local_new(&p, l->model, "bench", 0, err) : err_set(err, ERR_MEMORY, "replies of the bench");
    if (rc == 0)
        rc = p->ask(p, reply, l->ask, n, go_on, NULL, err);
    for (int i = 0; rc == 0 && i < n; i++)
        if (reply[i].state != REPLY_OK)
            rc = err_set(err, ERR_UNSUPPORTED, "prompts of %d tokens do not fit this model", l->head_tokens + l->pair_tokens);
    if (rc == 0) {      // operations of what had to be computed
        const struct model_config *c = model_config(l->model);
        double own = ((double)p->tokens_computed - l->head_tokens) / l->pair_tokens;
        w->operations = bench_forward_ops(c, 0, l->head_tokens) + bench_head_ops(c, n) +
            own * bench_forward_ops(c, l->head_tokens, l->head_tokens + l->pair_tokens);
    }
    provider_free(p);
    if (reply)
        replies_release(reply, n);
    free(reply);
    return rc;
}

static void label_close(struct bench_work *w)
{
    struct labelling *l = w->own;
    if (!l)
        return;
    for (int i = 0; l->prompt && i < 2 * l->pairs; i++)
        free(l->prompt[i]);
    free(l->prompt);
    free(l->ask);
    free(l->head);
    free(l);
    w->own = NULL;
}

int bench_prepare_label(struct bench_work *w, const struct model *m, const struct bench_row *row, struct err *err)
{
    static const char *const word[] = { "1", "2" };
    struct labelling *l = mem_alloc(1, sizeof *l);
    *w = (struct bench_work){ .unit = "pairs", .units = row->n, .share = SHARE_PEAK, .run = run_label, .close = label_close, .own = l };
    if (!l)
        return err_set(err, ERR_MEMORY, "%s", row->name);
    *l = (struct labelling){ .model = m, .pairs = row->n, .head_tokens = row->shared, .pair_tokens = row->length };
    int words = words_for(model_tokenizer(m), row->length, err), head_words = words_for(model_tokenizer(m), row->shared, err);
    if (words < 0 || head_words < 0)
        return words < 0 ? words : head_words;
    struct buf head = { 0 };
    struct rng r;
    rng_init(&r, 3, RNG_TEST, 0, 0);
    add_words(&head, &r, head_words);
    l->head = buf_take(&head);
    l->prompt = mem_alloc((size_t)row->n * 2, sizeof *l->prompt);
    l->ask = mem_alloc((size_t)row->n * 2, sizeof *l->ask);
    int rc = l->head && l->prompt && l->ask ? 0 : err_set(err, ERR_MEMORY, "%s", row->name);
    for (int i = 0; rc == 0 && i < row->n; i++)
        rc = make_pair(l, i, words, err);
    for (int i = 0; rc == 0 && i < 2 * row->n; i++)
        l->ask[i] = (struct ask){ .kind = ASK_WORDS, .prompt = l->prompt[i], .head = l->head, .word = word, .n_words = 2 };
    return rc;
}
