/* net/choose.c - which files of a repository are wanted.
 *
 * A model: configuration, tokenizer, templates and safetensors; the same weights in other formats
 * (.bin, .pth, .onnx, .h5, .msgpack) are left where they are.  A data set: the files of one
 * split, as its card says or, without a word in it, by the names that the `datasets` library
 * recognises. */
#include "net/internal.h"

#include <ctype.h>

/* ---- patterns ------------------------------------------------------------------------ */

/* Whether c is in the class that follows '['; *end is set behind its ']'. */
static bool in_class(const char *p, char c, const char **end)
{
    bool not = *p == '!' || *p == '^', in = false;
    p += not ;
    for (const char *first = p; *p && (*p != ']' || p == first); p++) {
        if (p[1] == '-' && p[2] && p[2] != ']') {
            in |= c >= p[0] && c <= p[2];
            p += 2;
        } else {
            in |= c == *p;
        }
    }
    *end = *p ? p + 1 : p;
    return in != not &&c != '/';
}

/* Whether the pattern's next element, other than '*', fits c; *end is set behind it. */
static bool fits(const char *p, char c, const char **end)
{
    *end = p + 1;
    if (*p == '[' && strchr(p + 1, ']'))
        return in_class(p + 1, c, end);
    return *p && (*p == '?' || *p == c);
}

/* Inside one part of a path.  Only the last star is ever retried, so the time is bounded by the
 * product of the lengths. */
