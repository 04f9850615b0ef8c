/* chat.c - conversations through chat templates, as transformers' apply_chat_template has them.
 *
 * What a template sees: messages, tools, documents, add_generation_prompt, the named special
 * tokens (bos_token, ...) and the caller's own variables.  Keys of messages that are null are
 * left out, and reasoning under an older name is given under the names templates read.
 *
 * Continuing the final message: a marker is put behind its text, the conversation rendered, and
 * everything from the marker on cut away. */
#include "model/template/chat.h"

#include "model/template/internal.h"
#include "model/tokenizer/tokenizer.h"

static const char MARKER[] = "CONTINUE_FINAL_MESSAGE_TAG ";
static const char *const REASONING[] = {"reasoning_content", "thinking", "reasoning"};
static const char CHATML[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}";

static int no_memory(const struct tokenizer *t, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for a chat", t->path);
}

/* ---- the templates of a tokenizer ------------------------------------------------- */

static struct chat *chat_of(struct tokenizer *t)
{
    if (!t->chat)
        t->chat = mem_alloc(1, sizeof *t->chat);
    if (t->chat && !t->chat->special)
        t->chat->special = json_object();
    return t->chat && t->chat->special ? t->chat : NULL;
}

int chat_add(struct tokenizer *t, const char *name, const char *text, size_t n,
             const char *origin, struct err *err)
{
    struct chat *c = chat_of(t);
    struct chat_template *at =
        c ? mem_grow(c->item, &c->cap, (size_t)c->n + 1, sizeof *at) : NULL;
    if (!at)
        return no_memory(t, err);
    c->item = at;
    at += c->n;
    *at = (struct chat_template){
        .name = str_printf("%s", name), .text = mem_alloc(n + 1, 1), .n = n};
    c->n++;
    if (!at->name || !at->text)
        return no_memory(t, err);
    memcpy(at->text, text, n);
    // one that cannot be read matters when it is used
    if (template_parse(&at->parsed, text, n, origin, &at->why) == ERR_MEMORY)
        return no_memory(t, err);
    return 0;
}

int chat_special(struct tokenizer *t, const char *name, const char *token, struct err *err)
{
    struct chat *c = chat_of(t);
    json_t *v = c ? json_stringn_nocheck(token, strlen(token)) : NULL;
    return v && json_object_set_new(c->special, name, v) == 0 ? 0 : no_memory(t, err);
}

void chat_free(struct chat *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->n; i++) {
        free(c->item[i].name);
        free(c->item[i].text);
        template_free(c->item[i].parsed);
    }
    free(c->item);
    json_decref(c->special);
    free(c);
}

static const struct saved_file *saved(const struct tokenizer *t, const char *name)
{
    for (int i = 0; i < t->n_files; i++)
        if (!strcmp(t->file[i].name, name))
            return &t->file[i];
    return NULL;
}

/* Templates in files of their own; where there are some, those in the config do not count. */
static int add_files(struct tokenizer *t, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < t->n_files && rc == 0; i++) {
        const struct saved_file *f = &t->file[i];
        char *origin = path_join(t->path, f->name), name[256] = "default";
        bool more = str_starts(f->name, CHAT_DIR "/");
        if (more)
            snprintf(name, sizeof name, "%.*s",
                     (int)(strlen(f->name) - strlen(CHAT_DIR "/.jinja")),
                     f->name + strlen(CHAT_DIR "/"));
        if (more || !strcmp(f->name, "chat_template.jinja"))
            rc = origin ? chat_add(t, name, f->bytes, f->n, origin, err) : no_memory(t, err);
        free(origin);
    }
    return rc;
}

static int add_named(struct tokenizer *t, const json_t *list, const char *origin,
                     struct err *err)
{
    int rc = 0;
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
    {
        json_t *name = json_object_get(o, "name"), *text = json_object_get(o, "template");
        if (rc == 0 && json_is_string(name) && json_is_string(text))
            rc = chat_add(t, json_string_value(name), json_string_value(text),
                          json_string_length(text), origin, err);
    }
    return rc;
}

