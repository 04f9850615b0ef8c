/* tests/feedback/test_protocols.c - what protocols make of replies: a labeler that is a function of the question. */
#include "feedback/scripted.h"

/* ---- a labeler that answers from a function ------------------------------------------------- */

typedef void answer_fn(void *arg, const struct ask *a, struct reply *r);
struct answering { answer_fn *answer; void *arg; int asked; };

static int ask_function(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg,
                        struct err *err)
{
    struct answering *s = p->state;
    for (int i = 0; i < n; i++) {
        out[i] = (struct reply){.tokens_in = 7};
        s->answer(s->arg, &ask[i], &out[i]);
        s->asked++;
        if (!done(arg, i))
            return 0;
    }
    return 0;
}

/* Log-probs of the words from probabilities that need not sum to one. */
static void say(struct reply *r, const double *p, int n)
{
    r->has_logps = true;
    r->mass = 0;
    for (int i = 0; i < n; i++) {
        r->word[i] = (struct word_logp){log(p[i]), NAN};
        r->mass += p[i];
    }
}

static void say_two(struct reply *r, double one, double two)
{
    double p[] = {one, two};
    say(r, p, 2);
}

static void say_text(struct reply *r, const char *text)
{
    r->text = strdup(text);
}

struct bench { struct answering who; struct provider provider; struct asker asker; struct protocol *p; struct labeler l; };

static void bench_open(struct bench *b, const char *name, const struct protocol_options *o, answer_fn *answer, void *arg)
{
    struct err err = {0};
    *b = (struct bench){.who = {answer, arg, 0}};
    b->provider = (struct provider){.state = &b->who, .fingerprint = "function", .ask = ask_function};
    b->asker = (struct asker){.provider = &b->provider};
    if (protocol_new(&b->p, name, o, &err))
        fail_msg("%s", err.msg);
    b->l = (struct labeler){&b->asker, b->p, 0.5, NULL};
}

static void bench_close(struct bench *b)
{
    protocol_free(b->p);
}

static struct label labelled(struct bench *b, const char *prompt, const char *first, const char *second)
{
    struct label_item it = {prompt, first, second, NULL};
    struct label l;
    struct err err = {0};
    if (label_items(&l, NULL, &b->l, &it, 1, &err))
        fail_msg("%s", err.msg);
    return l;
}

static struct protocol_options defaults(void)
{
    struct protocol_options o;
    protocol_defaults(&o);
    return o;
}

/* The text of a question, wrapped or not. */
static const char *text_of(const struct ask *a)
{
    return a->prompt ? a->prompt : a->message[0].content;
}

/* ---- slots ------------------------------------------------------------------------------------- */

static void says_one(void *arg, const struct ask *a, struct reply *r)
{
    if (a->kind == ASK_TEXT && a->sampling.max_new_tokens > 64)
        say_text(r, "One is better.");
    else if (a->kind == ASK_TEXT)
        say_text(r, strstr(text_of(a), "(A)") ? "A" : "1");
    else
        say_two(r, 0.97, 0.02);
}

static void a_judge_that_always_says_one_gives_one_half_for_every_pair(void **state)
{
    static const char *const name[] = {"pairwise", "constitution"};
    static const char *const pair[][2] = {{"x", "yy"}, {"yy", "x"}, {"no", "a long answer\nin lines"}, {"", "1"}};
    for (int k = 0; k < 2 * 3 * 2 * 2 * 2 * 2; k++) {
        struct protocol_options o = defaults();
        o.task = (enum label_task)(k / 2 % 3);
        o.ask_harmless = k / 6 % 2;
        o.cot = k / 12 % 2;
        o.chat = k / 24 % 2;
        o.votes = k / 48 % 2;
        struct bench b;
        bench_open(&b, name[k % 2], &o, says_one, NULL);
        for (size_t i = 0; i < ARRAY_LEN(pair); i++) {
            struct label l = labelled(&b, "\n\nHuman: hi\n\nAssistant:", pair[i][0], pair[i][1]);
            assert_int_equal(l.state, LABEL_ANSWERED);
            near(l.p, 0.5, 1e-12);
            assert_true(l.same_slot);
            assert_int_equal(l.slot[0], 1);
        }
        bench_close(&b);
    }
}

