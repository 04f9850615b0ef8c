/* tests/feedback/test_stylish.c - a judge of style, scripted: hybrid feedback against its plain preference.
 *
 * The world is arithmetic and multiple choice with a known truth: of each prompt's four answers two are right, one of them
 * long, and two wrong, one of them long.  The judge prefers the longer answer with probability q and the right one
 * otherwise; asked whether an answer is right it errs with probability e (docs/hybrid.md). */
#include <math.h>

#include "feedback/feedback.h"
#include "kit/kit.h"

enum { PROMPTS = 60, K = 4 };
struct judge { double style, error; int asked, checks, comparisons, texts; const char *last_text; };

static double chance(const char *text, uint64_t salt)
{
    struct rng r;
    rng_init(&r, salt, RNG_TEST, hash_bytes(text, strlen(text)).lo, 0);
    return rng_uniform(&r);
}

/* The answer between `from` and `to`. */
static char *between(const char *s, const char *from, const char *to)
{
    const char *last = NULL;
    for (const char *p = s; (p = strstr(p, from)); p++)
        last = p;
    if (!last)
        fail_msg("no \"%s\" in: %s", from, s);
    last += strlen(from);
    const char *end = to ? strstr(last, to) : NULL;
    return strndup(last, end ? (size_t)(end - last) : strlen(last));
}

/* The truth is written into the answers: wrong ones are off by one. */
static bool is_right(const char *answer)
{
    return !strstr(answer, "(off)");
}

static struct reply words_reply(const struct ask *ask, double p)
{
    struct reply r = {.has_logps = true, .mass = 0.98, .tokens_in = 10};
    for (int k = 0; k < ask->n_words; k++)
        r.word[k] = (struct word_logp){log(k < 2 ? 0.98 * (k ? 1 - p : p) : 1e-9), NAN};
    return r;
}

static int judge_ask(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg, struct err *err)
{
    struct judge *j = p->state;
    for (int i = 0; i < n; i++) {
        const char *q = ask[i].prompt;
        j->asked++;
        if (ask[i].kind == ASK_TEXT) {
            j->texts++;
            out[i] = (struct reply){.text = strdup(ask[i].draw % 3 == 2 ? "I lost my way." : ask[i].draw % 4 == 1 ? "#### 7" : "#### 12")};
        } else if (!strcmp(ask[i].word[0], "yes")) {
            bool shown = strstr(q, "Known answer:");
            char *a = between(q, "The solution: ", "\n\n");
            j->checks++;
            bool yes = is_right(a) != (chance(a, shown) < (shown ? j->error / 4 : j->error));
            out[i] = words_reply(&ask[i], yes ? 0.9 : 0.1);
            free(a);
        } else {
            char *one = between(q, "\nResponse 1 - ", "\nResponse 2 - "), *two = between(q, "\nResponse 2 - ", "\nPreferred Response=");
            j->comparisons++;
            char *both = strcmp(one, two) < 0 ? str_printf("%s|%s", one, two) : str_printf("%s|%s", two, one);
            bool style = chance(both, 7) < j->style || is_right(one) == is_right(two);
            bool first = style ? strlen(one) > strlen(two) : is_right(one);
            out[i] = words_reply(&ask[i], first ? 0.8 : 0.2);
            free(both);
            free(one);
            free(two);
        }
        if (!done(arg, i))
            break;
    }
    return 0;
}

/* Rows of the world.  with_reference false: the row says nothing about the truth but `correct`. */
static const char *world(const char *name, bool with_reference)
{
    struct buf b = {0};
    for (int i = 0; i < PROMPTS; i++) {
        int x = 11 + i, y = 5 + 3 * i, sum = x + y;
        bool choice = i % 2;
        json_t *row = json_object(), *list = json_array();
        json_object_set_new(row, "prompt", choice ? json_sprintf("What is %d + %d?\nA. %d\nB. %d\nC. %d", x, y, sum + 1, sum, sum + 2)
                                                  : json_sprintf("What is %d + %d?", x, y));
        json_object_set_new(row, "category", json_string(choice ? "multiple choice" : "math"));
        for (int k = 0; k < K; k++) {
            bool right = k == 0 || k == 3, length = k % 2;
            char number[16];
            snprintf(number, sizeof number, "%d", sum + !right);
            json_array_append_new(list, json_sprintf("%s%sThe answer is %s", length ? "What a delightful question, let me think with care about "
                                  "every part of it, for numbers deserve our love" : "", right ? (length ? ". " : "") : " (off) ",
                                  choice ? right ? "B." : "A." : number));
        }
        json_object_set_new(row, "completions", list);
        json_object_set_new(row, "correct", json_pack("[b,b,b,b]", 1, 0, 0, 1));
        if (with_reference)
            json_object_set_new(row, "reference", choice ? json_string("B") : json_integer(sum));
        json_add_text(&b, row, 0);
        buf_adds(&b, "\n");
        json_decref(row);
    }
    const char *path = kit_text(name, b.s);
    buf_release(&b);
    return path;
}

