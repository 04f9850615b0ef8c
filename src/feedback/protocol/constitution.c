/* feedback/protocol/constitution.c - which of two is better under a principle (Constitutional AI,
 * section 4).
 *
 * The labeler reads the conversation, one of sixteen principles and the options (A) and (B); what
 * counts is the probability of the letter.  The principle is drawn for each pair by the hash of
 * its texts, or all sixteen are asked and averaged.  With a rationale the probabilities come out
 * near 0 and 1, and a policy trained on them learns extremes: they are clamped to [0.40, 0.60] at
 * the very end, when it is known who won.
 *
 * Left out: their separate helpfulness labels, which came from people. */
#include "feedback/protocol/internal.h"

/* Our examples call what they compare Response 1 and 2. */
static const char *renamed(struct arena *a, const char *s)
{
    static const char *const name[] = {"Response 1", "Response 2"};
    struct buf b = {0};
    for (; *s; ) {
        int k = str_starts(s, name[0]) ? 0 : str_starts(s, name[1]) ? 1 : -1;
        buf_add(&b, k < 0 ? s : k ? "(B)" : "(A)", k < 0 ? 1 : 3);
        s += k < 0 ? 1 : (int)strlen(name[k]);
    }
    char *out = b.failed ? NULL : arena_strdup(a, b.s ? b.s : "");
    buf_release(&b);
    return out;
}

static int rename_examples(struct protocol *p, struct err *err)
{
    struct exemplar *e = arena_alloc(&p->arena, SHIPPED_EXEMPLARS * sizeof *e);
    for (int i = 0; i < p->form.n_exemplars; i++) {
        if (e)
            e[i] = p->form.exemplar[i];
        if (!e || !(e[i].rationale = renamed(&p->arena, e[i].rationale)))
            return err_set(err, ERR_MEMORY, "no memory for a labelling protocol");
    }
    p->form.exemplar = e;
    return 0;
}

int constitution_form(struct protocol *p, struct err *err)
{
    struct ask_form *f = &p->form;
    p->kind = PROTOCOL_PAIR;
    f->preamble = p->how.preamble && strcmp(p->how.preamble, "base")
                      ? arena_strdup(&p->arena, p->how.preamble)
                      : "";
    f->sample = "Read this conversation between a person and an assistant.\n\n{text}\n\n{principle}\n\nOptions:\n(A) {first}\n(B) "
                "{second}\n";
    f->conversation = CONVERSATION_TURNS;
    f->instruct = "";
    f->lead = "Let us think about it step by step:";
    f->gap = " ";
    f->ending = "The answer is (";
    f->word[0] = "A";
    f->word[1] = "B";
    f->n_words = 2;
    f->principle = comparison_principle;
    f->n_principles = PRINCIPLES;
    if (!f->preamble)
        return err_set(err, ERR_MEMORY, "no memory for a labelling protocol");
    if (p->how.preamble && !strcmp(p->how.preamble, "detailed"))
        return err_set(err, ERR_VALUE, "preamble \"detailed\" belongs to protocol pairwise; constitution has its principles");
    if (p->how.principle < PRINCIPLE_ALL || p->how.principle > PRINCIPLES)
        return err_set(err, ERR_VALUE, "principle is %d, expected 1 to %d, 0 (drawn) or -1 (all)",
                       p->how.principle, PRINCIPLES);
    int rc = exemplars_choose(p, shipped_exemplars(TASK_HARMLESS), err);
    return rc || p->how.exemplar_file ? rc : rename_examples(p, err);
}
