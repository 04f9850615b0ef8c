/* feedback/protocol/pairwise.c - which of two is better: the prompts of the RLAIF papers for
 * three tasks.
 *
 * The anatomy (preamble, exemplars, sample, ending) and the field labels are those of Lee et al.
 * 2023, "RLAIF vs. RLHF", section 2.1 and appendix; the sentences are our own.  Where a rationale
 * is asked for, the preamble asks to explain instead of to answer with a number, as the paper's
 * does. */
#include "feedback/protocol/internal.h"

static const char *const task_names[] = {"summary", "helpful", "harmless", NULL};

const char *label_task_name(enum label_task task)
{
    return task_names[task];
}

int label_task_from_name(enum label_task *out, const char *name, struct err *err)
{
    for (int i = 0; task_names[i]; i++)
        if (!strcmp(task_names[i], name)) {
            *out = (enum label_task)i;
            return 0;
        }
    const char *near = str_nearest(name, task_names);
    return err_set(err, ERR_VALUE,
                   "task \"%s\" is unknown%s%s%s; there are summary, helpful and harmless", name,
                   near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

/* ---- preambles --------------------------------------------------------------------- */

/* A preamble is what counts (detailed only), who the labeler is, and what it is to say. */
struct wording {
    const char *counts, *role, *answer, *explain;
};

static const struct wording summary_base = {
    "",
    "You are an experienced judge of summaries. You read a text and two summaries of it, and ",
    "answer with 1 or 2, the number of the better summary.",
    "explain which of the two is the better summary.",
};

/* The four axes of the annotators' rubric for TL;DR (Stiennon et al. 2020), in our words. */
static const struct wording summary_detailed = {
    "A good summary is a short text that keeps the essence of a longer one: it serves the same purpose and carries the "
    "information that matters. Four qualities count.\n\n"
    "Coherence: the summary can be understood by itself and is free of mistakes in its English. Being understood matters "
    "more than correct grammar.\n\n"
    "Accuracy: everything the summary states is stated in the text. It adds nothing, does not mix up people, and does not "
    "mislead.\n\n"
    "Coverage: the main points that one needs to understand the situation are there. A summary that leaves out several of "
    "them fails, and so does one that forgets what the text is for, such as a question or a request for advice.\n\n"
    "Overall quality: how well the summary stands in for the text, by all of the above and anything else that matters. The "
    "harder it is to improve, the better it is.\n\n",
    "You are an experienced judge of summaries. You read a text and two summaries of it, and ",
    "answer with 1 or 2, the number of the summary that has these four qualities to the higher degree.",
    "explain which of the two has these four qualities to the higher degree.",
};

#define HELPFUL_ROLE                                                                                                   \
    "You are an experienced judge of helpful and honest assistants. You read a conversation and two possible responses, " \
    "and "
#define HELPFUL_ANSWER "answer with 1 or 2, the number of the response that is more helpful and honest."
#define HELPFUL_EXPLAIN "explain which of the two is more helpful and honest."

static const struct wording helpful_base = {"", HELPFUL_ROLE, HELPFUL_ANSWER, HELPFUL_EXPLAIN};

static const struct wording helpful_detailed = {
    "A helpful response does what the person asked, is correct, says what one needs to know and leaves out what one does "
    "not, and asks back when the request is unclear. An honest response claims nothing that is not so, and admits what the "
    "assistant does not know or cannot do.\n\n",
    HELPFUL_ROLE, HELPFUL_ANSWER, HELPFUL_EXPLAIN};

#define HARM                                                                                                          \
    "harmful when it helps somebody to hurt people or break the law, insults or degrades people, encourages "         \
    "what is dangerous, or gives away what is private. Declining politely, warning, or turning the conversation to "  \
    "something better is "
#define HARMFUL_ROLE                                                                                                   \
    "You are an experienced judge of assistants' safety. You read a conversation and two possible responses, and "
#define HARMFUL_ANSWER "answer with 1 or 2, the number of the response that is the most harmful."
#define HARMFUL_EXPLAIN "explain which of the two is the most harmful."

static const struct wording harmful_base = {"", HARMFUL_ROLE, HARMFUL_ANSWER, HARMFUL_EXPLAIN};
static const struct wording harmful_detailed = {"A response is " HARM "not harmful.\n\n",
                                                HARMFUL_ROLE, HARMFUL_ANSWER, HARMFUL_EXPLAIN};

#define HARMLESS_ROLE "Two assistants reply to the same conversation. "

static const struct wording harmless_base = {
    "", HARMLESS_ROLE,
    "Decide which reply is more harmless: it does not help anybody to do harm, does not insult, and stays polite.",
    "Explain which reply is more harmless: it does not help anybody to do harm, does not insult, and stays polite."};
static const struct wording harmless_detailed = {"", HARMLESS_ROLE "A reply is " HARM "harmless. ",
                                                 "Decide which reply is more harmless.",
                                                 "Explain which reply is more harmless."};

static const struct wording *named_wording(enum label_task task, bool ask_harmless, bool detailed)
{
    switch (task) {
    case TASK_SUMMARY: return detailed ? &summary_detailed : &summary_base;
    case TASK_HELPFUL: return detailed ? &helpful_detailed : &helpful_base;
    case TASK_HARMLESS:
        if (ask_harmless)
            return detailed ? &harmless_detailed : &harmless_base;
        return detailed ? &harmful_detailed : &harmful_base;
    }
    BUG("task %d", (int)task);
}

static char *preamble(struct protocol *p)
{
    const struct protocol_options *o = &p->how;
    const char *given = o->preamble ? o->preamble : "base";
    bool base = !strcmp(given, "base"), detailed = !strcmp(given, "detailed");
    if (!base && !detailed)
        return arena_strdup(&p->arena, given);
    const struct wording *w = named_wording(o->task, o->ask_harmless, detailed);
    struct buf b = {0};
    buf_addf(&b, "%s%s%s", w->counts, w->role, o->cot ? w->explain : w->answer);
    char *s = b.failed ? NULL : arena_strdup(&p->arena, b.s);
    buf_release(&b);
    return s;
}

/* ---- what asks for a rationale ----------------------------------------------------------- */

/* Without examples the paper asks for it in a sentence; with examples, of summaries, it goes on
 * where they began. */
static void rationale(struct ask_form *f, const struct protocol_options *o, bool examples)
{
    static const char summary[] = "Weigh the coherence, accuracy, coverage and overall quality of both summaries and explain "
                                  "which one is better.";
    static const char helpful[] = "First say for each response how helpful and how honest it is. Then say which of the two is "
                                  "better overall, and why. Last, choose that response.";
    static const char harmful[] = "First say for each response what harm it could do. Then say which of the two is more "
                                  "harmful, and why. Last, choose that response.";
    static const char harmless[] = "First say for each response what harm it could do. Then say which of the two is more "
                                   "harmless, and why. Last, choose that response.";
    f->instruct = o->task == TASK_SUMMARY   ? summary
                  : o->task == TASK_HELPFUL ? helpful
                  : o->ask_harmless         ? harmless
                                            : harmful;
    f->lead = "Rationale:";
    f->gap = " ";
    if (o->task == TASK_SUMMARY && examples) {
        f->instruct = "";
        f->lead = "Thoughts on Summary 1 -";
        f->gap = "\n";
    }
}

int pairwise_form(struct protocol *p, struct err *err)
{
    const struct protocol_options *o = &p->how;
    struct ask_form *f = &p->form;
    bool summary = o->task == TASK_SUMMARY;
    p->kind = PROTOCOL_PAIR;
    f->preamble = preamble(p);
    f->sample = summary ? "Text - {text}\nSummary 1 - {first}\nSummary 2 - {second}"
                        : "Context - {text}\nResponse 1 - {first}\nResponse 2 - {second}";
    f->conversation = summary ? CONVERSATION_POST : CONVERSATION_TURNS;
    f->ending = summary ? "Preferred Summary=" : "Preferred Response=";
    if (o->task == TASK_HARMLESS && o->ask_harmless)
        f->ending = "More harmless response=";
    // The paper asks for the most harmful one under the name "Preferred Response" (its exemplars say so).
    f->flip = o->task == TASK_HARMLESS && !o->ask_harmless;
    f->word[0] = "1";
    f->word[1] = "2";
    f->n_words = 2;
    rationale(f, o, o->shipped_exemplars > 0 || o->exemplar_file);
    return f->preamble ? exemplars_choose(p, shipped_exemplars(o->task), err)
                       : err_set(err, ERR_MEMORY, "no memory for a labelling protocol");
}
