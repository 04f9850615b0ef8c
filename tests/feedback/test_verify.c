/* tests/feedback/test_verify.c - final answers found and compared by rule: text cases, and real
 * solutions of GSM8K whose correctness is known. */
#include <math.h>

#include "data/data.h"
#include "feedback/feedback.h"
#include "kit/kit.h"

enum { MANY = 64 };
struct strings {
    const char *at[MANY];
    int n;
};

/* A string or a list of them. */
static struct strings strings_of(const json_t *v)
{
    struct strings s = {0};
    if (json_is_string(v))
        s.at[s.n++] = json_string_value(v);
    for (size_t i = 0; i < json_array_size(v) && i < MANY; i++)
        s.at[s.n++] = json_string_value(json_array_get(v, i));
    return s;
}

static void check_case(const json_t *row, const char *where)
{
    struct strings gold = strings_of(json_object_get(row, "reference")),
                   option = strings_of(json_object_get(row, "options"));
    struct reference ref = {.text = gold.at,
                            .n = gold.n,
                            .option = option.at,
                            .n_options = option.n,
                            .prompt = json_string_value(json_object_get(row, "prompt"))};
    const char *answer = json_string_value(json_object_get(row, "answer")),
               *want = json_string_value(json_object_get(row, "verdict")),
               *found = json_string_value(json_object_get(row, "found")),
               *how = json_string_value(json_object_get(row, "how"));
    struct rule_verdict v;
    assert_int_equal(category_from_name(&ref.category,
                                        json_string_value(json_object_get(row, "category")),
                                        NULL),
                     0);
    verify_rule(&v, &ref, answer);
    if (strcmp(correctness_name(v.verdict), want) || (found && strcmp(found, v.found)) ||
        (how && (!v.how || strcmp(how, v.how))))
        fail_msg("%s: \"%s\": expected %s %s %s, found %s \"%s\" (%s)", where, answer, want,
                 found ? found : "", how ? how : "", correctness_name(v.verdict), v.found,
                 v.how ? v.how : "-");
    const json_t *f1 = json_object_get(row, "f1");
    if (f1 && fabs(json_number_value(f1) - v.f1) > 1e-9)
        fail_msg("%s: \"%s\": F1 is %.15g, expected %.15g", where, answer, v.f1,
                 json_number_value(f1));
}

