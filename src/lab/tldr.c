/* lab/tldr.c - the world's data files: prompts, references, held-out prompts, and the truth
 * beside them.
 *
 * A post is drawn from (seed, part, index), so asking for more prompts leaves the first ones as
 * they were. */
#include "lab/oracle.h"

struct lab_tldr_options lab_tldr_defaults(void)
{
    return (struct lab_tldr_options){
        .seed = 1, .train_prompts = 1000, .sft_prompts = 1000, .eval_prompts = 400};
}

const char *lab_tldr_text(const char *prompt, size_t *n)
{
    static const char head[] = "\n\nPOST: ", tail[] = "\n\nTL;DR:";
    const char *from = strstr(prompt, head);
    const char *to = from ? strstr(from, tail) : NULL;
    from = to ? from + strlen(head) : prompt;
    *n = to ? (size_t)(to - from) : strlen(prompt);
    return from;
}

struct part { const char *name, *file; int count; bool reference; };
struct making {
    const struct world *w;
    struct rows_out truth;
    struct buf body, prompt, completion;
    uint64_t seed;
};

/* Post i of a part; its row goes to out, its facts to the truth. */
#define REPEAT 0.15   // of poor writers: enough for a reward model to meet repetition among SFT samples

static int write_post(struct making *m, struct rows_out *out, const struct part *part,
                      uint32_t stream, int i, struct err *err)
{
    struct post p;
    struct summary s;
    struct rng r;
    char id[96];
    snprintf(id, sizeof id, "tldr-%llu-%s-%05d", (unsigned long long)m->seed, part->name, i);
    rng_init(&r, m->seed, RNG_LAB, (uint64_t)i, 100 + stream);
    buf_clear(&m->body);
    buf_clear(&m->prompt);
    buf_clear(&m->completion);
    post_draw(&p, m->w, 4 + (int)rng_below(&r, 3), &r);
    post_write(&m->body, m->w, &p, &r);
    if (m->body.failed)
        return err_set(err, ERR_MEMORY, "writing post %s", id);
    post_prompt(&m->prompt, m->w, &p, m->body.s, &r);
    /* Careless writers are in the majority, as they are on a forum: there is much that a policy
     * can do better. */
    static const enum writer who[] = {WRITER_GOOD, WRITER_FAIR, WRITER_FAIR,
                                      WRITER_POOR, WRITER_POOR, WRITER_POOR};
    summary_draw(&s, m->w, &p, who[rng_below(&r, ARRAY_LEN(who))], REPEAT, &r);
    buf_adds(&m->completion, " ");
    lab_summary_write(&m->completion, m->w, &p, &s, MARKS_NONE);
    json_t *truth = truth_row(id, m->w, &p, &r);
    json_t *row = m->prompt.failed || m->completion.failed ? NULL
                  : part->reference ? json_pack("{s:s,s:s,s:s}", "id", id, "prompt", m->prompt.s,
                                                "completion", m->completion.s)
                                    : json_pack("{s:s,s:s}", "id", id, "prompt", m->prompt.s);
    int rc = truth && row ? rows_out_add(&m->truth, truth, err)
                          : err_set(err, ERR_MEMORY, "writing post %s", id);
    if (rc == 0)
        rc = rows_out_add(out, row, err);
    json_decref(truth);
    json_decref(row);
    return rc;
}

static int write_part(struct making *m, const char *dir, const struct part *part, uint32_t stream,
                      struct err *err)
{
    struct rows_out out = {0};
    char *path = path_join(dir, part->file);
    int rc = path ? rows_out_open(&out, path, err)
                  : err_set(err, ERR_MEMORY, "writing %s/%s", dir, part->file);
    for (int i = 0; rc == 0 && i < part->count; i++)
        rc = write_post(m, &out, part, stream, i, err);
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    free(path);
    return rc;
}

int lab_tldr_generate(const char *dir, const struct lab_tldr_options *o, struct err *err)
{
    const struct part part[] = {{"train", "prompts.jsonl", o->train_prompts, false},
                                {"sft", "sft.jsonl", o->sft_prompts, true},
                                {"eval", "eval.jsonl", o->eval_prompts, true}};
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        if (part[i].count < 1 || part[i].count > 1000000)
            return err_set(err, ERR_VALUE, "%s_prompts: expected 1 to 1000000, found %d",
                           part[i].name, part[i].count);
    struct world *w = world_new();
    struct making m = {.w = w, .seed = o->seed};
    char *path = path_join(dir, "truth.jsonl");
    int rc = w && path ? dir_make(dir, err) : err_set(err, ERR_MEMORY, "building the lab's world");
    if (rc == 0)
        rc = rows_out_open(&m.truth, path, err);
    for (uint32_t i = 0; rc == 0 && i < ARRAY_LEN(part); i++)
        rc = write_part(&m, dir, &part[i], i, err);
    if (rc == 0)
        rc = rows_out_commit(&m.truth, err);
    rows_out_close(&m.truth);
    buf_release(&m.body);
    buf_release(&m.prompt);
    buf_release(&m.completion);
    world_free(w);
    free(path);
    return rc;
}