static int add_special(struct tokenizer *t, const json_t *from, struct err *err)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(names) && rc == 0; i++) {
        const json_t *v = json_object_get(from, names[i]);
        const char *s =
            json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
        if (s)
            rc = chat_special(t, names[i], s, err);
    }
    return rc;
}

int chat_load_folder(struct tokenizer *t, const json_t *config, struct err *err)
{
    const json_t *own = json_object_get(config, "chat_template");
    const struct saved_file *f = saved(t, "special_tokens_map.json");
    char *origin = path_join(t->path, "tokenizer_config.json");
    int rc = origin ? add_files(t, err) : no_memory(t, err);
    if (rc == 0 && !(t->chat && t->chat->n) && json_is_string(own))
        rc = chat_add(t, "default", json_string_value(own), json_string_length(own), origin,
                      err);
    else if (rc == 0 && !(t->chat && t->chat->n))
        rc = add_named(t, own, origin, err);
    if (rc == 0)
        rc = add_special(t, config, err);
    if (rc == 0 && f && !json_object_get(config, "added_tokens_decoder")) { // the older way
        json_t *map = json_parse(f->bytes, f->n, f->name, NULL);
        rc = add_special(t, map, err);
        json_decref(map);
    }
    free(origin);
    return rc;
}

/* ---- choosing ---------------------------------------------------------------------- */

static const struct chat_template *named(const struct chat *c, const char *name)
{
    for (int i = c ? c->n - 1 : -1; i >= 0; i--)
        if (!strcmp(c->item[i].name, name))
            return &c->item[i];
    return NULL;
}

static int no_such_template(const struct tokenizer *t, const char *name, struct err *err)
{
    struct buf b = {0};
    for (int i = 0; t->chat && i < t->chat->n; i++)
        buf_addf(&b, "%s'%s'", i ? ", " : "", t->chat->item[i].name);
    int rc = err_set(err, ERR_MISSING, "%s: no chat template named '%.80s'; it has %s", t->path,
                     name, b.s ? b.s : "none");
    buf_release(&b);
    return rc;
}

/* The one asked for; else the one chosen by tokenizer_use_template; else as transformers picks.
 */
static int choose(const struct chat_template **out, const struct tokenizer *t,
                  const struct chat_request *q, struct err *err)
{
    const struct chat *c = t->chat;
    const char *name = q->template ? q->template : c && c->use[0] ? c->use : NULL;
    if (!name && (!c || c->n == 0))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the model has no chat template; give the prompt as a string, or "
                       "choose a template "
                       "('chatml' or a file)",
                       t->path);
    *out = name ? named(c, name) : NULL;
    if (name && !*out)
        return no_such_template(t, name, err);
    if (!*out && q->tools)
        *out = named(c, "tool_use");
    if (!*out)
        *out = named(c, "default");
    if (!*out && c->n == 1)
        *out = &c->item[0];
    if (!*out)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the model has several chat templates and none named 'default'",
                       t->path);
    return (*out)->parsed ? 0 : err_set(err, ERR_UNSUPPORTED, "%s", (*out)->why.msg);
}

int tokenizer_use_template(struct tokenizer *t, const char *choice, struct err *err)
{
    char *text = NULL;
    size_t n = 0;
    int rc = 0;
    struct chat *c = chat_of(t);
    if (!c)
        return no_memory(t, err);
    if (!named(c, choice) && !strcmp(choice, "chatml")) {
        rc = chat_add(t, "chatml", CHATML, strlen(CHATML), "chatml", err);
    } else if (!named(c, choice)) {
        if (!file_exists(choice))
            return no_such_template(t, choice, err);
        rc = file_read(&text, &n, choice, TEMPLATE_BYTES_MAX, err);
        if (rc == 0)
            rc = chat_add(t, choice, text, n, choice, err);
        free(text);
    }
    if (rc)
        return rc;
    const struct chat_template *at = named(c, choice);
    if (!at->parsed)
        return err_set(err, at->why.code, "%s", at->why.msg);
    if (snprintf(c->use, sizeof c->use, "%s", choice) >= (int)sizeof c->use)
        return err_set(err, ERR_VALUE, "a chat template's path has more than %zu bytes",
                       sizeof c->use - 1);
    return 0;
}

