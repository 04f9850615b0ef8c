/* scorer.c - scores of texts by a reward model, in forests that share prompts.
 *
 * The rule of the position: prompt, completion, and an end-of-sequence token (appended where the text has
 * none), scored at that token.  It is the rule of training, so a text gets the score it would have had
 * there.  A sample that was cut by its length limit is scored as if it ended where it was cut; that it did not
 * end is charged separately, by missing_eos_penalty. */
#include "learn/internal.h"

struct scorer {
    const struct model *m;
    struct workspace *ws;
    int max_tokens;
    struct forest forest;
    struct tokens ids;          // of one prompt with its completions
    int *row;                   // (max_tokens)
    int waiting;                // completions in the forest
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "scoring: no memory");
}

void scorer_free(struct scorer *s)
{
    if (!s)
        return;
    scorer_rest(s);
    forest_release(&s->forest);
    tokens_release(&s->ids);
    free(s);
}

void scorer_rest(struct scorer *s)
{
    workspace_free(s->ws);
    free(s->row);
    s->ws = NULL;
    s->row = NULL;
}

/* Room for max_tokens, or for a single text that is longer. */
static int make_room(struct scorer *s, int tokens, struct err *err)
{
    if (s->ws && tokens <= s->max_tokens)
        return 0;
    scorer_rest(s);
    s->max_tokens = tokens > s->max_tokens ? tokens : s->max_tokens;
    s->row = mem_alloc((size_t)s->max_tokens, sizeof *s->row);
    int rc = s->row ? workspace_new(&s->ws, s->m, s->max_tokens, KEEP_NOTHING, err) : no_memory(err);
    if (rc == 0)
        workspace_prepare(s->ws, s->m, 0);
    return rc;
}

int scorer_new(struct scorer **out, const struct model *m, int max_tokens, struct err *err)
{
    if (!model_config(m)->score_head)
        return err_set(err, ERR_VALUE, "this model has no scalar head (score.weight): train one with rlaif reward");
    struct scorer *s = mem_alloc(1, sizeof *s);
    if (!s)
        return no_memory(err);
    s->m = m;
    s->max_tokens = max_tokens > 0 ? max_tokens : default_max_tokens(m, DTYPE_F32);
    *out = s;
    return 0;
}

float scorer_normalize(const struct scorer *s, float raw)
{
    const struct model_config *c = model_config(s->m);
    return (float)((raw - c->reward_mean) / (c->reward_std > 0 ? c->reward_std : 1));
}

/* Computes what waits; its scores are the ones before raw[end]. */
static int flush(struct scorer *s, float *raw, int end)
{
    if (s->waiting == 0)
        return 0;
    model_forward(s->ws, s->m, &s->forest);
    model_score(s->ws, raw + end - s->waiting, s->row, s->waiting);
    s->waiting = 0;
    forest_clear(&s->forest);
    return 0;
}

/* Adds text i; root is the segment of its prompt, or is made. */
static int add(struct scorer *s, const struct scored *t, int i, int *root, float *raw, struct err *err)
{
    const struct tokenizer *tok = model_tokenizer(s->m);
    bool same = i > 0 && t[i].prompt == t[i - 1].prompt && *root >= 0;
    s->ids.n = 0;
    int rc = encode_prompt(tok, &s->ids, t[i].prompt, err);
    int prompt = s->ids.n;
    if (rc == 0)
        rc = encode_completion(tok, &s->ids, t[i].prompt, t[i].completion, model_config(s->m), true, err);
    if (rc == 0)
        rc = model_check_length(model_config(s->m), s->ids.n, err);
    if (rc)
        return err_prefix(err, "text %d", i + 1);
    if (s->ids.n == prompt)
        return err_set(err, ERR_VALUE, "text %d has no tokens to score", i + 1);
    int need = s->ids.n - (same ? prompt : 0);
    if (s->waiting && s->forest.tokens.n + need > s->max_tokens) {
        flush(s, raw, i);
        same = false;
        need = s->ids.n;
    }
    rc = make_room(s, need, err);
    if (rc)
        return rc;
    if (!same)
        *root = prompt ? forest_add(&s->forest, -1, s->ids.id, prompt) : -1;
    if ((prompt && *root < 0) || forest_add(&s->forest, *root, s->ids.id + prompt, s->ids.n - prompt) < 0)
        return no_memory(err);
    s->row[s->waiting++] = s->forest.tokens.n - 1;
    return 0;
}

int scorer_texts(struct scorer *s, const struct scored *t, int n, float *raw, struct err *err)
{
    int root = -1;
    s->waiting = 0;
    forest_clear(&s->forest);
    int rc = n ? 0 : make_room(s, s->max_tokens, err);
    for (int i = 0; rc == 0 && i < n; i++)
        rc = add(s, t, i, &root, raw, err);
    return rc ? rc : flush(s, raw, n);
}

int scorer_reward(void *scorer, const struct rollout *r, int n, float *score, struct err *err)
{
    struct scorer *s = scorer;
    struct scored *t = mem_alloc((size_t)n + 1, sizeof *t);
    struct text *text = mem_alloc((size_t)n + 1, sizeof *text);
    int rc = t && text ? 0 : no_memory(err);
    for (int i = 0; rc == 0 && i < n; i++) {
        text[i].text = r[i].text;
        t[i] = (struct scored){&r[i].prompt->text, &text[i]};
    }
    if (rc == 0)
        rc = scorer_texts(s, t, n, score, err);
    for (int i = 0; rc == 0 && i < n; i++)
        score[i] = scorer_normalize(s, score[i]);
    scorer_rest(s);     // what training takes next can have its place
    free(t);
    free(text);
    return rc;
}