static void check_cases(const char *name)
{
    char path[64];
    struct rows rows;
    struct err err = {0};
    snprintf(path, sizeof path, "cases/verify/%s.jsonl", name);
    if (rows_read(&rows, kit_tests(path), 0, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(rows.n_rejected, 0);
    assert_true(rows.n > 20);
    for (int i = 0; i < rows.n; i++)
        check_case(rows.row[i], rows_place(&rows, rows.line[i]).s);
    rows_release(&rows);
}

static void numbers_are_compared_as_fractions(void **state)
{
    check_cases("math");
}
static void options_are_known_by_letter_or_text(void **state)
{
    check_cases("choice");
}
static void closed_questions_are_compared_as_words(void **state)
{
    check_cases("closed");
}

/* ---- real solutions -------------------------------------------------------------------- */

static void gsm8k_references_agree_with_themselves(void **state)
{
    static const char *const files[] = {"data/gsm8k-test.jsonl.gz",
                                        "data/gsm8k-train.jsonl.gz"};
    for (int f = 0; f < 2; f++) {
        const char *path = kit_shared(files[f]);
        if (!path)
            skip();
        struct rows rows;
        struct err err = {0};
        assert_int_equal(rows_read(&rows, path, 0, &err), 0);
        for (int i = 0; i < rows.n; i++) {
            const char *s = json_string_value(json_object_get(rows.row[i], "answer"));
            struct rule_verdict v;
            verify_rule(&v, &(struct reference){CATEGORY_MATH, &s, 1}, s);
            if (v.verdict != ANSWER_RIGHT || strcmp(v.how, "####"))
                fail_msg("%s row %d: %s", path, i, s);
        }
        rows_release(&rows);
    }
}

/* The final marks cut off: what is left to the last-number rule. */
static char *unmarked(const char *s)
{
    const char *mark = strstr(s, "\nA: ");
    return strndup(s, mark ? (size_t)(mark - s) : strlen(s));
}

static void gsm8k_solutions_are_judged_as_their_authors_were(void **state)
{
    static const char *const models[] = {"6b_finetuning", "6b_verification", "175b_finetuning",
                                         "175b_verification"};
    const char *path = kit_shared("data/gsm8k-model-solutions.jsonl.gz");
    if (!path)
        skip();
    struct rows rows;
    struct err err = {0};
    int agree[2] = {0}, n = 0;
    assert_int_equal(rows_read(&rows, path, 0, &err), 0);
    for (int i = 0; i < rows.n; i++)
        for (int m = 0; m < 4; m++) {
            const char *gold = json_string_value(json_object_get(rows.row[i], "ground_truth"));
            const json_t *one = json_object_get(rows.row[i], models[m]);
            bool truth = json_is_true(json_object_get(one, "is_correct"));
            const char *solution = json_string_value(json_object_get(one, "solution"));
            char *bare = unmarked(solution);
            struct rule_verdict v;
            struct reference ref = {CATEGORY_MATH, &gold, 1};
            verify_rule(&v, &ref, solution);
            agree[0] += (v.verdict == ANSWER_RIGHT) == truth;
            verify_rule(&v, &ref, bare);
            agree[1] += (v.verdict == ANSWER_RIGHT) == truth;
            free(bare);
            n++;
        }
    rows_release(&rows);
    print_message(
        "GSM8K: the rule agrees on %d of %d marked solutions, on %d without their mark\n",
        agree[0], n, agree[1]);
    assert_int_equal(n, 5276);
    assert_true(agree[0] == n);
    assert_true(agree[1] >= 0.95 * n);
}

/* Texts put together at random from what the rules look for: a crash or a report under the
 * sanitizers is the failure. */
static void any_text_gets_a_verdict(void **state)
{
    static const char *const bits[] = {"1",        "23",
                                       ",",        "456",
                                       ".",        "-",
                                       "−",        "/",
                                       "$",        "%",
                                       "\\frac{",  "}{",
                                       "}",        "½",
                                       "e",        "9",
                                       " ",        "\n",
                                       "A:",       "####",
                                       "\\boxed{", "answer is",
                                       "=",        "(B)",
                                       "C.",       "B",
                                       "<<",       ">>",
                                       "million",  "cm",
                                       "\\text{",  "é",
                                       "\xe2\x88", "999999999999999999",
                                       "e99",      "the",
                                       "'",        "_",
                                       "A",        "I "};
    struct rng r;
    rng_init(&r, 1, RNG_TEST, 0, 0);
    for (int i = 0; i < 20000; i++) {
        struct buf b[2] = {{0}, {0}};
        for (int k = 0; k < 2; k++)
            for (int n = (int)rng_below(&r, 12); n >= 0; n--)
                buf_adds(&b[k], bits[rng_below(&r, ARRAY_LEN(bits))]);
        const char *gold = b[1].s;
        for (int c = CATEGORY_MATH; c <= CATEGORY_CLOSED_QA; c++) {
            struct rule_verdict v;
            verify_rule(&v, &(struct reference){(enum category)c, &gold, 1, NULL, 0, b[0].s},
                        b[0].s);
            assert_true(v.verdict == ANSWER_WRONG || v.verdict == ANSWER_RIGHT ||
                        v.verdict == ANSWER_UNREADABLE);
            assert_true(strlen(v.found) < sizeof v.found);
        }
        buf_release(&b[0]);
        buf_release(&b[1]);
    }
}

static void categories_have_names(void **state)
{
    enum category c;
    struct err err = {0};
    for (int i = 0; i < CATEGORIES; i++) {
        assert_int_equal(category_from_name(&c, category_name((enum category)i), NULL), 0);
        assert_int_equal((int)c, i);
    }
    assert_int_equal(category_from_name(&c, "Multiple-Choice", NULL), 0);
    assert_int_equal(category_from_name(&c, "maths", &err), ERR_VALUE);
    kit_contains(err.msg, "did you mean math?");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(numbers_are_compared_as_fractions),
    cmocka_unit_test(options_are_known_by_letter_or_text),
    cmocka_unit_test(closed_questions_are_compared_as_words),
    cmocka_unit_test(gsm8k_references_agree_with_themselves),
    cmocka_unit_test(gsm8k_solutions_are_judged_as_their_authors_were),
    cmocka_unit_test(any_text_gets_a_verdict),
    cmocka_unit_test(categories_have_names),
};
KIT_MAIN(tests)