void tokenizer_template_hash(const struct tokenizer *t, char out[33])
{
    const struct chat_template *c = NULL;
    struct chat_request any = {0};
    out[0] = '\0';
    if (choose(&c, t, &any, NULL))
        return;
    struct buf b = {0};
    buf_add(&b, c->text, c->n);
    if (t->chat->special)
        json_add_text(&b, t->chat->special, 0);
    if (b.failed)
        mem_die("no memory for the hash of a chat template");
    hash_hex(out, hash_bytes(b.s, b.len));
    buf_release(&b);
}

/* ---- messages ---------------------------------------------------------------------- */

/* A copy of a message less its null keys, with reasoning under the names templates read. */
static json_t *copy_message(const json_t *from)
{
    json_t *out = json_object(), *v, *reasoning = NULL;
    const char *key;
    for (size_t i = 0; i < ARRAY_LEN(REASONING) && !reasoning; i++) {
        v = json_object_get(from, REASONING[i]);
        reasoning = v && !json_is_null(v) ? v : NULL;
    }
    bool ok = out && (!reasoning || json_object_set(out, "thinking", reasoning) == 0);
    json_object_foreach((json_t *)from, key, v) ok =
        ok && (json_is_null(v) || json_object_set_nocheck(out, key, v) == 0);
    ok = ok && (!reasoning || json_object_set(out, "reasoning_content", reasoning) == 0);
    if (!ok) {
        json_decref(out);
        out = NULL;
    }
    return out;
}

static int copy_messages(json_t **out, const struct tokenizer *t, const json_t *from,
                         struct err *err)
{
    size_t i;
    json_t *m;
    *out = json_array();
    if (!json_is_array(from))
        return err_set(err, ERR_VALUE, "a conversation must be a list of messages");
    json_array_foreach(from, i, m)
    {
        if (!json_is_object(m))
            return err_set(err, ERR_VALUE, "message %zu of a conversation is not an object",
                           i + 1);
        if (json_array_append_new(*out, copy_message(m)))
            return no_memory(t, err);
    }
    return 0;
}

/* text + MARKER as a new value of o[key]. */
static int mark(const struct tokenizer *t, json_t *o, const char *key, struct err *err)
{
    const json_t *v = json_object_get(o, key);
    struct buf b = {0};
    buf_add(&b, json_string_value(v), json_string_length(v));
    buf_adds(&b, MARKER);
    json_t *marked = b.failed ? NULL : json_stringn_nocheck(b.s, b.len);
    buf_release(&b);
    return marked && json_object_set_new(o, key, marked) == 0 ? 0 : no_memory(t, err);
}

/* Marks the last part with text in a list of parts, which is copied; *text is what it said. */
static int mark_parts(const struct tokenizer *t, json_t *message, const char *field,
                      const json_t *parts, json_t **text, struct err *err)
{
    json_t *list = json_copy((json_t *)parts);
    int rc = list ? json_object_set_new(message, field, list) : -1;
    for (size_t i = json_array_size(list); rc == 0 && i-- > 0;) {
        json_t *v = json_object_get(json_array_get(list, i), "text"), *part;
        if (!v)
            continue;
        if (!json_is_string(v))
            break;
        *text = json_incref(v);
        part = json_copy(json_array_get(list, i));
        if (!part || json_array_set_new(list, i, part))
            return no_memory(t, err);
        return mark(t, part, "text", err);
    }
    return rc ? no_memory(t, err)
              : err_set(err, ERR_VALUE,
                        "there is no text to continue in the final message's '%s'", field);
}

static bool is_reasoning(const char *field)
{
    for (size_t i = 0; i < ARRAY_LEN(REASONING); i++)
        if (!strcmp(field, REASONING[i]))
            return true;
    return false;
}

/* Does the template's text name the field, or another one that holds the same reasoning? */
static bool template_reads(const struct chat_template *c, const json_t *message,
                           const char *field)
{
    bool found = find_bytes(c->text, c->n, field, strlen(field)) != NULL;
    for (size_t i = 0; i < ARRAY_LEN(REASONING) && !found && is_reasoning(field); i++)
        found = json_equal(json_object_get(message, REASONING[i]),
                           json_object_get(message, field)) &&
                find_bytes(c->text, c->n, REASONING[i], strlen(REASONING[i]));
    return found;
}