struct outcome { double hybrid, plain; int wrong_pairs; };

static struct protocol *protocol(const char *preamble)
{
    struct protocol_options o;
    struct protocol *p = NULL;
    protocol_defaults(&o);
    o.task = TASK_HELPFUL;
    o.preamble = preamble;
    assert_int_equal(protocol_new(&p, NULL, &o, NULL), 0);
    return p;
}

/* Share of truly decided pairs in the right order, by ranks and by the plain arm. */
static struct outcome measure(const struct hybrid_set *s)
{
    struct outcome o = {0};
    int n[2] = {0};
    for (int i = 0; i < s->n; i++) {
        const struct hybrid_item *it = &s->item[i];
        struct hybrid_pair pair[K * K];
        for (int a = 0; a < K; a++)
            for (int b = 0; b < K; b++)
                if (it->answer[a].truth > it->answer[b].truth) {
                    o.hybrid += it->answer[a].rank < it->answer[b].rank ? 1 : it->answer[a].rank == it->answer[b].rank ? 0.5 : 0;
                    n[0]++;
                }
        for (int d = 0; d < it->n_plain; d++) {
            const struct hybrid_duel *k = &it->plain[d];
            int ta = it->answer[k->i].truth, tb = it->answer[k->j].truth;
            if (ta != tb) {
                o.plain += (k->p > 0.5) == (ta > tb);
                n[1]++;
            }
        }
        for (int p = hybrid_pairs(pair, it, PAIRS_ALL) - 1; p >= 0; p--)
            o.wrong_pairs += it->answer[pair[p].winner].verdict != ANSWER_RIGHT;
    }
    o.hybrid /= n[0] ? n[0] : 1;
    o.plain /= n[1] ? n[1] : 1;
    return o;
}

