/* recipe/stage_cost.c - `rlaif cost`: what labels cost in tokens, seconds and money, beside a
 * person's wage for the same.
 *
 * A labelling shows what it took; a price table says what that costs at some model, whoever
 * labelled.  Without one, the cost is reckoned from tokens of a prompt and of a reply, as the
 * RLAIF paper does for its own run (appendix L; --example paper). */
#include <ctype.h>
#include <math.h>

#include "recipe/audit.h"

static const struct option options[] = {
    { "labels", OPT_INPUT, NULL, "labels.jsonl of `rlaif label`: what it took, and what 1,000 of them take", NULL, false },
    { "example", OPT_CHOICE, NULL, "reckon somebody's published example: the RLAIF paper's", "paper", false },
    { "price_table", OPT_INPUT, NULL, "YAML list of {model, input, cached_input, output}: dollars per million tokens", NULL, false },
    { "price_model", OPT_STRING, NULL, "whose price is taken from the table", NULL, false },
    { "tokens_in", OPT_FLOAT, NULL, "tokens of one prompt", NULL, false },
    { "tokens_out", OPT_FLOAT, "1", "tokens of one reply", NULL, false },
    { "orders", OPT_INT, "2", "questions for one label", NULL, false },
    { "pairs", OPT_INT, "1000", "labels wanted", NULL, false },
    { "input_price", OPT_FLOAT, NULL, "dollars per million tokens read", NULL, false },
    { "output_price", OPT_FLOAT, NULL, "dollars per million tokens written", NULL, false },
    { "words", OPT_FLOAT, NULL, "words that a person reads for one label (default: those of the rows)", NULL, false },
    { "wage", OPT_FLOAT, "0.11", "dollars that a person gets for 50 words (the RLAIF paper's figure)", NULL, false },
};

/* Of one label, all its questions together.  NaN: not known. */
struct took { double in, out, seconds, price, words; };

/* ---- a labelling ------------------------------------------------------------------------- */

static int count_words(const char *s)
{
    int n = 0;
    for (bool in = false; *s; s++) {
        bool space = isspace((unsigned char)*s);
        n += !space && !in;
        in = !space;
    }
    return n;
}

/* A text's words, or those of all messages of a conversation. */
static int words_of(const json_t *v)
{
    int n = 0;
    size_t i;
    json_t *m;
    json_array_foreach(v, i, m)
        n += words_of(json_object_get(m, "content"));
    return json_is_string(v) ? count_words(json_string_value(v)) : n;
}

static double add(double sum, const json_t *cost, const char *key)
{
    const json_t *v = json_object_get(cost, key);
    return json_is_number(v) ? sum + json_number_value(v) : sum;
}

static int took_of_labels(struct took *t, int *labels, const char *path, struct err *err)
{
    struct rows rows = { 0 };
    struct took sum = { 0 };
    int with_cost = 0, rc = rows_read(&rows, path, 0, err);
    for (int i = 0; rc == 0 && i < rows.n; i++) {
        const json_t *row = rows.row[i], *cost = json_object_get(row, "cost");
        if (!json_object_get(row, "label_first"))
            rc = err_set(err, ERR_FORMAT,
                         "%s: no label_first; expected labels.jsonl of `rlaif label`",
                         rows_place(&rows, rows.line[i]).s);
        with_cost += cost != NULL;
        sum.in = add(sum.in, cost, "tokens_in");
        sum.out = add(sum.out, cost, "tokens_out");
        sum.price = add(sum.price, cost, "price");
        sum.words += words_of(json_object_get(row, "prompt")) +
                     words_of(json_object_get(row, "first")) +
                     words_of(json_object_get(row, "second"));
    }
    if (rc == 0 && (!with_cost || !rows.n))
        rc = err_set(err, ERR_VALUE, "%s: no row has a `cost`, so nobody knows what it took", path);
    *labels = rows.n;
    json_t *results = rc == 0 ? label_results(path) : NULL;
    if (rc == 0)
        *t = (struct took){ sum.in / with_cost, sum.out / with_cost, seconds_per_label(results),
                            sum.price / with_cost, sum.words / rows.n };
    json_decref(results);
    rows_release(&rows);
    return rc;
}

/* ---- money ------------------------------------------------------------------------------- */

