/* chat.c - chat templates, rendered by us where the text of the template is one we know.
 *
 * Every template here renders ChatML: "<|im_start|>ROLE\nCONTENT<|im_end|>\n" per message, and
 * "<|im_start|>assistant\n" where an answer is to follow.  Some put a system message of their
 * own in front when the first message is not one; its text stands in the template and is read
 * from there.
 *
 * Left out: running Jinja.  A template that is none of these is refused. */
#include "model/tokenizer/tokenizer.h"

/* \1 stands for the default system message: any text without quotes or braces. */
static const char *const KNOWN[] = {
    // SmolLM2, Qwen2
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
    "'<|im_start|>system\n\1<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    // plain ChatML
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% "
    "endif %}"
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
};

/* A line break inside a Jinja string is written as itself or as \n; both become itself.
 * Trailing line ends at the very end of a template are dropped, as Jinja does with one. */
static char *plain_breaks(const char *s)
{
    size_t n = strlen(s);
    char *out = mem_alloc(n + 1, 1), *to = out;
    for (const char *p = s; out && *p; p++) {
        bool escape = p[0] == '\\' && p[1] == 'n';
        *to++ = escape ? '\n' : *p;
        p += escape;
    }
    if (out && to > out && to[-1] == '\n')
        to[-1] = 0;
    return out;
}

/* Does s follow the pattern?  Where it holds a \1, *inside and *n receive what stands there. */
static bool follows(const char *s, const char *pattern, const char **inside, size_t *n)
{
    const char *hole = strchr(pattern, 1);
    size_t head = hole ? (size_t)(hole - pattern) : strlen(pattern);
    *inside = NULL;
    *n = 0;
    if (!hole)
        return !strcmp(s, pattern);
    if (strncmp(s, pattern, head))
        return false;
    *inside = s + head;
    *n = strcspn(*inside, "'\"\\{}");
    const char *end = strstr(*inside, "<|im_end|>");
    if (!end || (size_t)(end - *inside) > *n)
        return false;
    *n = (size_t)(end - *inside);
    return !strcmp(end, hole + 1);
}

static void add_message(struct buf *out, const char *role, const char *content, size_t n)
{
    buf_addf(out, "<|im_start|>%s\n", role);
    buf_add(out, content, n);
    buf_adds(out, "<|im_end|>\n");
}

int chat_render(const struct tokenizer *t, struct buf *out, const struct chat_message *msg,
                int n, bool add_generation_prompt, struct err *err)
{
    const char *system = NULL;
    size_t system_n = 0;
    bool known = false;
    if (!t->chat_template)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the model has no chat template; give the prompt as a string",
                       t->path);
    char *text = plain_breaks(t->chat_template);
    if (!text)
        return err_set(err, ERR_MEMORY, "%s: no memory for the chat template", t->path);
    for (size_t i = 0; i < ARRAY_LEN(KNOWN) && !known; i++)
        known = follows(text, KNOWN[i], &system, &system_n);
    if (known && system && n > 0 && strcmp(msg[0].role, "system"))
        add_message(out, "system", system, system_n);
    for (int i = 0; i < n && known; i++)
        add_message(out, msg[i].role, msg[i].content, strlen(msg[i].content));
    if (known && add_generation_prompt)
        buf_adds(out, "<|im_start|>assistant\n");
    free(text);
    if (!known)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: its chat template is not one of the ChatML templates this program "
                       "renders; give the "
                       "prompt as a string",
                       t->path);
    return out->failed ? err_set(err, ERR_MEMORY, "no memory for a chat of %d messages", n) : 0;
}
