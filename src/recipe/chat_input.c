/* chat_input.c - what somebody types, line by line.
 *
 *     one line                       an input
 *     a line \                       goes on with the next line, a line break between them
 *     """a text                      goes on until a line that ends with """
 *     of many lines"""
 *
 * Editing is the terminal's own.  Left out: history. */
#include <errno.h>

#include "recipe/chat.h"

enum { INPUT_MOST = 1 << 20 };

/* Appends a line without its end. */
static int add_line(enum heard *what, struct buf *text, FILE *from, struct err *err)
{
    size_t before = text->len;
    int c;
    *what = HEARD_TEXT;
    errno = 0;
    while ((c = getc(from)) != EOF && c != '\n') {
        char byte = (char)c;
        if (!c)
            return err_set(err, ERR_VALUE, "the input holds a NUL byte");
        if (text->len >= INPUT_MOST)
            return err_set(err, ERR_VALUE, "the input has more than %d bytes", INPUT_MOST);
        buf_add(text, &byte, 1);
    }
    if (c == '\n') {
        if (text->len > before && text->s[text->len - 1] == '\r')
            text->s[--text->len] = 0;
        return 0;
    }
    int why = ferror(from) ? errno : 0;
    clearerr(from);
    if (why && why != EINTR)
        return err_set(err, ERR_IO, "reading from standard input: %s", strerror(why));
    if (why)
        *what = HEARD_INTERRUPT;
    else if (text->len == before)
        *what = HEARD_END; // a last line without its end counts
    return 0;
}

static void show(const char *prompt, bool terminal)
{
    if (terminal)
        fputs(prompt, stdout), fflush(stdout);
}

static bool ends_quoted(const struct buf *b)
{
    return b->len >= 3 && !memcmp(b->s + b->len - 3, "\"\"\"", 3);
}

/* After """: lines until one that ends with them. */
static int add_quoted(enum heard *what, struct buf *text, FILE *from, bool terminal,
                      struct err *err)
{
    int rc = 0;
    memmove(text->s, text->s + 3, text->len - 2); // with the NUL
    text->len -= 3;
    while (rc == 0 && *what == HEARD_TEXT && !ends_quoted(text)) {
        buf_adds(text, "\n");
        show(". ", terminal);
        rc = add_line(what, text, from, err);
    }
    if (ends_quoted(text))
        text->s[text->len -= 3] = 0;
    if (rc == 0 && *what == HEARD_END) { // an open end is an end
        *what = HEARD_TEXT;
        text->s[--text->len] = 0;
    }
    return rc;
}

int chat_input(enum heard *what, struct buf *text, FILE *from, bool terminal, struct err *err)
{
    buf_clear(text);
    buf_adds(text, "");
    show("> ", terminal);
    int rc = add_line(what, text, from, err);
    if (rc == 0 && *what == HEARD_TEXT && str_starts(text->s, "\"\"\""))
        rc = add_quoted(what, text, from, terminal, err);
    else
        while (rc == 0 && *what == HEARD_TEXT && text->len && text->s[text->len - 1] == '\\') {
            text->s[text->len - 1] = '\n';
            show(". ", terminal);
            rc = add_line(what, text, from, err);
            if (rc == 0 && *what == HEARD_END) {
                *what = HEARD_TEXT;
                break;
            }
        }
    if (rc == 0 && text->failed)
        rc = err_set(err, ERR_MEMORY, "no memory for what was typed");
    if (rc == 0 && *what == HEARD_TEXT && utf8_valid(text->s, text->len) != text->len)
        rc = err_set(err, ERR_VALUE, "the input is not valid UTF-8");
    return rc;
}
