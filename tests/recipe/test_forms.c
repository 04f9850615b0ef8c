/* tests/recipe/test_forms.c - the lab's models learned from the very form that labelling asks in. */
#include "feedback/feedback.h"
#include "kit/kit.h"
#include "lab/lab.h"

static void the_labs_corpus_and_labelling_write_the_same_prompt(void **state)
{
    struct protocol_options o = {.task = TASK_SUMMARY, .preamble = LAB_TLDR_PREAMBLE};
    struct protocol *p = NULL;
    struct buf ours = {0}, labs = {0};
    const char *prompt = "SUBREDDIT: r/cats\n\nTITLE: t\n\nPOST: a post. it has facts.\n\nTL;DR:";
    assert_int_equal(protocol_new(&p, NULL, &o, NULL), 0);
    assert_int_equal(feedback_render_pair(&ours, p, prompt, "one fact.", "another fact."), 0);
    assert_int_equal(lab_render_plain(NULL, &labs, prompt, "one fact.", "another fact."), 0);
    assert_string_equal(ours.s, labs.s);
    kit_contains(ours.s, "\n\nText - a post. it has facts.\nSummary 1 - one fact.\n");
    buf_release(&ours);
    buf_release(&labs);
    protocol_free(p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_labs_corpus_and_labelling_write_the_same_prompt),
};
KIT_MAIN(tests)
