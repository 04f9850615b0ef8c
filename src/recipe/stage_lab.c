/* recipe/stage_lab.c - `rlaif lab`: the written worlds, what their models learn from, and their
 * judges.
 *
 *     --make data         prompts.jsonl, sft.jsonl, eval.jsonl and truth.jsonl into a folder
 *     --make tokenizer    the tokenizer of the lab models into a folder
 *     --make newborn      a model folder with fresh weights (and its tokenizer) for the SFT trainer to start from
 *     --make grown        a model folder like --input with --more_layers that change nothing until they are trained
 *     --make corpus       rows for `rlaif sft`: what a lab model reads
 *     --make published    a trained model copied to its place, with a manifest of what it has seen
 *     --make score        oracle scores of {"id","completion"} rows, the panel's vote on {"id","chosen","rejected"} rows */
#include <math.h>

#include "data/data.h"
#include "feedback/feedback.h"
#include "lab/lab.h"
#include "recipe/lab_publish.h"

static const struct option options[] = {
    { "world", OPT_CHOICE, "tldr", "which world", "tldr", false },
    { "make", OPT_CHOICE, "data", "what to make of it", "data|tokenizer|newborn|grown|corpus|published|score", false },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "data, tokenizer, newborn, grown and published: the folder", NULL, false },
    { "output", OPT_OUTPUT, NULL, "corpus and score: the file", NULL, false },
    { "seed", OPT_INT, "1", "everything drawn is a function of it", NULL, false },
    { "train_prompts", OPT_INT, "1500", "data: rows of prompts.jsonl", NULL, false },
    { "sft_prompts", OPT_INT, "2000", "data: rows of sft.jsonl", NULL, false },
    { "eval_prompts", OPT_INT, "400", "data: rows of eval.jsonl, held out", NULL, false },
    { "documents", OPT_INT, NULL, "corpus, and text for the tokenizer: how many documents", NULL, false },
    { "vocab_size", OPT_INT, "2000", "tokenizer: tokens", NULL, false },
    { "width", OPT_INT, "128", "newborn: width", NULL, false },
    { "layers", OPT_INT, "4", "newborn: layers", NULL, false },
    { "heads", OPT_INT, "4", "newborn: attention heads of 32", NULL, false },
    { "kv_heads", OPT_INT, "2", "newborn: heads of keys and values", NULL, false },
    { "more_layers", OPT_INT, "4", "grown: layers to add", NULL, false },
    { "ffn", OPT_INT, "384", "newborn: width of the feed-forward layer", NULL, false },
    { "facts_min", OPT_INT, "3", "corpus: facts of the shortest post", NULL, false },
    { "facts_max", OPT_INT, "6", "corpus: facts of the longest post", NULL, false },
    { "echo", OPT_FLOAT, NULL, "corpus: share of statements that are only repeated", NULL, false },
    { "tldr", OPT_FLOAT, NULL, "corpus: share of posts with a summary", NULL, false },
    { "marks", OPT_FLOAT, NULL, "corpus: share of summaries with a mark after each fact", NULL, false },
    { "rationale", OPT_FLOAT, NULL, "corpus: share of marked pairs with a verdict", NULL, false },
    { "verdict", OPT_FLOAT, NULL, "corpus: share of pairs with a verdict, as labelling prompts", NULL, false },
    { "plain", OPT_FLOAT, NULL, "corpus: share of posts and loose lines", NULL, false },
    { "first", OPT_FLOAT, NULL, "corpus: how a verdict leans to the first slot, in key facts", NULL, false },
    { "longer", OPT_FLOAT, NULL, "corpus: how it leans to the longer summary, in key facts per word", NULL, false },
    { "noise", OPT_FLOAT, NULL, "corpus: spread of the moods behind verdicts, in key facts", NULL, false },
    { "trained", OPT_INPUTS, NULL, "published: the folders of its trainings, in order", NULL, false },
    { "corpora", OPT_INPUTS, NULL, "published: the corpora they read", NULL, false },
    { "again", OPT_FLOAT, NULL, "corpus: what a repeated statement is worth to them (default: as much as the first time)", NULL, false },
    { "repeat", OPT_FLOAT, NULL, "corpus: chance that a poor writer repeats a statement", NULL, false },
    { "truth", OPT_INPUT, NULL, "score: the truth.jsonl of the world", NULL, false },
    { "input", OPT_INPUT, NULL, "grown: the smaller model; score: rows with id and completion, or id, chosen and rejected", NULL, false },
};