static bool match_flat(const char *p, const char *s)
{
    const char *star = NULL, *retry = NULL, *after;
    while (*s) {
        if (*p == '*') {
            star = ++p;
            retry = s;
        } else if (fits(p, *s, &after)) {
            p = after;
            s++;
        } else if (star) {
            p = star;
            s = ++retry;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return !*p;
}

/* Part by part; "**" as a whole part stands for any number of parts, which is bounded like a
 * star. */
static bool match_parts(char **p, int np, char **s, int ns)
{
    int i = 0, k = 0, star = -1, retry = 0;
    while (k < ns) {
        if (i < np && !strcmp(p[i], "**")) {
            star = ++i;
            retry = k;
            if (star == np)
                return true;
        } else if (i < np && match_flat(p[i], s[k])) {
            i++;
            k++;
        } else if (star >= 0) {
            i = star;
            k = ++retry;
        } else {
            return false;
        }
    }
    while (i < np && !strcmp(p[i], "**"))
        i++;
    return i == np;
}

enum { PARTS = 64 };

static int split_parts(char *text, char **part)
{
    int n = 0;
    for (char *save = NULL, *p = strtok_r(text, "/", &save); p && n < PARTS;
         p = strtok_r(NULL, "/", &save))
        part[n++] = p;
    return n;
}

bool glob_match(const char *pattern, const char *path)
{
    char *a = str_printf("%s", pattern), *b = str_printf("%s", path);
    char *p[PARTS], *s[PARTS];
    bool ok = a && b && match_parts(p, split_parts(a, p), s, split_parts(b, s));
    free(a);
    free(b);
    return ok;
}

/* ---- models -------------------------------------------------------------------------- */

static const char *const model_files[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "model.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "LICENSE*",
    "README.md",
};

static const char *const index_name = "model.safetensors.index.json";

/* The GGUF files of a repository for a message, and how many. */
static int list_ggufs(struct buf *b, const struct hub_tree *t)
{
    int n = 0;
    for (int i = 0; i < t->n; i++)
        if (str_ends(t->file[i].path, ".gguf") && n++ < 12)
            buf_addf(b, "%s%s", n > 1 ? ", " : "", t->file[i].path);
    if (n > 12)
        buf_adds(b, ", ...");
    return n;
}

static int choose_file(bool *take, const char **main, const struct hub_tree *t,
                       const struct hub_id *id, struct err *err)
{
    struct hub_file *f = hub_tree_find(t, id->file);
    struct buf b = {0};
    int n = f ? 0 : list_ggufs(&b, t);
    if (f) {
        take[f - t->file] = true;
        *main = f->path;
    }
    int rc = f ? 0
               : err_set(err, ERR_MISSING, "%s has no file '%s'%s%s", id->repo, id->file,
                         n ? "; its GGUF files: " : "", n && b.s ? b.s : "");
    buf_release(&b);
    return rc;
}

static int without_safetensors(bool *take, const char **main, const struct hub_tree *t,
                               const struct hub_id *id, struct err *err)
{
    struct buf b = {0};
    int n = list_ggufs(&b, t), rc = 0;
    for (int i = 0; i < t->n && n == 1; i++) {
        if (!str_ends(t->file[i].path, ".gguf"))
            continue;
        memset(take, 0, (size_t)t->n * sizeof *take);
        take[i] = true;
        *main = t->file[i].path;
    }
    if (n > 1)
        rc = err_set(err, ERR_VALUE,
                     "%s holds %d GGUF files: say which, as in %s:FILE; there are %s", id->repo,
                     n, id->repo, b.s ? b.s : "");
    buf_release(&b);
    for (int i = 0; i < t->n && n == 0 && rc == 0; i++)
        if (str_ends(t->file[i].path, ".bin") || str_ends(t->file[i].path, ".pth"))
            rc = err_set(err, ERR_UNSUPPORTED,
                         "%s has its weights only as pickled Python (%s); safetensors or "
                         "GGUF is needed",
                         id->repo, t->file[i].path);
    if (n == 0 && rc == 0)
        rc = err_set(err, ERR_MISSING,
                     "%s holds neither safetensors nor a GGUF file: no model that can be read",
                     id->repo);
    return rc;
}

int choose_model(bool *take, const char **main, const struct hub_tree *t,
                 const struct hub_id *id, struct err *err)
{
    *main = NULL;
    if (id->file)
        return choose_file(take, main, t, id, err);
    for (int i = 0; i < t->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(model_files); k++)
            take[i] |= glob_match(model_files[k], t->file[i].path);
    if (hub_tree_find(t, "model.safetensors") || hub_tree_find(t, "adapter_model.safetensors"))
        return 0;
    struct hub_file *index = hub_tree_find(t, index_name);
    if (!index)
        return without_safetensors(take, main, t, id, err);
    take[index - t->file] = true;
    return 0;
}

int choose_shards(bool *take, const struct hub_tree *t, const char *path, struct err *err)
{
    json_t *index = json_read_file(path, err), *v;
    if (!index)
        return err ? err->code : ERR_FORMAT;
    const json_t *map = json_object_get(index, "weight_map");
    const char *tensor;
    int rc = json_is_object(map)
                 ? 0
                 : err_set(err, ERR_FORMAT, "%s: 'weight_map' should be an object", path);
    if (rc == 0) {
        json_object_foreach((json_t *)map, tensor, v)
        {
            const char *name = json_string_value(v);
            struct hub_file *f = name ? hub_tree_find(t, name) : NULL;
            if (f)
                take[f - t->file] = true;
            else if (rc == 0)
                rc = err_set(err, ERR_MISSING,
                             "%s: tensor '%s' lies in %s, which the repository does not hold",
                             path, tensor, name ? name : "no file");
        }
    }
    json_decref(index);
    return rc;
}

/* ---- data sets ----------------------------------------------------------------------- */

static const char *const data_endings[] = {".parquet",  ".jsonl",   ".json",  ".csv",
                                           ".jsonl.gz", ".json.gz", ".csv.gz"};

static bool is_data(const char *path)
{
    static const char *const never[] = {"dataset_info.json", "dataset_infos.json",
                                        "config.json", "dataset_dict.json", "state.json"};
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (!strcmp(base, never[i]))
            return false;
    if (base[0] == '.' || path[0] == '.' || strstr(path, "/."))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(data_endings); i++)
        if (str_ends(path, data_endings[i]))
            return true;
    return false;
}

/* The words that name a split in file and folder names. */
static const struct {
    const char *split, *word;
} words[] = {
    {"train", "train"},      {"train", "training"}, {"validation", "validation"},
    {"validation", "valid"}, {"validation", "dev"}, {"validation", "val"},
    {"test", "test"},        {"test", "testing"},   {"test", "eval"},
    {"test", "evaluation"},
};

/* Whether a word stands in s between marks, digits or ends. */
static bool has_word(const char *s, size_t n, const char *word)
{
    size_t m = strlen(word);
    for (size_t i = 0; i + m <= n; i++)
        if (!strncmp(s + i, word, m) && (i == 0 || !isalpha((unsigned char)s[i - 1])) &&
            (i + m == n || !isalpha((unsigned char)s[i + m])))
            return true;
    return false;
}

static const char *split_of_part(const char *s, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (has_word(s, n, words[i].word))
            return words[i].split;
    return NULL;
}

/* The split in "data/SPLIT-00000-of-00004.parquet"; its length, or 0. */
static size_t sharded_split(const char *path)
{
    const char *name = str_starts(path, "data/") ? path + 5 : NULL;
    size_t n = name ? strlen(name) : 0;
    for (size_t i = 1; name && i + 15 <= n; i++)
        if (glob_match("-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]*", name + i) &&
            !strchr(name, '/'))
            return i;
    return 0;
}

enum by { BY_SHARDS, BY_FOLDER, BY_NAME, ALL_TRAIN };

/* The split of a path by one of the ways; NULL: none.  *n is its length. */
static const char *split_by(enum by how, const char *path, size_t *n)
{
    const char *base = strrchr(path, '/'), *found = NULL;
    base = base ? base + 1 : path;
    if (how == BY_SHARDS) {
        *n = sharded_split(path);
        return *n ? path + 5 : NULL;
    }
    if (how == BY_NAME) {
        found = split_of_part(base, strcspn(base, "."));
    } else if (how == BY_FOLDER) {
        for (const char *p = path; !found && p < base; p += strcspn(p, "/") + 1)
            found = split_of_part(p, strcspn(p, "/"));
    } else {
        found = "train";
    }
    *n = found ? strlen(found) : 0;
    return found;
}

static void add_once(json_t *list, const char *s, size_t n)
{
    size_t i;
    json_t *e;
    json_array_foreach(list, i, e) if (json_string_length(e) == n &&
                                       !strncmp(json_string_value(e), s, n)) return;
    json_array_append_new(list, json_stringn(s, n));
}

static char *joined(const json_t *list)
{
    struct buf b = {0};
    size_t i;
    json_t *e;
    json_array_foreach((json_t *)list, i, e)
        buf_addf(&b, "%s%s", i ? ", " : "", json_string_value(e));
    return buf_take(&b);
}

static int no_such(const char *where, const char *what, const char *asked, const json_t *there,
                   struct err *err)
{
    char *list = joined(there);
    int rc = err_set(err, ERR_MISSING, "%s has no %s '%s'; it has %s", where, what, asked,
                     list && *list ? list : "none");
    free(list);
    return rc;
}

/* By names alone: the first way that finds a split for any file decides for all. */
static int by_names(bool *take, const struct hub_tree *t, const char *where, const char *folder,
                    const char *split, struct err *err)
{
    size_t skip = folder ? strlen(folder) + 1 : 0;
    json_t *there = json_array();
    int taken = 0;
    for (enum by how = BY_SHARDS; how <= ALL_TRAIN && json_array_size(there) == 0; how++) {
        for (int i = 0; i < t->n; i++) {
            const char *path = t->file[i].path;
            size_t n;
            if (!is_data(path) ||
                (folder && (strncmp(path, folder, skip - 1) || path[skip - 1] != '/')))
                continue;
            const char *s = split_by(how, path + skip, &n);
            if (s)
                add_once(there, s, n);
            if (s && strlen(split) == n && !strncmp(s, split, n))
                take[i] = true, taken++;
        }
    }
    int rc = taken ? 0
             : json_array_size(there)
                 ? no_such(where, "split", split, there, err)
                 : err_set(err, ERR_MISSING,
                           "%s holds no file of data that can be read (.parquet, .jsonl, "
                           ".json, .csv, also .gz)",
                           where);
    json_decref(there);
    return rc;
}

/* Marks what a path or pattern of a card means; false where it is none. */
static bool by_pattern(bool *take, const struct hub_tree *t, const char *dir,
                       const char *pattern, int *taken)
{
    char *full = dir && *dir && strcmp(dir, ".") ? str_printf("%s/%s", dir, pattern)
                                                 : str_printf("%s", pattern);
    const char *p = full && str_starts(full, "./") ? full + 2 : full;
    if (!p || strstr(p, "://") || p[0] == '/') {
        free(full);
        return false;
    }
    for (int i = 0; i < t->n; i++) {
        if (!take[i] && glob_match(p, t->file[i].path) &&
            (is_data(t->file[i].path) || !strpbrk(p, "*?["))) {
            take[i] = true;
            ++*taken;
        }
    }
    free(full);
    return true;
}

static int by_patterns(bool *take, const struct hub_tree *t, const char *dir,
                       const json_t *paths, const char *where, struct err *err)
{
    size_t i;
    json_t *e;
    int taken = 0;
    bool ok = true;
    if (json_is_string(paths))
        ok = by_pattern(take, t, dir, json_string_value(paths), &taken);
    json_array_foreach((json_t *)paths, i, e) ok =
        ok && json_is_string(e) && by_pattern(take, t, dir, json_string_value(e), &taken);
    if (!ok)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: its card names data files outside the repository", where);
    return taken ? 0
                 : err_set(err, ERR_MISSING, "%s: the files that its card names are not there",
                           where);
}

/* data_files: a path, a list of paths (both: train), a list of {split, path}, or {split: path}.
 */
static int by_data_files(bool *take, const struct hub_tree *t, const json_t *config,
                         const char *where, const char *split, struct err *err)
{
    const json_t *files = json_object_get(config, "data_files"), *paths = NULL;
    const char *dir = json_string_value(json_object_get(config, "data_dir")), *key;
    json_t *there = json_array(), *e;
    size_t i;
    if (json_is_object(files)) {
        json_object_foreach((json_t *)files, key, e) add_once(there, key, strlen(key));
        paths = json_object_get(files, split);
    } else if (json_is_object(json_array_get(files, 0))) {
        json_array_foreach((json_t *)files, i, e)
        {
            const char *s = json_string_value(json_object_get(e, "split"));
            if (s)
                add_once(there, s, strlen(s));
            if (s && !strcmp(s, split))
                paths = json_object_get(e, "path");
        }
    } else {
        add_once(there, "train", 5);
        paths = strcmp(split, "train") ? NULL : files;
    }
    int rc = paths ? by_patterns(take, t, dir, paths, where, err)
                   : no_such(where, "split", split, there, err);
    json_decref(there);
    return rc;
}

/* The YAML between the two "---" lines at the start of a card, or NULL. */
static json_t *card_data(const char *card, const char *where)
{
    struct err err = {0};
    const char *start = card && str_starts(card, "---") ? strchr(card, '\n') : NULL;
    const char *end = start ? strstr(start, "\n---") : NULL;
    json_t *v = NULL;
    if (end && end > start &&
        yaml_parse(&v, start + 1, (size_t)(end - start), "README.md", &err)) {
        log_warn("%s: its card cannot be read (%s); its files are chosen by their names", where,
                 err.msg);
        v = NULL;
    }
    return v;
}

static const json_t *find_config(const json_t *configs, const char *name, json_t *there)
{
    const json_t *found = NULL;
    size_t i;
    json_t *e;
    json_array_foreach((json_t *)configs, i, e)
    {
        const char *n = json_string_value(json_object_get(e, "config_name"));
        n = n ? n : "default";
        add_once(there, n, strlen(n));
        bool wanted = name ? !strcmp(n, name)
                           : !strcmp(n, "default") ||
                                 json_is_true(json_object_get(e, "default")) ||
                                 json_array_size(configs) == 1;
        if (wanted && !found)
            found = e;
    }
    return found;
}

int choose_split(bool *take, const struct hub_tree *t, const char *card, const char *where,
                 const char *config, const char *split, struct err *err)
{
    json_t *data = card_data(card, where), *there = json_array();
    const json_t *configs = json_object_get(data, "configs"), *c = NULL;
    int rc = 0;
    if (json_is_array(configs) && json_array_size(configs)) {
        c = find_config(configs, config, there);
        if (!c && config)
            rc = no_such(where, "configuration", config, there, err);
        if (!c && !config) {
            char *list = joined(there);
            rc = err_set(err, ERR_VALUE,
                         "%s has several configurations: choose one with --dataset_config: %s",
                         where, list ? list : "");
            free(list);
        }
    }
    if (rc == 0 && c && json_object_get(c, "data_files"))
        rc = by_data_files(take, t, c, where, split, err);
    else if (rc == 0 && c)
        rc = by_names(take, t, where, json_string_value(json_object_get(c, "data_dir")), split,
                      err);
    else if (rc == 0) // without a card, a configuration is a folder
        rc = by_names(take, t, where, config && strcmp(config, "default") ? config : NULL,
                      split, err);
    json_decref(there);
    json_decref(data);
    return rc;
}
