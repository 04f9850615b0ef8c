/* model/template/chat.h - the chat templates of a tokenizer: what loaders fill in.
 *
 * Templates are parsed when a tokenizer is opened and kept with it; one that cannot be parsed
 * is complained about when it is used.  Conversations are rendered through the room's door,
 * model/model.h. */
#ifndef MODEL_TEMPLATE_CHAT_H
#define MODEL_TEMPLATE_CHAT_H

#include "model/model.h"
#include "model/template/template.h"

#define CHAT_DIR "additional_chat_templates" // of a folder: further templates, NAME.jinja

struct chat_template {
    char *name, *text; // the text as it was
    size_t n;
    struct template *parsed; // NULL: why says why not
    struct err why;
};

struct chat {
    struct chat_template *item;
    int n;
    size_t cap;
    json_t *special; // "bos_token": "<s>", ...
    char use[4096];  // name of the one chosen by tokenizer_use_template, ""
};

/* Adds a template; origin names it in errors. */
int chat_add(struct tokenizer *t, const char *name, const char *text, size_t n,
             const char *origin, struct err *err) MUST_CHECK;
/* A special token the templates see as the variable `name`. */
int chat_special(struct tokenizer *t, const char *name, const char *token,
                 struct err *err) MUST_CHECK;
/* Templates and special tokens of a folder: chat_template.jinja and CHAT_DIR, else what
 * tokenizer_config.json (NULL: none) holds. */
int chat_load_folder(struct tokenizer *t, const json_t *config, struct err *err) MUST_CHECK;
void chat_free(struct chat *c);

#endif