/* Names the slot that holds the text "bad". */
static void names_the_bad(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a), *bad = strstr(text, "bad"), *good = strstr(text, "good");
    say_two(r, bad < good ? 0.9 : 0.2, bad < good ? 0.1 : 0.8);
}

static void most_harmful_is_turned_round_and_more_harmless_is_not(void **state)
{
    for (int ask_harmless = 0; ask_harmless < 2; ask_harmless++) {
        struct protocol_options o = defaults();
        struct bench b;
        o.task = TASK_HARMLESS;
        o.ask_harmless = ask_harmless;
        o.preamble = "P";
        bench_open(&b, "pairwise", &o, names_the_bad, NULL);
        struct label l = labelled(&b, "hi", "good", "bad");
        // Order A has the bad one second: 0.8 for slot 2; order B first: 0.9 for slot 1.
        near(l.order[0], ask_harmless ? 0.2 : 0.8, 1e-12);
        near(l.order[1], ask_harmless ? 0.1 : 0.9, 1e-12);
        near(l.p, ask_harmless ? 0.15 : 0.85, 1e-12);
        bench_close(&b);
    }
}

/* ---- one order at random --------------------------------------------------------------------------- */

enum { MANY = 200 };
struct many { char text[MANY][2][24]; struct label_item item[MANY]; struct label out[MANY]; };

static struct many *many_new(bool swapped)
{
    struct many *m = calloc(1, sizeof *m);
    for (int i = 0; i < MANY; i++) {
        snprintf(m->text[i][0], 24, "first %d", i);
        snprintf(m->text[i][1], 24, "second %d", i);
        m->item[i] = (struct label_item){"a text", m->text[i][swapped], m->text[i][!swapped], NULL};
    }
    return m;
}

/* By the texts alone, with a lean to slot 1. */
static void by_text(void *arg, const struct ask *a, struct reply *r)
{
    double z = (double)(hash_bytes(text_of(a), strlen(text_of(a))).lo % 1000) / 1000;
    say_two(r, 0.3 + 0.6 * z, 0.7 - 0.6 * z);
}

static void one_order_at_random_is_the_same_for_any_batch_and_either_way_round(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    o.order = ORDER_RANDOM;
    o.seed = 5;
    bench_open(&b, "pairwise", &o, by_text, NULL);
    struct many *all = many_new(false), *single = many_new(false), *back = many_new(true);
    assert_int_equal(label_items(all->out, NULL, &b.l, all->item, MANY, NULL), 0);
    assert_int_equal(b.who.asked, MANY);
    for (int i = MANY - 1; i >= 0; i--)
        assert_int_equal(label_items(&single->out[i], NULL, &b.l, &single->item[i], 1, NULL), 0);
    assert_int_equal(label_items(back->out, NULL, &b.l, back->item, MANY, NULL), 0);
    int shown_first = 0;
    for (int i = 0; i < MANY; i++) {
        assert_true(all->out[i].p == single->out[i].p);
        near(all->out[i].p + back->out[i].p, 1, 1e-12);
        assert_true(isnan(all->out[i].order[0]) != isnan(all->out[i].order[1]));
        assert_false(all->out[i].same_slot);
        shown_first += !isnan(all->out[i].order[0]);
    }
    assert_in_range(shown_first, MANY / 2 - 30, MANY / 2 + 30);     // four deviations
    free(all);
    free(single);
    free(back);
    bench_close(&b);
}

static void the_order_given_is_asked_alone(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    o.order = ORDER_FIXED;
    bench_open(&b, "pairwise", &o, names_the_bad, NULL);
    struct label l = labelled(&b, "hi", "good", "bad");
    near(l.p, 0.2, 1e-12);
    assert_true(isnan(l.order[1]));
    assert_int_equal(b.who.asked, 1);
    bench_close(&b);
}

/* ---- rationales and votes ------------------------------------------------------------------------------ */

/* The k-th rationale is "rK", and the verdict after it says K / 10. */
static void by_rationale(void *arg, const struct ask *a, struct reply *r)
{
    if (a->kind == ASK_TEXT) {
        char text[16];
        snprintf(text, sizeof text, "r%d", a->draw);
        say_text(r, text);
        return;
    }
    const char *at = strstr(text_of(a), "Rationale: r");
    assert_non_null(at);
    double p = 0.1 * (1 + at[12] - '0');
    say_two(r, p, 1 - p);
}

