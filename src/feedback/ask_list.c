/* feedback/ask_list.c - questions of one text each and their replies, held together while they
 * are asked. */
#include "feedback/ask.h"

int ask_list_init(struct ask_list *q, int room, struct err *err)
{
    size_t n = (size_t)room;
    *q = (struct ask_list){.ask = mem_alloc(n, sizeof *q->ask),
                            .reply = mem_alloc(n, sizeof *q->reply),
                            .turn = mem_alloc(n, sizeof *q->turn),
                            .text = mem_alloc(n, sizeof *q->text),
                            .room = room};
    return q->ask && q->reply && q->turn && q->text
               ? 0
               : err_set(err, ERR_MEMORY, "no memory for %d questions", room);
}

int ask_list_add(struct ask_list *q, const struct ask *how, char *text, bool chat, struct err *err)
{
    BUG_IF(q->n >= q->room);
    if (!text)
        return err_set(err, ERR_MEMORY, "no memory for a question");
    int i = q->n++;
    q->text[i] = text;
    q->turn[i] = (struct chat_message){"user", text};
    q->ask[i] = *how;
    q->ask[i].prompt = chat ? NULL : text;
    q->ask[i].message = chat ? &q->turn[i] : NULL;
    q->ask[i].n_messages = chat;
    return 0;
}

int ask_list_send(struct ask_list *q, struct asker *a, struct err *err)
{
    return ask_all(a, q->reply, q->ask, q->n, err);
}

void ask_list_release(struct ask_list *q)
{
    for (int i = 0; i < q->n; i++)
        free(q->text[i]);
    if (q->reply)
        replies_release(q->reply, q->n);
    free(q->ask);
    free(q->reply);
    free(q->turn);
    free(q->text);
    *q = (struct ask_list){0};
}