static int need(const json_t *opt, const char *name, struct err *err)
{
    return opt_given(opt, name) ? 0 : err_set(err, ERR_USAGE, "rlaif lab --make %s: --%s is needed",
                                              opt_str(opt, "make"), name);
}

/* An int option within bounds, so that a huge value is refused before it is used. */
static int bounded(int *out, const json_t *opt, const char *name, int64_t low, int64_t high,
                   struct err *err)
{
    if (!opt_given(opt, name))
        return 0;
    int64_t v = opt_int(opt, name);
    if (v < low || v > high)
        return err_set(err, ERR_USAGE, "--%s: expected %lld to %lld, found %lld", name,
                       (long long)low, (long long)high, (long long)v);
    *out = (int)v;
    return 0;
}

static int make_data(const json_t *opt, json_t *result, struct err *err)
{
    struct lab_tldr_options o = lab_tldr_defaults();
    o.seed = (uint64_t)opt_int(opt, "seed");
    int rc = need(opt, "output_dir", err);
    if (rc == 0)
        rc = bounded(&o.train_prompts, opt, "train_prompts", 1, 1000000, err);
    if (rc == 0)
        rc = bounded(&o.sft_prompts, opt, "sft_prompts", 1, 1000000, err);
    if (rc == 0)
        rc = bounded(&o.eval_prompts, opt, "eval_prompts", 1, 1000000, err);
    if (rc == 0)
        rc = lab_tldr_generate(opt_str(opt, "output_dir"), &o, err);
    if (rc)
        return rc;
    json_object_set_new(result, "train_prompts", json_integer(o.train_prompts));
    json_object_set_new(result, "sft_prompts", json_integer(o.sft_prompts));
    json_object_set_new(result, "eval_prompts", json_integer(o.eval_prompts));
    return 0;
}

static int write_tokenizer(struct lab_tokenizer_options *out, const json_t *opt, struct err *err)
{
    struct lab_tokenizer_options o = lab_tokenizer_defaults();
    int rc = need(opt, "output_dir", err);
    if (rc == 0)
        rc = bounded(&o.vocab_size, opt, "vocab_size", 512, 4096, err);
    if (rc == 0)
        rc = bounded(&o.documents, opt, "documents", 1, 1000000, err);
    if (rc == 0)
        rc = lab_tokenizer_write(opt_str(opt, "output_dir"), &o, err);
    *out = o;
    return rc;
}

/* The tokenizer does not follow --seed: all models of the lab share it. */
static int make_tokenizer(const json_t *opt, json_t *result, struct err *err)
{
    struct lab_tokenizer_options o;
    int rc = write_tokenizer(&o, opt, err);
    if (rc == 0)
        json_object_set_new(result, "vocab_size", json_integer(o.vocab_size));
    return rc;
}

static int make_newborn(const json_t *opt, json_t *result, struct err *err)
{
    struct lab_newborn s = {.seed = (uint64_t)opt_int(opt, "seed"), .head_size = 32};
    struct lab_tokenizer_options o;
    const struct {
        const char *name;
        int *value;
    } size[] = {{"width", &s.width},
                {"layers", &s.layers},
                {"heads", &s.heads},
                {"kv_heads", &s.kv_heads},
                {"ffn", &s.ffn}};
    int rc = write_tokenizer(&o, opt, err);
    s.vocab_size = o.vocab_size;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(size); i++)
        rc = bounded(size[i].value, opt, size[i].name, 1, 65536, err);
    if (rc == 0)
        rc = lab_newborn_write(opt_str(opt, "output_dir"), &s, err);
    if (rc == 0)
        json_object_set_new(result, "vocab_size", json_integer(s.vocab_size));
    return rc;
}