static int price_from(struct price *p, const json_t *opt, struct err *err)
{
    bool table = opt_given(opt, "price_table"), model = opt_given(opt, "price_model");
    bool in = opt_given(opt, "input_price"), out = opt_given(opt, "output_price");
    *p = (struct price){ NAN, NAN, NAN };
    if (table != model)
        return err_set(err, ERR_USAGE, "--price_table and --price_model go together");
    if (in != out)
        return err_set(err, ERR_USAGE, "--input_price and --output_price go together");
    if (table)
        return price_read(p, opt_str(opt, "price_table"), opt_str(opt, "price_model"), err);
    if (in)
        *p = (struct price){ opt_float(opt, "input_price"), opt_float(opt, "input_price"),
                             opt_float(opt, "output_price") };
    return !in || (p->input >= 0 && p->output >= 0)
               ? 0
               : err_set(err, ERR_USAGE, "prices are dollars per million tokens, 0 or more");
}

/* At a table's price every token counts as read anew: what a cache of theirs would save is not
 * known here. */
static double money(const struct took *t, const struct price *p)
{
    if (isnan(p->input))
        return t->price;
    return 1e-6 * (p->input * t->in + p->output * t->out);
}

/* Lee et al. 2023, appendix L: two orders of 830 tokens and a rationale of 61, at 30 and 60
 * dollars per million; 304 words. */
static const struct { struct took took; struct price price; double wage; } paper = {
    { 2 * 830, 2 * 61, NAN, NAN, 304 }, { 30, 30, 60 }, 0.11
};

static int reckon(struct took *t, struct price *p, double *wage, int *labels, const json_t *opt,
                  struct err *err)
{
    double orders = (double)opt_int(opt, "orders");
    *wage = opt_float(opt, "wage");
    *labels = (int)opt_int(opt, "pairs");
    if (opt_given(opt, "example")) {
        *t = paper.took;
        *p = paper.price;
        *wage = paper.wage;
        return 0;
    }
    int rc = price_from(p, opt, err);
    if (rc)
        return rc;
    if (opt_given(opt, "labels"))
        rc = took_of_labels(t, labels, opt_str(opt, "labels"), err);
    else if (opt_given(opt, "tokens_in"))
        *t = (struct took){ orders * opt_float(opt, "tokens_in"),
                            orders * opt_float(opt, "tokens_out"), NAN, NAN, NAN };
    else
        return err_set(err, ERR_USAGE,
                       "cost needs --labels FILE, --tokens_in N, or --example paper");
    if (rc == 0 && opt_given(opt, "words"))
        t->words = opt_float(opt, "words");
    bool positive = *labels > 0 && orders > 0 && t->in >= 0 && t->out >= 0 && *wage >= 0;
    return rc || positive
               ? rc
               : err_set(err, ERR_USAGE, "tokens, orders, pairs and wage must not be negative");
}

static int run_cost(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct took t = { 0 };
    struct price p;
    double wage;
    int labels, rc = reckon(&t, &p, &wage, &labels, opt, err);
    if (rc)
        return rc;
    double dollars = money(&t, &p), person = t.words * wage / 50;
    set_number(result, "labels", labels);
    set_number(result, "tokens_in_per_label", t.in);
    set_number(result, "tokens_out_per_label", t.out);
    set_number(result, "seconds_per_label", t.seconds);
    set_number(result, "dollars_per_label", dollars);
    set_number(result, "dollars_per_thousand", 1000 * dollars);
    set_number(result, "dollars_all", labels * dollars);
    set_number(result, "words_per_label", t.words);
    set_number(result, "person_dollars_per_label", person);
    set_number(result, "person_times", dollars > 0 ? person / dollars : NAN);
    return 0;
}

static void print_cost(const json_t *r, FILE *to)
{
    static const struct { const char *key, *what; int digits; } line[] = {
        { "labels", "labels", 0 }, { "tokens_in_per_label", "tokens read per label", 1 }, { "tokens_out_per_label", "tokens written per label", 1 }, { "seconds_per_label", "seconds per label", 3 },
        { "dollars_per_label", "dollars per label", 4 }, { "dollars_per_thousand", "dollars per 1,000 labels", 2 },
        { "dollars_all", "dollars for all", 2 }, { "words_per_label", "words a person reads per label", 0 },
        { "person_dollars_per_label", "dollars to a person per label", 2 }, { "person_times", "a person costs so many times as much", 1 } };
    for (size_t i = 0; i < ARRAY_LEN(line); i++) {
        const json_t *v = json_object_get(r, line[i].key);
        if (json_is_number(v))
            fprintf(to, "%-38s %14.*f\n", line[i].what, line[i].digits, json_number_value(v));
    }
}

const struct stage stage_cost = {
    .name = "cost",
    .summary = "what labels cost in tokens, seconds and money, beside a person's wage",
    .example = "rlaif cost --example paper",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_cost,
    .print = print_cost,
};