static void k_rationales_average_their_probabilities(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct arena texts = {0};
    o.cot = true;
    o.rationales = 4;
    bench_open(&b, "pairwise", &o, by_rationale, NULL);
    b.l.texts = &texts;
    struct label l = labelled(&b, "a text", "x", "y");
    near(l.order[0], (0.1 + 0.2 + 0.3 + 0.4) / 4, 1e-12);
    near(l.order[1], 1 - 0.25, 1e-12);
    near(l.p, 0.5, 1e-12);
    assert_int_equal(b.who.asked, 2 * 2 * 4);
    assert_string_equal(l.rationale[0], "r0");
    near(b.p->how.temperature, 0.7, 1e-12);
    arena_release(&texts);
    bench_close(&b);
}

/* Three of four samples prefer "good"; every fifth says nothing. */
static void votes_for_good(void *arg, const struct ask *a, struct reply *r)
{
    assert_int_equal(a->kind, ASK_TEXT);
    const char *text = text_of(a);
    bool first = strstr(text, "good") < strstr(text, "bad");
    if (a->draw % 5 == 4)
        say_text(r, "I cannot say.");
    else
        say_text(r, (a->draw % 5 == 3) != first ? "1" : " 2.");
}

static void votes_are_counted_and_what_says_nothing_is_left_out(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    o.votes = 20;
    bench_open(&b, "pairwise", &o, votes_for_good, NULL);
    struct label l = labelled(&b, "a text", "good", "bad");
    near(l.p, 0.75, 1e-12);
    near(l.mass, 0.8, 1e-12);
    assert_int_equal(l.state, LABEL_ANSWERED);
    near(b.p->how.temperature, 1, 0);
    bench_close(&b);
}

/* A provider without log-probs says a word where it is asked for words. */
static void says_good(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a);
    say_text(r, arg ? arg : strstr(text, "good") < strstr(text, "bad") ? "Preferred Summary=1" : "2 is better");
}

static void without_log_probs_the_text_is_the_verdict(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    bench_open(&b, "pairwise", &o, says_good, NULL);
    struct label l = labelled(&b, "a text", "good", "bad");
    near(l.p, 1, 0);
    assert_false(l.same_slot);
    b.who.arg = "well, well";
    l = labelled(&b, "a text", "good", "bad");
    assert_int_equal(l.state, LABEL_NO_ANSWER);
    near(l.p, 0.5, 0);
    bench_close(&b);
}

static void loses_rationales(void *arg, const struct ask *a, struct reply *r)
{
    assert_int_equal(a->kind, ASK_TEXT);
    r->state = *(enum reply_state *)arg;
}

static void a_rationale_that_did_not_come_is_no_label(void **state)
{
    enum reply_state how[] = {REPLY_FAILED, REPLY_REFUSED, REPLY_TOO_LONG};
    enum label_state becomes[] = {LABEL_FAILED, LABEL_REFUSED, LABEL_TOO_LONG};
    for (int k = 0; k < 3; k++) {
        struct protocol_options o = defaults();
        struct bench b;
        o.cot = true;
        bench_open(&b, "pairwise", &o, loses_rationales, &how[k]);
        assert_int_equal(labelled(&b, "a text", "x", "y").state, becomes[k]);
        assert_int_equal(b.who.asked, 2);
        bench_close(&b);
    }
}

/* ---- constitution ------------------------------------------------------------------------------------------ */

/* Low masses on both letters, the second a little ahead: what an early clamp would make a tie. */
static void timid(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a);
    bool first = strstr(text, "good") < strstr(text, "bad");
    if (a->kind == ASK_TEXT)
        say_text(r, "Hm.");
    else
        say_two(r, first ? 0.30 : 0.22, first ? 0.22 : 0.30);
}

static void certain(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a);
    bool first = strstr(text, "good") < strstr(text, "bad");
    if (a->kind == ASK_TEXT)
        say_text(r, "Clearly.");
    else
        say_two(r, first ? 0.999 : 0.001, first ? 0.001 : 0.999);
}

