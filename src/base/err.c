/* err.c - one sentence per failure, and what happens to broken promises.
 *
 * A sentence longer than struct err holds is cut, never overrun. */
#include "base/base.h"

int (err_set)(struct err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        char msg[sizeof err->msg];  // arguments may point into err->msg itself
        va_start(ap, fmt);
        vsnprintf(msg, sizeof msg, fmt, ap);
        va_end(ap);
        memcpy(err->msg, msg, strlen(msg) + 1);
        err->code = code;
    }
    return code;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
    if (!err)
        return ERR_OK;
    va_list ap;
    char msg[sizeof err->msg];
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg - 3, fmt, ap);
    va_end(ap);
    strcat(msg, ": ");
    size_t n = strlen(msg), room = sizeof msg - 1 - n, rest = strnlen(err->msg, room);
    memmove(err->msg + n, err->msg, rest);
    memcpy(err->msg, msg, n);
    err->msg[n + rest] = 0;
    return err->code;
}

_Noreturn void bug_at(const char *file, int line, const char *func, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "rlaif: BUG at %s:%d in %s: ", file, line, func);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}