/* Puts the marker into the final message; *text receives (a reference to) what is continued. */
static int mark_final(const struct tokenizer *t, const struct chat_template *c,
                      json_t *messages, const char *field, json_t **text, struct err *err)
{
    size_t n = json_array_size(messages);
    json_t *last = json_array_get(messages, n - 1), *v = json_object_get(last, field);
    int rc = 0;
    if (n == 0)
        return err_set(err, ERR_VALUE, "there is no final message to continue");
    if (!v)
        return err_set(err, ERR_VALUE, "the final message has no '%s' to continue", field);
    if (!template_reads(c, last, field))
        return err_set(err, ERR_VALUE,
                       "'%s' cannot be continued: the chat template does not read it", field);
    if (json_is_array(v))
        return mark_parts(t, last, field, v, text, err);
    if (!json_is_string(v))
        return err_set(err, ERR_VALUE, "the final message's '%s' is no text", field);
    *text = json_incref(v);
    if (!is_reasoning(field))
        return mark(t, last, field, err);
    for (size_t i = 0; i < ARRAY_LEN(REASONING) && rc == 0; i++)
        if (json_equal(json_object_get(last, REASONING[i]), *text))
            rc = mark(t, last, REASONING[i], err);
    return rc;
}

/* Cuts a rendering at the marker, which a template may have stripped of its space. */
static int cut_at_marker(const struct tokenizer *t, struct buf *b, const json_t *text,
                         struct err *err)
{
    struct value v = strip(v_str(json_string_value(text), json_string_length(text)), v_none(),
                           STRIP_LEFT | STRIP_RIGHT);
    size_t m = strlen(MARKER) - 1;
    const char *all = b->s ? b->s : "", *at = NULL, *hit = all;
    while ((hit = find_bytes(hit, b->len - (size_t)(hit - all), MARKER, m)))
        at = hit++;
    if (!at || !find_bytes(all, b->len, v.s, v.n))
        return err_set(err, ERR_VALUE,
                       "%s: the final message cannot be continued: the chat template does not "
                       "write all of it",
                       t->path);
    size_t keep = (size_t)(at - all);
    bool whole = b->len - keep > m && at[m] == ' ';
    b->len = whole ? keep : space_end(all, keep);
    b->s[b->len] = 0;
    return 0;
}

/* ---- rendering --------------------------------------------------------------------- */

enum { OWN_VARS = 4, VARS_MAX = 64 };

/* Special tokens, then the caller's variables over them, then ours, which are not theirs to
 * set. */
static int collect(struct template_var *var, int *n, const struct tokenizer *t,
                   const struct chat_request *q, struct err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(t->chat->special, key, v) if (!json_object_get(q->variables, key))
        var[(*n)++] = (struct template_var){key, v};
    if (json_object_size(q->variables) + OWN_VARS + (size_t)*n > VARS_MAX)
        return err_set(err, ERR_VALUE, "more than %d variables for a chat template",
                       VARS_MAX - OWN_VARS - *n);
    json_object_foreach((json_t *)q->variables, key, v)
    {
        for (int i = 0; i < OWN_VARS; i++)
            if (!strcmp(key, (const char *[]){"messages", "tools", "documents",
                                              "add_generation_prompt"}[i]))
                return err_set(err, ERR_VALUE,
                               "the chat template's variable '%s' is set by the request", key);
        var[(*n)++] = (struct template_var){key, v};
    }
    return 0;
}

static int render(const struct tokenizer *t, const struct chat_template *c, struct buf *out,
                  const json_t *messages, const struct chat_request *q,
                  struct template_spans *spans, struct err *err)
{
    struct template_var var[VARS_MAX];
    int n = 0, rc = collect(var, &n, t, q, err);
    if (rc)
        return rc;
    var[n++] = (struct template_var){"messages", messages};
    var[n++] = (struct template_var){"tools", q->tools};
    var[n++] = (struct template_var){"documents", q->documents};
    var[n++] = (struct template_var){"add_generation_prompt",
                                     q->add_generation_prompt ? json_true() : json_false()};
    return template_render(c->parsed, out, var, n, spans, err);
}