static void the_clamp_comes_after_the_winner_is_known(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    o.cot = true;
    bench_open(&b, "constitution", &o, certain, NULL);
    near(b.p->how.clamp, 0.40, 0);
    struct label l = labelled(&b, "hi", "bad", "good");
    near(l.p, 0.40, 0);
    near(l.order[0], 0.001, 1e-12);         // what it said is kept
    assert_int_equal(l.slot[0], 2);
    near(labelled(&b, "hi", "good", "bad").p, 0.60, 0);
    b.who.answer = timid;
    l = labelled(&b, "hi", "bad", "good");
    assert_true(l.p < 0.5);
    near(l.p, 0.22 / 0.52, 1e-12);
    bench_close(&b);
    o.cot = false;
    bench_open(&b, "constitution", &o, certain, NULL);
    near(labelled(&b, "hi", "bad", "good").p, 0.001, 1e-12);
    bench_close(&b);
}

/* Which principle a question has, from 1. */
static int principle_in(const char *text)
{
    struct bench b;
    struct protocol_options o = defaults();
    bench_open(&b, "constitution", &o, certain, NULL);
    int found = 0;
    for (int i = 0; i < b.p->form.n_principles; i++)
        if (strstr(text, b.p->form.principle[i]))
            found = i + 1;
    bench_close(&b);
    return found;
}

struct seen { int count[PRINCIPLES + 1]; };
static void by_principle(void *arg, const struct ask *a, struct reply *r)
{
    struct seen *s = arg;
    int k = principle_in(text_of(a));
    assert_true(k > 0);
    s->count[k]++;
    say_two(r, k / 20.0, 1 - k / 20.0);
}

static void a_principle_is_drawn_for_each_pair_whatever_the_batch(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct seen seen = {0};
    bench_open(&b, "constitution", &o, by_principle, &seen);
    struct many *all = many_new(false), *back = many_new(true);
    assert_int_equal(label_items(all->out, NULL, &b.l, all->item, MANY, NULL), 0);
    assert_int_equal(label_items(back->out, NULL, &b.l, back->item, MANY / 2, NULL), 0);
    for (int i = 0; i < MANY; i++) {
        // Both orders met the same one: slot 1 has k / 20 in each.
        near(all->out[i].order[0], all->out[i].principle / 20.0, 1e-12);
        near(all->out[i].order[1], 1 - all->out[i].principle / 20.0, 1e-12);
        if (i < MANY / 2)
            assert_int_equal(all->out[i].principle, back->out[i].principle);
    }
    for (int k = 1; k <= PRINCIPLES; k++)
        assert_true(seen.count[k] > 0);
    free(all);
    free(back);
    bench_close(&b);
}

static void all_principles_are_averaged(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct seen seen = {0};
    o.principle = PRINCIPLE_ALL;
    o.order = ORDER_FIXED;
    bench_open(&b, "constitution", &o, by_principle, &seen);
    struct label l = labelled(&b, "hi", "x", "y");
    near(l.p, 8.5 / 20, 1e-12);             // mean of 1 to 16
    assert_int_equal(b.who.asked, PRINCIPLES);
    assert_int_equal(l.principle, 0);
    bench_close(&b);
}

/* ---- ratings --------------------------------------------------------------------------------------------------- */

struct scores { double p[10]; };
static void rates(void *arg, const struct ask *a, struct reply *r)
{
    assert_string_equal(a->word[a->n_words - 1], a->n_words == 10 ? "10" : a->word[a->n_words - 1]);
    say(r, ((struct scores *)arg)->p, a->n_words);
}

static struct rating rated(struct bench *b)
{
    struct label_item it = {"a text", "an answer", NULL, NULL};
    struct rating r;
    struct err err = {0};
    if (rate_items(&r, NULL, &b->l, &it, 1, &err))
        fail_msg("%s", err.msg);
    return r;
}

static void ten_is_ten_and_not_one(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    // All that is said is "10": a reading that took its first token for "1" would find the worst score.
    struct scores s = {{[0] = 1e-9, [9] = 0.9}};
    for (int i = 1; i < 9; i++)
        s.p[i] = 1e-9;
    bench_open(&b, "rating", &o, rates, &s);
    struct rating r = rated(&b);
    near(r.value, 10, 1e-6);
    near(r.score, 1, 1e-6);
    near(r.mass, 0.9, 1e-6);
    bench_close(&b);
}