static int make_grown(const json_t *opt, json_t *result, struct err *err)
{
    int more = 0, rc = need(opt, "input", err);
    if (rc == 0)
        rc = need(opt, "output_dir", err);
    if (rc == 0)
        rc = bounded(&more, opt, "more_layers", 1, 64, err);
    if (rc == 0)
        rc = lab_grow(opt_str(opt, "output_dir"), opt_str(opt, "input"), more, err);
    if (rc == 0)
        json_object_set_new(result, "more_layers", json_integer(more));
    return rc;
}

static int render_with_feedback(void *arg, struct buf *b, const char *prompt, const char *one,
                                const char *two)
{
    return feedback_render_pair(b, arg, prompt, one, two);
}

static int read_corpus_options(struct lab_corpus_options *o, const json_t *opt, struct err *err)
{
    const struct { const char *name; double *value; } share[] = {
        {"echo", &o->echo}, {"tldr", &o->tldr}, {"marks", &o->marks}, {"rationale", &o->rationale}, {"verdict", &o->verdict},
        {"plain", &o->plain}, {"first", &o->first}, {"longer", &o->longer}, {"noise", &o->noise}, {"again", &o->again},
        {"repeat", &o->repeat}};
    o->seed = (uint64_t)opt_int(opt, "seed");
    for (size_t i = 0; i < ARRAY_LEN(share); i++)
        if (opt_given(opt, share[i].name))
            *share[i].value = opt_float(opt, share[i].name);
    int rc = bounded(&o->documents, opt, "documents", 1, 10000000, err);
    if (rc == 0)
        rc = bounded(&o->facts_min, opt, "facts_min", 1, 6, err);
    if (rc == 0)
        rc = bounded(&o->facts_max, opt, "facts_max", 1, 6, err);
    return rc;
}

/* CORPUS.json beside a corpus: the options it was written with. */
static int note_options(const char *path, const struct lab_corpus_options *o, struct err *err)
{
    char *beside = str_printf("%s.json", path);
    json_t *v =
        json_pack("{s:I,s:i,s:i,s:i,s:{s:f,s:f,s:f,s:f,s:f,s:f},s:{s:f,s:f,s:f,s:o,s:f}}", "seed",
                  (json_int_t)o->seed, "documents", o->documents, "facts_min", o->facts_min,
                  "facts_max", o->facts_max, "shares", "echo", o->echo, "tldr", o->tldr, "marks",
                  o->marks, "rationale", o->rationale, "verdict", o->verdict, "plain", o->plain,
                  "people", "first", o->first, "longer", o->longer, "noise", o->noise, "again",
                  isnan(o->again) ? json_null() : json_real(o->again), "repeat", o->repeat);
    int rc = beside && v ? json_write_file(beside, v, err)
                         : err_set(err, ERR_MEMORY, "writing %s", path);
    json_decref(v);
    free(beside);
    return rc;
}

static int make_corpus(const json_t *opt, json_t *result, struct err *err)
{
    struct lab_corpus_options o = lab_corpus_defaults();
    struct protocol_options how;
    struct protocol *p = NULL;
    protocol_defaults(&how);
    how.preamble = LAB_TLDR_PREAMBLE;
    int rc = need(opt, "output", err);
    if (rc == 0)
        rc = read_corpus_options(&o, opt, err);
    if (rc == 0)
        rc = protocol_new(&p, NULL, &how, err);
    if (rc == 0) {
        o.render = render_with_feedback;
        o.render_arg = p;
        rc = lab_corpus_write(opt_str(opt, "output"), &o, err);
    }
    if (rc == 0)
        rc = note_options(opt_str(opt, "output"), &o, err);
    protocol_free(p);
    if (rc == 0)
        json_object_set_new(result, "documents", json_integer(o.documents));
    return rc;
}

static int make_published(const json_t *opt, json_t *result, struct err *err)
{
    int rc = need(opt, "output_dir", err);
    return rc ? rc
              : lab_publish(opt_str(opt, "output_dir"), opt_list(opt, "trained"),
                            opt_list(opt, "corpora"), result, err);
}

struct tally { int scored, voted, confident; double total, wins; };

