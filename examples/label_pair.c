/* label_pair - asks a language model which of two summaries is better, in both orders.
 *
 *     build/examples/label_pair MODEL TEXT FIRST SECOND
 *     build/examples/label_pair models/l "Anna found a dog in the rain and took it home." \
 *         "Anna took a dog home." "It rained."
 *
 * A labeler leans to the answer that it is shown first (or second), so a pair is asked in both orders and the two
 * probabilities are averaged.  Four doors of the library are enough for it:
 *
 *     compute    the device that computes
 *     model      weights and tokenizer from a Hugging Face folder or a GGUF file
 *     feedback   the protocol (how one asks), the provider (who is asked), labels
 *     base       errors as one sentence
 *
 * Programs outside this repository compile with -Ipath/to/src (or PREFIX/include/rlaif after `make install`) and link
 * librlaif.a with the libraries that the Makefile lists. */
#include "feedback/feedback.h"

/* Everything that is open; close_all goes backwards and takes half-opened ones. */
struct judge {
    struct device *device;
    struct model *model;
    struct protocol *protocol;
    struct provider *provider;
};

static void close_all(struct judge *j)
{
    provider_free(j->provider);
    protocol_free(j->protocol);
    model_close(j->model);
    device_close(j->device);
}

static int open_all(struct judge *j, const char *path, struct err *err)
{
    struct protocol_options ask;
    protocol_defaults(&ask); // a summary, the paper's short preamble, no examples
    int rc = device_open(&j->device, NULL, 0, err);
    if (rc == 0) {
        struct model_options how = {
            .dtype = device_fast_bf16(j->device) ? DTYPE_BF16 : DTYPE_F32};
        rc = model_open(&j->model, j->device, path, &how, err);
    }
    if (rc == 0)
        rc = protocol_new(&j->protocol, NULL, &ask, err);
    if (rc == 0)
        rc = provider_local_new(&j->provider, j->model, path, 0, err);
    return rc;
}

/* What the model is shown, in the first of the two orders. */
static void print_prompt(const struct judge *j, const struct label_item *item)
{
    struct buf b = {0};
    if (feedback_render_pair(&b, j->protocol, item->prompt, item->first, item->second) == 0)
        printf("%s ___\n\n", b.s);
    buf_release(&b);
}

static void print_label(const struct label *l)
{
    printf("shown first, second   P(first is better) = %.4f\n", l->order[0]);
    printf("shown second, first   P(first is better) = %.4f\n", l->order[1]);
    printf("mean                  P(first is better) = %.4f\n", l->p);
    printf("probability on the label words \"1\" and \"2\": %.4f\n", l->mass);
    if (l->same_slot)
        printf("Both orders named slot %d: here the labeler saw the place, not the text.\n",
               l->slot[0]);
    if (l->state == LABEL_NO_ANSWER)
        puts("That is little: this model hardly answers the question at all.");
    if (l->state == LABEL_TOO_LONG)
        puts("The prompt is longer than the model's window: it was not asked.");
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: label_pair MODEL TEXT FIRST SECOND\n");
        return 2;
    }
    struct err err = {0};
    struct judge j = {0};
    struct label_item item = {.prompt = argv[2], .first = argv[3], .second = argv[4]};
    struct label label;
    struct label_counts counts = {0};
    int rc = open_all(&j, argv[1], &err);
    if (rc == 0) {
        struct asker asker = {.provider = j.provider};
        struct labeler labeler = {.asker = &asker, .protocol = j.protocol, .min_mass = 0.5};
        rc = label_items(&label, &counts, &labeler, &item, 1, &err);
    }
    if (rc == 0) {
        print_prompt(&j, &item);
        print_label(&label);
    }
    close_all(&j);
    if (rc)
        fprintf(stderr, "label_pair: %s\n", err.msg);
    return rc ? 1 : 0;
}