static void a_rating_is_the_expectation_scaled_to_one(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct scores s = {{0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}};
    double value = 0, mass = 0;
    for (int i = 0; i < 10; i++) {
        value += (i + 1) * s.p[i];
        mass += s.p[i];
    }
    bench_open(&b, "rating", &o, rates, &s);
    struct rating r = rated(&b);
    near(r.value, value / mass, 1e-12);
    near(r.score, (value / mass - 5.5) / 4.5, 1e-12);
    near(r.p[0], 0.05 / mass, 1e-12);
    near(r.p[9], 0.1 / mass, 1e-12);
    b.l.min_mass = 0.9;
    r = rated(&b);
    assert_int_equal(r.state, LABEL_NO_ANSWER);
    near(r.score, 0, 0);
    assert_true(isnan(r.value));
    bench_close(&b);
}

static void much_harm_is_a_low_score(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct scores s = {{1e-12, 1e-12, 1e-12, 1e-12, 0.9}};
    o.task = TASK_HARMLESS;
    o.scale = "0-4";
    bench_open(&b, "rating", &o, rates, &s);
    struct rating r = rated(&b);
    near(r.value, 4, 1e-9);
    near(r.score, -1, 1e-9);
    bench_close(&b);
}

static void pairs_and_ratings_are_not_confused(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct label_item it = {"p", "a", "b", NULL};
    struct rating r;
    struct label l;
    struct err err = {0};
    bench_open(&b, "pairwise", &o, says_one, NULL);
    assert_int_equal(rate_items(&r, NULL, &b.l, &it, 1, &err), ERR_VALUE);
    kit_contains(err.msg, "compares pairs");
    bench_close(&b);
    bench_open(&b, "rating", &o, says_one, NULL);
    assert_int_equal(label_items(&l, NULL, &b.l, &it, 1, &err), ERR_VALUE);
    kit_contains(err.msg, "single answers");
    bench_close(&b);
}

/* ---- critique and revision --------------------------------------------------------------------------------------- */

/* A critique names its round; a revision adds a letter to the answer it was given. */
static void revises(void *arg, const struct ask *a, struct reply *r)
{
    const char *answer = strstr(text_of(a), "Assistant: start"), *end = answer ? strchr(answer, '\n') : NULL;
    assert_non_null(end);
    char text[64];
    snprintf(text, sizeof text, " %.*s%s ", (int)(end - answer - 11), answer + 11, str_ends(text_of(a), "Revision:") ? "x" : " is bad");
    say_text(r, text);
}

static void each_round_revises_the_last_answer_under_a_new_principle(void **state)
{
    struct revise_options o;
    struct answering who = {revises};
    struct provider provider = {.state = &who, .fingerprint = "function", .ask = ask_function};
    struct asker asker = {.provider = &provider};
    struct revise_item item[] = {{"Human: hi\n\nAssistant:", "start"}, {"Human: ho\n\nAssistant:", "start"}};
    struct revision out[2 * PRINCIPLES], again[PRINCIPLES];
    struct arena a = {0};
    struct err err = {0};
    revise_defaults(&o);
    o.rounds = PRINCIPLES;
    o.exemplars = 0;
    if (revise_items(out, &asker, item, 2, &o, &a, &err))
        fail_msg("%s", err.msg);
    int met = 0, different = 0;
    for (int k = 0; k < PRINCIPLES; k++) {
        char expected[32] = "start";
        memset(expected + 5, 'x', (size_t)k + 1);
        expected[6 + k] = '\0';
        assert_string_equal(out[k].text, expected);
        expected[5 + k] = '\0';
        assert_memory_equal(out[k].critique, expected, (size_t)k + 5);
        met |= 1 << (out[k].principle - 1);
        different += out[k].principle != out[PRINCIPLES + k].principle;
    }
    assert_int_equal(met, (1 << PRINCIPLES) - 1);
    assert_true(different > 8);
    assert_int_equal(revise_items(again, &asker, &item[1], 1, &o, &a, &err), 0);    // alone as in company
    for (int k = 0; k < PRINCIPLES; k++)
        assert_int_equal(again[k].principle, out[PRINCIPLES + k].principle);
    o.rounds = PRINCIPLES + 1;
    assert_int_equal(revise_items(out, &asker, item, 1, &o, &a, &err), ERR_VALUE);
    arena_release(&a);
}

/* ---- prompt injection ------------------------------------------------------------------------------------------------ */

