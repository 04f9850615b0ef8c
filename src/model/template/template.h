/* model/template/template.h - the Jinja of chat templates, as transformers sets it up.
 *
 *   text - lex.c: tokens - parse.c, statement.c: a tree - exec.c, eval.c: text
 *
 * What it has is what Jinja2's ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks,
 * loop controls and generation markers has, less what needs other templates (include, import,
 * extends) and a few filters for web pages.  Values print as Python prints them; integers have
 * 64 bits.
 *
 * Known differences: |map, |select, |unique and their like are not lazy, so an item that fails
 * does so even if nobody reads it; a filter nobody has is an error when it is reached, not
 * before; a block set sees the outer value of the name it sets; methods and generators print
 * without an address.
 *
 * A parsed template never changes, so any number of threads may render it.  Both parsing and
 * rendering are for text we did not write: nesting, steps, memory and output are bounded, and
 * an error names the template's origin, the line and the reason. */
#ifndef MODEL_TEMPLATE_TEMPLATE_H
#define MODEL_TEMPLATE_TEMPLATE_H

#include "base/base.h"

enum {
    TEMPLATE_BYTES_MAX = 1 << 20,   // of a template's text
    TEMPLATE_NAMES_MAX = 4096,      // different names in it
    TEMPLATE_NESTING_MAX = 100,     // brackets and blocks inside each other
    TEMPLATE_DEPTH_MAX = 1500,      // of evaluation
    TEMPLATE_CALLS_MAX = 150,       // macros and recursive loops inside each other
    TEMPLATE_OUTPUT_MAX = 64 << 20, // bytes of one rendering
    TEMPLATE_MEMORY_MAX = 256 << 20,
    TEMPLATE_STEPS_MAX = 20000000, // a second or two
};

struct template;
/* origin names the text in errors ("FOLDER/chat_template.jinja"). */
int template_parse(struct template **out, const char *text, size_t n, const char *origin,
                   struct err *err) MUST_CHECK;
void template_free(struct template *t);

/* A variable the template sees.  Borrowed for the call. */
struct template_var {
    const char *name;
    const json_t *value;
};
/* Where {% generation %} blocks wrote, in bytes of the output. */
struct template_span {
    size_t start, end;
};
struct template_spans {
    struct template_span *item;
    int n;
    size_t cap;
};
/* Appends what the template writes; on failure nothing is appended.  spans: NULL, or appended
 * to. */
int template_render(const struct template *t, struct buf *out, const struct template_var *var,
                    int n, struct template_spans *spans, struct err *err) MUST_CHECK;

#endif