static int score_row(json_t *row, const struct lab_truth *t, const char *where, struct tally *sum,
                     struct err *err)
{
    const char *id;
    const json_t *a = json_object_get(row, "chosen"), *b = json_object_get(row, "rejected");
    const json_t *text = json_object_get(row, "completion");
    int rc = json_get_str(row, "id", &id, where, err);
    if (rc == 0 && json_is_string(a) && json_is_string(b)) {
        struct lab_panel p;
        rc = lab_panel_vote(&p, t, id, json_string_value(a), json_string_value(b), 1, err);
        if (rc)
            return err_prefix(err, "%s", where);
        json_object_set_new(row, "preferred", json_integer(p.preferred));
        json_object_set_new(row, "confidence", json_real(p.confidence));
        json_object_set_new(row, "confident", json_boolean(p.confident));
        sum->voted++;
        sum->confident += p.confident;
        sum->wins += p.preferred == 1 ? 1 : p.preferred ? 0 : 0.5;
    } else if (rc == 0 && json_is_string(text)) {
        struct lab_score s;
        rc = lab_score_text(&s, t, id, json_string_value(text), err);
        if (rc)
            return err_prefix(err, "%s", where);
        json_object_set_new(row, "oracle",
                            json_pack("{s:f,s:i,s:i,s:i,s:i,s:i,s:i,s:f,s:f,s:i}", "total", s.total,
                                      "key", s.key, "minor", s.minor, "idle", s.idle, "invented",
                                      s.invented, "repeated", s.repeated, "stray", s.stray,
                                      "coverage", s.coverage, "fluency", s.fluency, "words",
                                      s.words));
        sum->scored++;
        sum->total += s.total;
    } else if (rc == 0) {
        rc = err_set(err, ERR_FORMAT, "%s: expected completion, or chosen and rejected, as strings",
                     where);
    }
    return rc;
}

static int score_rows(const struct rows *in, const struct lab_truth *t, struct rows_out *out,
                      struct tally *sum, struct err *err)
{
    for (int i = 0; i < in->n; i++) {
        char where[512];
        snprintf(where, sizeof where, "%s", rows_place(in, in->line[i]).s);
        int rc = score_row(in->row[i], t, where, sum, err);
        if (rc == 0)
            rc = rows_out_add(out, in->row[i], err);
        if (rc)
            return rc;
    }
    return rows_out_commit(out, err);
}

static int make_score(const json_t *opt, json_t *result, struct err *err)
{
    static const char *const needed[] = {"input", "truth", "output"};
    struct rows in = {0};
    struct rows_out out = {0};
    struct lab_truth *t = NULL;
    struct tally sum = {0};
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        int rc = need(opt, needed[i], err);
        if (rc)
            return rc;
    }
    int rc = lab_truth_open(&t, opt_str(opt, "truth"), err);
    if (rc == 0)
        rc = rows_read(&in, opt_str(opt, "input"), 0, err);
    if (rc == 0)
        rc = rows_out_open(&out, opt_str(opt, "output"), err);
    if (rc == 0)
        rc = score_rows(&in, t, &out, &sum, err);
    rows_out_close(&out);
    rows_release(&in);
    lab_truth_free(t);
    if (rc)
        return rc;
    if (sum.scored) {
        json_object_set_new(result, "scored", json_integer(sum.scored));
        json_object_set_new(result, "oracle_mean", json_real(sum.total / sum.scored));
    }
    if (sum.voted) {
        json_object_set_new(result, "voted", json_integer(sum.voted));
        json_object_set_new(result, "confident", json_integer(sum.confident));
        json_object_set_new(result, "chosen_wins", json_real(sum.wins / sum.voted));
    }
    return 0;
}

static int run_lab(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    static const struct {
        const char *name;
        int (*make)(const json_t *, json_t *, struct err *);
    } what[] = {{"data", make_data},   {"tokenizer", make_tokenizer}, {"newborn", make_newborn},
                {"grown", make_grown}, {"corpus", make_corpus},       {"published", make_published},
                {"score", make_score}};
    (void)run;
    for (size_t i = 0; i < ARRAY_LEN(what); i++)
        if (!strcmp(opt_str(opt, "make"), what[i].name))
            return what[i].make(opt, result, err);
    BUG("a choice without a maker: %s", opt_str(opt, "make"));
}

const struct stage stage_lab = {
    .name = "lab",
    .summary = "write a small world whose truth is known: data, model corpora, oracle scores",
    .example = "rlaif lab --world tldr --output_dir runs/try/world --seed 1",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_lab,
};