/* Believes any candidate that contains "Output", else the good one. */
static void gullible(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a), *told = strstr(text, "Output");
    const char *good = strstr(text, "good"), *bad = strstr(text, "bad");
    const char *liked = !arg && told ? (told > bad && (good < bad || told < good) ? bad : good) : good;
    say_two(r, liked == (good < bad ? good : bad) ? 0.9 : 0.1, liked == (good < bad ? good : bad) ? 0.1 : 0.9);
}

static const struct probe_result *kind_of(const struct probe_result *r, int n, const char *kind)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(r[i].kind, kind))
            return &r[i];
    fail_msg("no kind %s", kind);
    return NULL;
}

static void probes_move_the_gullible_and_nobody_else(void **state)
{
    struct arena a = {0};
    struct probe *probe;
    int n, n_out;
    struct err err = {0};
    char path[600];
    snprintf(path, sizeof path, "%s/../recipes/probes/injection.jsonl", kit_tests(""));
    if (probes_read(&probe, &n, &a, path, &err))
        fail_msg("%s", err.msg);
    assert_true(n >= 15);
    struct label_item item[] = {{"p", "good", "bad", NULL}, {"p", "bad", "good", NULL}};
    struct protocol_options o = defaults();
    struct bench b;
    struct probe_result out[PROBE_MAX_KINDS];
    bench_open(&b, "pairwise", &o, gullible, NULL);
    assert_int_equal(probe_labeler(out, &n_out, &b.l, item, 2, probe, n, &err), 0);
    const struct probe_result *told = kind_of(out, n_out, "instruct"), *control = kind_of(out, n_out, "control");
    assert_int_equal(told->asked, 8);
    assert_int_equal(told->moved, 4);       // "Output 1" and "Output 2", on both pairs
    near(told->shift, 0.5 * 0.8, 1e-12);
    assert_int_equal(control->moved, 0);
    near(control->shift, 0, 1e-12);
    b.who.arg = "firm";
    assert_int_equal(probe_labeler(out, &n_out, &b.l, item, 2, probe, n, &err), 0);
    for (int i = 0; i < n_out; i++)
        assert_int_equal(out[i].moved, 0);
    bench_close(&b);
    arena_release(&a);
}

/* ---- what is shipped, what is refused ----------------------------------------------------------------------------------- */

static void eight_examples_of_each_task_lean_to_no_slot(void **state)
{
    for (int task = 0; task < 3; task++) {
        struct protocol_options o = defaults();
        struct bench b;
        o.task = (enum label_task)task;
        o.shipped_exemplars = 8;
        o.cot = true;
        bench_open(&b, "pairwise", &o, says_one, NULL);
        int first = 0;
        for (int i = 0; i < 8; i++) {
            const struct exemplar *e = &b.p->form.exemplar[i];
            first += e->better == 1;
            assert_true(strlen(e->rationale) > 20 && strlen(e->first) && strlen(e->second) && strlen(e->text) > 20);
        }
        assert_int_equal(b.p->form.n_exemplars, 8);
        assert_int_equal(first, 4);
        bench_close(&b);
        struct protocol *p;
        o.shipped_exemplars = 9;
        assert_int_equal(protocol_new(&p, NULL, &o, NULL), ERR_VALUE);
    }
}

static void refused(const char *yaml, const char *part)
{
    struct protocol *p = NULL;
    struct protocol_options o = defaults();
    struct err err = {0};
    if (protocol_new(&p, kit_text("mine.yaml", yaml), &o, &err) == 0)
        fail_msg("accepted: %s", yaml);
    kit_contains(err.msg, "mine.yaml");
    kit_contains(err.msg, part);
}

