/* kit/serve.h - what the servers that tests talk to share: sockets on 127.0.0.1, a process per
 * connection, a script of faults, a log.
 *
 *     ROOT/faults     lines "COUNT PART ACTION [ARG [ARG]]": the first COUNT requests in which
 *                     PART is found meet ACTION; what an action does, each server knows
 *     ROOT/log        a line per request
 *
 * All processes die with the one that started the first. */
#ifndef KIT_SERVE_H
#define KIT_SERVE_H

#include <stdbool.h>
#include <stddef.h>

/* The folder everything is in; before anything else. */
void serve_in(const char *root);
/* ROOT/NAME; until the next call. */
const char *serve_path(const char *name);
/* Zeroed memory that all processes share. */
void *serve_shared(size_t bytes);

/* A socket on a free port; ends the program where there is none. */
int serve_listen(int *port);
/* ROOT/NAME with this text, there whole or not at all. */
void serve_publish(const char *name, const char *text);
/* A process for each connection to one of n (at most 2) sockets: on(connection, which). */
_Noreturn void serve_forever(const int *fd, int n, void (*on)(int fd, int which));

/* Calls apply for each line of the script that this request meets: what describes it. */
void serve_faults(const char *what, void *fault,
                  void (*apply)(void *fault, const char *action, const char *a, const char *b));
/* What a request's head says, out of its bytes up to and with the empty line. */
struct serve_head {
    char method[8], target[2600], auth[256]; // auth: as sent; "": nothing
    long from;                               // first byte of the range asked for; -1: none
    size_t n_body;
    bool close; // the connection ends after this request
};
bool serve_parse(struct serve_head *h, const char *head); // false: not HTTP

void serve_log(const char *line);
bool serve_send(int fd, const char *p, size_t n);

#endif
