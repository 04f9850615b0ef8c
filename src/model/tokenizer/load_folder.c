/* load_folder.c - the tokenizer files of a model folder: which of them is read, and keeping
 * them all as they are, so that they can be saved again byte for byte.
 *
 * tokenizer.json where there is one, else tokenizer.model with the added tokens and options
 * that tokenizer_config.json and added_tokens.json give it; and the chat template. */
#include "model/tokenizer/tokenizer.h"

#include <dirent.h>

static int no_memory(const struct tokenizer *t, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for the tokenizer", t->path);
}

static const struct saved_file *saved(const struct tokenizer *t, const char *name)
{
    for (int i = 0; i < t->n_files; i++)
        if (!strcmp(t->file[i].name, name))
            return &t->file[i];
    return NULL;
}

static int keep_file(struct tokenizer *t, const char *name, struct err *err)
{
    char *path = path_join(t->path, name);
    int rc = 0;
    if (!path)
        return no_memory(t, err);
    if (file_exists(path)) {
        struct saved_file *f = &t->file[t->n_files];
        f->name = str_printf("%s", name);
        rc = f->name ? file_read(&f->bytes, &f->n, path, (size_t)1 << 28, err)
                     : no_memory(t, err);
        t->n_files++;
    }
    free(path);
    return rc;
}

static int is_jinja(const struct dirent *e)
{
    return e->d_name[0] != '.' && str_ends(e->d_name, ".jinja");
}

/* chat_templates/NAME.jinja, in the order of their names. */
static int keep_templates(struct tokenizer *t, struct err *err)
{
    struct dirent **list = NULL;
    char *dir = path_join(t->path, CHAT_DIR);
    int rc = dir ? 0 : no_memory(t, err), n = dir ? scandir(dir, &list, is_jinja, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        char name[512];
        snprintf(name, sizeof name, CHAT_DIR "/%s", list[i]->d_name);
        if (rc == 0 && t->n_files == FILES_MAX)
            rc = err_set(err, ERR_UNSUPPORTED, "%s: more than %d chat templates", dir, i);
        if (rc == 0)
            rc = keep_file(t, name, err);
        free(list[i]);
    }
    free(list);
    free(dir);
    return rc;
}

/* Keeps every tokenizer file of the folder in memory, so that a model can be saved after its
 * source is gone. */
static int keep_files(struct tokenizer *t, struct err *err)
{
    static const char *const names[] = {
        "tokenizer.json",    "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "chat_template.jinja",   "vocab.json",
        "merges.txt",        "tokenizer.model"};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(names) && rc == 0; i++)
        rc = keep_file(t, names[i], err);
    return rc ? rc : keep_templates(t, err);
}

static json_t *parse_saved(const struct tokenizer *t, const char *name, int *rc,
                           struct err *err)
{
    const struct saved_file *f = saved(t, name);
    char where[512];
    struct err e = {0};
    *rc = 0;
    if (!f)
        return NULL;
    snprintf(where, sizeof where, "%s/%s", t->path, name);
    json_t *v = json_parse(f->bytes, f->n, where, &e);
    if (!v)
        *rc = err_set(err, e.code, "%s", e.msg);
    return v;
}

static int load_chat(struct tokenizer *t, struct err *err)
{
    int rc;
    json_t *config = parse_saved(t, "tokenizer_config.json", &rc, err);
    if (rc == 0)
        rc = chat_load_folder(t, config, err);
    json_decref(config);
    return rc;
}

static int load_spm(struct tokenizer *t, const struct saved_file *f, struct err *err)
{
    int rc;
    json_t *config = parse_saved(t, "tokenizer_config.json", &rc, err), *added = NULL;
    if (rc == 0)
        added = parse_saved(t, "added_tokens.json", &rc, err);
    if (rc == 0)
        rc = tokenizer_load_spm(t, f, config, added, err);
    json_decref(config);
    json_decref(added);
    return rc;
}

int tokenizer_load_folder(struct tokenizer *t, struct err *err)
{
    int rc = keep_files(t, err);
    if (rc)
        return rc;
    const struct saved_file *json = saved(t, "tokenizer.json"),
                            *spm = saved(t, "tokenizer.model");
    if (!json && !spm)
        return err_set(err, ERR_MISSING,
                       "%s: no tokenizer.json or tokenizer.model in this folder", t->path);
    snprintf(t->where, sizeof t->where, "%s/%s", t->path, (json ? json : spm)->name);
    rc = json ? tokenizer_load_json(t, json, err) : load_spm(t, spm, err);
    return rc ? rc : load_chat(t, err);
}

int tokenizer_load_file(struct tokenizer *t, struct err *err)
{
    struct saved_file *f = &t->file[t->n_files++];
    snprintf(t->where, sizeof t->where, "%s", t->path);
    f->name = str_printf("tokenizer.model");
    int rc = f->name ? file_read(&f->bytes, &f->n, t->path, (size_t)1 << 28, err)
                     : no_memory(t, err);
    return rc ? rc : load_spm(t, f, err);
}