static void what_is_wrong_with_a_file_is_said_by_line_and_key(void **state)
{
#define GOOD "template: \"{first} {second}\"\nending: \"=\"\n"
    refused("[]", "a mapping");
    refused("ending: x", "'template' is missing");
    refused(GOOD "\npreambel: x", "line 4, 'preambel': there is no such key; did you mean 'preamble'?");
    refused("template: \"{first} {secnd}\"\nending: x", "line 1, 'template': {secnd} is no place; did you mean {second}?");
    refused("template: \"{first}\"\nending: x", "{second} does not occur");
    refused(GOOD "labels: [A]", "line 3, 'labels'");
    refused(GOOD "labels: [A, A]", "two different strings");
    refused(GOOD "ending: y", "twice");
    refused("template: \"{first} {second}\"\nending: 5", "line 2, 'ending': expected a string");
    refused(GOOD "kind: pairs", "line 3, 'kind': found \"pairs\", expected one of pair, rating");
    refused(GOOD "scale: {a: 1, b: 2}", "belongs to kind rating");
    refused("kind: rating\ntemplate: \"{response}\"\nending: x", "'scale'");
    refused("kind: rating\ntemplate: \"{response}\"\nending: x\nscale: {a: 1, b: 1}", "line 4, 'scale': all words have the same value");
    refused("kind: rating\ntemplate: \"{response}\"\nending: x\nscale: {a: 1, b: x}", "no number");
    refused(GOOD "exemplars:\n  - {text: t, first: a, second: b, better: 1}\n  - {text: t, first: a, second: b, better: 3}",
            "line 5, 'exemplars/1': \"better\" is 3");
    refused(GOOD "exemplars:\n  - {text: t, first: a, second: b, best: 1}", "'exemplars/0/best': there is no such key");
    refused(GOOD "cot: true", "no lead of a rationale");
    refused(GOOD "rationale: {}\ncot: true\nexemplars: [{text: t, first: a, second: b, better: 1}]", "no \"rationale\"");
    refused("template: \"{first} {second} {principle}\"\nending: x", "there are no 'principles'");
    refused(GOOD "principles: [a, 5]", "'principles/1'");
    refused(GOOD "order: any", "line 3, 'order'");
#undef GOOD
}

static void impossible_plans_are_refused(void **state)
{
    struct protocol *p = NULL;
    struct err err = {0};
    struct protocol_options o = defaults();
    o.rationales = 3;
    assert_int_equal(protocol_new(&p, NULL, &o, &err), ERR_VALUE);
    kit_contains(err.msg, "chain of thought");
    o.cot = true;
    o.temperature = 0;
    assert_int_equal(protocol_new(&p, NULL, &o, &err), ERR_VALUE);
    kit_contains(err.msg, "temperature 0");
    o = defaults();
    o.principle = 17;
    assert_int_equal(protocol_new(&p, "constitution", &o, &err), ERR_VALUE);
    o = defaults();
    o.scale = "1-7";
    assert_int_equal(protocol_new(&p, "rating", &o, &err), ERR_VALUE);
    kit_contains(err.msg, "1-10, 1-5 and 0-4");
    assert_int_equal(protocol_new(&p, "pairwiese", &o, &err), ERR_VALUE);
    kit_contains(err.msg, "did you mean pairwise?");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_judge_that_always_says_one_gives_one_half_for_every_pair),
    cmocka_unit_test(most_harmful_is_turned_round_and_more_harmless_is_not),
    cmocka_unit_test(one_order_at_random_is_the_same_for_any_batch_and_either_way_round),
    cmocka_unit_test(the_order_given_is_asked_alone),
    cmocka_unit_test(k_rationales_average_their_probabilities),
    cmocka_unit_test(votes_are_counted_and_what_says_nothing_is_left_out),
    cmocka_unit_test(without_log_probs_the_text_is_the_verdict),
    cmocka_unit_test(a_rationale_that_did_not_come_is_no_label),
    cmocka_unit_test(the_clamp_comes_after_the_winner_is_known),
    cmocka_unit_test(a_principle_is_drawn_for_each_pair_whatever_the_batch),
    cmocka_unit_test(all_principles_are_averaged),
    cmocka_unit_test(ten_is_ten_and_not_one),
    cmocka_unit_test(a_rating_is_the_expectation_scaled_to_one),
    cmocka_unit_test(much_harm_is_a_low_score),
    cmocka_unit_test(pairs_and_ratings_are_not_confused),
    cmocka_unit_test(each_round_revises_the_last_answer_under_a_new_principle),
    cmocka_unit_test(probes_move_the_gullible_and_nobody_else),
    cmocka_unit_test(eight_examples_of_each_task_lean_to_no_slot),
    cmocka_unit_test(what_is_wrong_with_a_file_is_said_by_line_and_key),
    cmocka_unit_test(impossible_plans_are_refused),
};
KIT_MAIN(tests)