static struct outcome label_world(struct judge *j, const struct hybrid_options *o, bool with_reference, struct hybrid_set *keep)
{
    struct rows rows;
    struct hybrid_set set;
    struct err err = {0};
    struct provider who = {.state = j, .fingerprint = "stylish", .name = "stylish", .ask = judge_ask};
    struct asker asker = {.provider = &who};
    struct protocol *p[2] = {protocol(hybrid_reasoning_preamble), protocol("base")};
    struct labeler reasoning = {&asker, p[0], 0.5}, general = {&asker, p[1], 0.5};
    if (rows_read(&rows, world(with_reference ? "with" : "without", with_reference), 0, &err) || hybrid_read(&set, &rows, &err) ||
        hybrid_verify(&set, &asker, o, &err) || hybrid_prefer(&set, &reasoning, &general, o, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < set.n; i++)
        hybrid_order(&set.item[i]);
    struct outcome out = measure(&set);
    if (keep)
        *keep = set;
    else
        hybrid_release(&set);
    rows_release(&rows);
    protocol_free(p[0]);
    protocol_free(p[1]);
    return out;
}

static void style_misleads_a_plain_judge_and_not_the_hybrid(void **state)
{
    double before = 1.1;
    for (int q = 0; q <= 2; q++) {
        struct judge j = {.style = 0.4 * q, .error = 0.1};
        struct hybrid_options o;
        hybrid_defaults(&o);
        o.plain = true;
        struct outcome out = label_world(&j, &o, true, NULL);
        print_message("style %.1f: plain %.3f, hybrid %.3f\n", 0.4 * q, out.plain, out.hybrid);
        assert_true(out.hybrid == 1);
        assert_true(out.plain < before);    // falls as q grows
        assert_int_equal(out.wrong_pairs, 0);
        before = out.plain;
    }
    assert_true(before < 0.75);
}

static void without_a_reference_it_is_as_good_as_its_verifier(void **state)
{
    struct judge j = {.style = 0.8, .error = 0.1};
    struct hybrid_options o;
    hybrid_defaults(&o);
    o.plain = true;
    struct outcome out = label_world(&j, &o, false, NULL);
    assert_true(out.hybrid > 0.85 && out.hybrid < 1);
    assert_true(out.hybrid > out.plain + 0.15);
}

static void it_asks_once_per_answer_and_twice_per_pair_of_right_ones(void **state)
{
    struct judge j = {.style = 0.8, .error = 0};
    struct hybrid_options o;
    hybrid_defaults(&o);
    o.ask_reference = false;
    label_world(&j, &o, true, NULL);
    assert_int_equal(j.checks, PROMPTS * K);
    assert_int_equal(j.comparisons, PROMPTS * 2);       // c (c - 1) of two right answers, both orders
}

static void the_labeler_s_verdict_counts_where_it_is_told_to(void **state)
{
    struct judge j = {.style = 0.8, .error = 0.4};
    struct hybrid_options o;
    struct hybrid_set set;
    hybrid_defaults(&o);
    o.verifier = VERIFIER_AI;
    label_world(&j, &o, true, &set);
    int ai = 0, differ = 0;
    for (int i = 0; i < set.n; i++)
        for (int k = 0; k < K; k++) {
            const struct hybrid_answer *a = &set.item[i].answer[k];
            ai += !strcmp(a->by, "ai") && a->verdict == a->ai.verdict;
            differ += a->rule.verdict != a->ai.verdict;
        }
    assert_int_equal(ai, PROMPTS * K);
    assert_true(differ > 0.03 * PROMPTS * K && differ < 0.2 * PROMPTS * K);     // a quarter of 0.4
    hybrid_release(&set);
}

static void a_vote_stands_in_for_a_missing_reference(void **state)
{
    struct judge j = {.style = 0.8, .error = 0};
    struct hybrid_options o;
    struct hybrid_set set;
    hybrid_defaults(&o);
    o.solve_votes = 5;      // "12", "7", lost, "12", "12"
    label_world(&j, &o, false, &set);
    const struct hybrid_item *it = &set.item[0];
    assert_true(it->voted);
    assert_string_equal(it->ref.text[0], "#### 12");
    assert_true(fabs(it->vote_share - 0.6) < 1e-12);
    assert_int_equal(it->solved, 4);
    assert_string_equal(it->answer[0].by, "rule");
    assert_int_equal(j.texts, PROMPTS * 5);
    hybrid_release(&set);
}

/* ---- reading yes and no -------------------------------------------------------------------- */

static void yes_and_no_are_read_from_texts(void **state)
{
    static const struct { const char *text; int want; } cases[] = {
        {"Yes.", 1}, {"no", 0}, {" **No**, it is not", 0}, {"Answer: yes", 1}, {"5 + 5 = 10, not 11.\nAnswer: no\n\nThe problem: ... Answer: yes", 0},
        {"The answer is yes", 1}, {"nothing", -1}, {"Yesterday", -1}, {"", -1}, {"I am not sure", -1}, {"ANSWER: NO", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (yes_no_read(cases[i].text) != cases[i].want)
            fail_msg("\"%s\" reads as %d", cases[i].text, yes_no_read(cases[i].text));
}

static int talks(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg, struct err *err)
{
    static const char *const say[] = {"yes", "No!", "perhaps", "Work: fine.\nAnswer: yes"};
    for (int i = 0; i < n; i++) {
        out[i] = (struct reply){.text = strdup(say[ask[i].kind == ASK_TEXT ? 3 - ask[i].draw % 3 : i % 4])};
        if (!done(arg, i))
            break;
    }
    return 0;
}

static void without_log_probs_the_text_is_read_and_votes_are_counted(void **state)
{
    struct provider who = {.fingerprint = "talker", .ask = talks};
    struct asker a = {.provider = &who};
    struct style s;
    struct yes_no v[3];
    const char *q[3] = {"one?", "two?", "three?"};
    style_defaults(&s);
    assert_int_equal(ask_yes_no(v, &a, "t", q, 3, &s, NULL), 0);
    assert_true(v[0].p == 1 && v[1].p == 0 && !v[2].answered && isnan(v[2].p));
    s.votes = 3;            // yes, perhaps, no
    assert_int_equal(ask_yes_no(v, &a, "t", q, 1, &s, NULL), 0);
    assert_false(v[0].lost);
    assert_true(v[0].answered && v[0].p == 0.5 && fabs(v[0].mass - 2.0 / 3) < 1e-12);
}

static int never(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg, struct err *err)
{
    for (int i = 0; i < n; i++) {
        out[i] = (struct reply){.state = REPLY_FAILED, .error = strdup("gone")};
        if (!done(arg, i))
            break;
    }
    return 0;
}

static void a_reply_that_never_came_is_no_verdict(void **state)
{
    struct provider who = {.fingerprint = "gone", .ask = never};
    struct asker a = {.provider = &who};
    struct hybrid_options o;
    struct hybrid_set set;
    struct rows rows;
    hybrid_defaults(&o);
    assert_int_equal(rows_read(&rows, world("lost", false), 0, NULL), 0);
    assert_int_equal(hybrid_read(&set, &rows, NULL), 0);
    assert_int_equal(hybrid_verify(&set, &a, &o, NULL), 0);
    for (int i = 0; i < set.n; i++) {
        hybrid_order(&set.item[i]);
        assert_int_equal(set.item[i].state, HYBRID_UNCHECKED);
    }
    hybrid_release(&set);
    rows_release(&rows);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_reply_that_never_came_is_no_verdict),
    cmocka_unit_test(style_misleads_a_plain_judge_and_not_the_hybrid),
    cmocka_unit_test(without_a_reference_it_is_as_good_as_its_verifier),
    cmocka_unit_test(it_asks_once_per_answer_and_twice_per_pair_of_right_ones),
    cmocka_unit_test(the_labeler_s_verdict_counts_where_it_is_told_to),
    cmocka_unit_test(a_vote_stands_in_for_a_missing_reference),
    cmocka_unit_test(yes_and_no_are_read_from_texts),
    cmocka_unit_test(without_log_probs_the_text_is_read_and_votes_are_counted),
};
KIT_MAIN(tests)