int chat_apply(const struct tokenizer *t, struct buf *out, const struct chat_request *q,
               struct chat_spans *spans, struct err *err)
{
    const struct chat_template *c = NULL;
    json_t *messages = NULL, *text = NULL;
    struct buf b = {0};
    struct template_spans marks = {0};
    int rc = choose(&c, t, q, err);
    if (rc == 0 && q->continue_field && q->add_generation_prompt)
        rc = err_set(err, ERR_VALUE,
                     "a chat cannot both continue its final message and open a new one");
    if (rc == 0)
        rc = copy_messages(&messages, t, q->messages, err);
    if (rc == 0 && q->continue_field)
        rc = mark_final(t, c, messages, q->continue_field, &text, err);
    if (rc == 0)
        rc = render(t, c, &b, messages, q, &marks, err);
    if (rc == 0 && q->continue_field)
        rc = cut_at_marker(t, &b, text, err);
    for (int i = 0; i < marks.n && spans && rc == 0; i++) {
        struct chat_span *more =
            mem_grow(spans->item, &spans->cap, (size_t)spans->n + 1, sizeof *more);
        if (!more) {
            rc = no_memory(t, err);
            break;
        }
        spans->item = more;
        spans->item[spans->n++] =
            (struct chat_span){out->len + marks.item[i].start, out->len + marks.item[i].end};
    }
    if (rc == 0)
        buf_add(out, b.s ? b.s : "", b.len);
    if (rc == 0 && out->failed)
        rc = no_memory(t, err);
    buf_release(&b);
    free(marks.item);
    json_decref(messages);
    json_decref(text);
    return rc;
}

static int read_member(struct chat_request *q, const char *key, const json_t *v,
                       struct err *err)
{
    if (json_is_null(v))
        return 0;
    bool array = json_is_array(v), text = json_is_string(v);
    if (!strcmp(key, "messages") && array)
        q->messages = v;
    else if (!strcmp(key, "tools") && array)
        q->tools = v;
    else if (!strcmp(key, "documents") && array)
        q->documents = v;
    else if (!strcmp(key, "variables") && json_is_object(v))
        q->variables = v;
    else if (!strcmp(key, "add_generation_prompt") && json_is_boolean(v))
        q->add_generation_prompt = json_is_true(v);
    else if (!strcmp(key, "continue_field") && text)
        q->continue_field = json_string_value(v);
    else if (!strcmp(key, "template") && text)
        q->template = json_string_value(v);
    else
        return err_set(err, ERR_VALUE,
                       "a conversation's member '%.40s' is unknown or has a wrong type", key);
    return 0;
}

int chat_request_read(struct chat_request *q, const json_t *o, struct err *err)
{
    const char *key;
    json_t *v;
    int rc = 0;
    *q = (struct chat_request){.messages = json_is_array(o) ? o : NULL};
    if (!json_is_array(o) && !json_is_object(o))
        return err_set(err, ERR_VALUE,
                       "a conversation is a list of messages or an object with 'messages'");
    json_object_foreach((json_t *)o, key, v) if (rc == 0) rc = read_member(q, key, v, err);
    if (rc == 0 && !q->messages)
        rc = err_set(err, ERR_VALUE, "a conversation has no 'messages'");
    return rc;
}

int chat_render(const struct tokenizer *t, struct buf *out, const struct chat_message *msg,
                int n, bool add_generation_prompt, struct err *err)
{
    json_t *list = json_array();
    int rc = list ? 0 : no_memory(t, err);
    for (int i = 0; i < n && rc == 0; i++) {
        json_t *m = json_object(),
               *role = json_stringn_nocheck(msg[i].role, strlen(msg[i].role)),
               *content = json_stringn_nocheck(msg[i].content, strlen(msg[i].content));
        bool bad = !m || !role || !content || json_object_set(m, "role", role) ||
                   json_object_set(m, "content", content);
        json_decref(role);
        json_decref(content);
        if (json_array_append_new(list, m) || bad)
            rc = no_memory(t, err);
    }
    struct chat_request q = {.messages = list, .add_generation_prompt = add_generation_prompt};
    if (rc == 0)
        rc = chat_apply(t, out, &q, NULL, err);
    json_decref(list);
    return rc;
}
