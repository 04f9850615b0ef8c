/* net/hub.c - from a name to files on this disk.
 *
 *     name -> commit (refs in the cache, else the Hub) -> listing (trees there, else the Hub)
 *          -> which files -> those the cache lacks are fetched -> path
 *
 * While the cache holds all of it, the Hub is not asked, so that a run gives the same tomorrow
 * and works without a network; `rlaif pull` asks. */
#include "net/internal.h"

void hub_found_release(struct hub_found *f)
{
    free(f->path);
    *f = (struct hub_found){0};
}

/* One name being looked up. */
struct search {
    struct hub h;
    struct hub_id id;
    char *repo; // its folder in the cache
    char commit[41];
    struct hub_tree tree;
    bool *take;  // (tree.n)
    bool listed; // the tree is the Hub's listing, not what happens to be in the cache
    struct fetched got;
};

static int search_open(struct search *s, enum hub_kind kind, const char *name, struct err *err)
{
    *s = (struct search){0};
    int rc = hub_id_parse(&s->id, kind, name, err);
    if (rc == 0)
        rc = hub_open(&s->h, err);
    if (rc == 0 && !(s->repo = cache_repo(&s->h.env, &s->id)))
        rc = err_set(err, ERR_MEMORY, "no memory");
    return rc;
}

static void search_close(struct search *s)
{
    free(s->take);
    free(s->repo);
    hub_tree_release(&s->tree);
    hub_close(&s->h);
    hub_id_release(&s->id);
}

static int new_flags(struct search *s, struct err *err)
{
    free(s->take);
    s->take = mem_alloc((size_t)s->tree.n + 1, sizeof *s->take);
    return s->take ? 0 : err_set(err, ERR_MEMORY, "no memory");
}

/* Commit and listing from the cache alone; false where either is not there. */
static bool recall(struct search *s)
{
    if (!cache_commit(s->commit, s->repo, s->id.revision))
        return false;
    s->listed = cache_read_tree(&s->tree, s->repo, s->commit);
    return s->listed || cache_scan(&s->tree, s->repo, s->commit);
}

/* Commit and listing with the Hub's help. */
static int ask(struct search *s, struct err *err)
{
    int rc = hub_http(&s->h, err);
    if (rc == 0 && hub_is_commit(s->id.revision))
        memcpy(s->commit, s->id.revision, 41);
    else if (rc == 0)
        rc = hub_ask_commit(s->commit, &s->h, &s->id, err);
    hub_tree_release(&s->tree);
    if (rc == 0 && cache_read_tree(&s->tree, s->repo, s->commit)) {
        s->listed = true;
        return 0;
    }
    if (rc == 0)
        rc = hub_ask_tree(&s->tree, &s->h, &s->id, s->commit, err);
    if (rc == 0)
        rc = cache_write_tree(s->repo, &s->tree, err);
    s->listed = rc == 0;
    return rc;
}

static bool all_there(const struct search *s)
{
    for (int i = 0; i < s->tree.n; i++)
        if (s->take[i] && !cache_has(s->repo, s->commit, &s->tree.file[i]))
            return false;
    return true;
}

static char *shards_index(const struct search *s)
{
    struct hub_file *f =
        s->take ? hub_tree_find(&s->tree, "model.safetensors.index.json") : NULL;
    return f && s->take[f - s->tree.file] ? cache_snapshot(s->repo, s->commit, f->path) : NULL;
}

/* ---- models -------------------------------------------------------------------------- */

static bool holds(const struct search *s, const char *name)
{
    return hub_tree_find(&s->tree, name) != NULL;
}

/* Marks the model's files and says whether all are in the cache.  Where the cache has no
 * listing, a model counts as whole with configuration, weights and a tokenizer. */
static bool model_there(struct search *s, const char **main)
{
    struct err ignored;
    if (new_flags(s, &ignored) || choose_model(s->take, main, &s->tree, &s->id, &ignored) ||
        !all_there(s))
        return false;
    char *index = shards_index(s);
    bool ok = !index || choose_shards(s->take, &s->tree, index, &ignored) == 0;
    free(index);
    if (!s->listed && !*main)
        ok = ok && holds(s, "config.json") &&
             (holds(s, "tokenizer.json") || holds(s, "tokenizer.model") ||
              holds(s, "vocab.json"));
    return ok && all_there(s);
}

static int model_fetch(struct search *s, const char **main, struct err *err)
{
    int rc = new_flags(s, err);
    if (rc == 0)
        rc = choose_model(s->take, main, &s->tree, &s->id, err);
    if (rc == 0)
        rc = hub_fetch(&s->got, &s->h, &s->id, &s->tree, s->take, err);
    char *index = rc ? NULL : shards_index(s);
    if (index)
        rc = choose_shards(s->take, &s->tree, index, err);
    if (rc == 0 && index)
        rc = hub_fetch(&s->got, &s->h, &s->id, &s->tree, s->take, err);
    free(index);
    if (rc == 0)
        rc = cache_set_ref(s->repo, s->id.revision, s->commit, err);
    return rc;
}

static int found_at(struct hub_found *out, const struct search *s, const char *file,
                    struct err *err)
{
    *out = (struct hub_found){.path = cache_snapshot(s->repo, s->commit, file)};
    memcpy(out->commit, s->commit, 41);
    return out->path ? 0 : err_set(err, ERR_MEMORY, "no memory");
}

int hub_model(struct hub_found *out, const char *name, struct err *err)
{
    struct search s;
    const char *main = NULL;
    int rc = search_open(&s, HUB_MODEL, name, err);
    if (rc == 0 && !(recall(&s) && model_there(&s, &main))) {
        rc = ask(&s, err);
        if (rc == 0)
            rc = model_fetch(&s, &main, err);
    }
    if (rc == 0)
        rc = found_at(out, &s, main, err);
    search_close(&s);
    return rc;
}

/* ---- data sets ----------------------------------------------------------------------- */

static const char *const card_name = "README.md";

/* The card's text, or NULL where the repository has none.  Fetched first: it says which files.
 */
static int read_card(char **card, struct search *s, bool fetch, struct err *err)
{
    struct hub_file *f = hub_tree_find(&s->tree, card_name);
    size_t n;
    *card = NULL;
    if (!f)
        return 0;
    int rc = new_flags(s, err);
    if (rc == 0)
        s->take[f - s->tree.file] = true;
    if (rc == 0 && fetch)
        rc = hub_fetch(&s->got, &s->h, &s->id, &s->tree, s->take, err);
    char *path = rc ? NULL : cache_snapshot(s->repo, s->commit, card_name);
    if (rc == 0)
        rc = path ? file_read(card, &n, path, 16 << 20, err)
                  : err_set(err, ERR_MEMORY, "no memory");
    free(path);
    return rc;
}

/* What stands behind the ':' of a data set's name: a file of it, a split, or CONFIG/SPLIT. */
static int mark_split(struct search *s, const char *config, const char *split, bool fetch,
                      struct err *err)
{
    struct hub_file *f = s->id.file ? hub_tree_find(&s->tree, s->id.file) : NULL;
    char *card = NULL, *copy = s->id.file ? str_printf("%s", s->id.file) : NULL;
    char *slash = copy ? strrchr(copy, '/') : NULL;
    int rc = f ? 0 : read_card(&card, s, fetch, err);
    if (rc == 0)
        rc = new_flags(s, err);
    if (slash) {
        *slash = 0;
        config = copy;
    }
    if (copy)
        split = slash ? slash + 1 : copy;
    if (rc == 0 && f)
        s->take[f - s->tree.file] = true;
    else if (rc == 0)
        rc = choose_split(s->take, &s->tree, card, s->id.repo, config, split, err);
    free(copy);
    free(card);
    return rc;
}

/* Of "NAME-00001-of-00004.x" all four must be there; asked where no listing says so. */
static bool shards_complete(const struct search *s)
{
    for (int i = 0; i < s->tree.n; i++) {
        const char *of = s->take[i] ? strstr(s->tree.file[i].path, "-of-") : NULL;
        int64_t total = of ? strtol(of + 4, NULL, 10) : 0, there = 0;
        if (!of || of - s->tree.file[i].path < 6 || total <= 0)
            continue;
        size_t stem = (size_t)(of - s->tree.file[i].path) - 5;
        for (int k = 0; k < s->tree.n; k++)
            there += s->take[k] && !strncmp(s->tree.file[k].path, s->tree.file[i].path, stem) &&
                     !strncmp(s->tree.file[k].path + stem + 5, of, strlen(of));
        if (there < total)
            return false;
    }
    return true;
}

static int files_found(struct hub_found *out, const struct search *s, struct err *err)
{
    struct buf b = {0};
    int n = 0;
    for (int i = 0; i < s->tree.n; i++) {
        char *path =
            s->take[i] ? cache_snapshot(s->repo, s->commit, s->tree.file[i].path) : NULL;
        if (path)
            buf_addf(&b, "%s%s", n++ ? "," : "", path);
        bool comma = path && strchr(path, ',');
        free(path);
        if (comma && s->tree.n > 1) {
            buf_release(&b);
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: a comma in the path of %s; lists of files have commas",
                           s->id.repo, s->tree.file[i].path);
        }
    }
    *out = (struct hub_found){.path = buf_take(&b)};
    memcpy(out->commit, s->commit, 41);
    return out->path ? 0 : err_set(err, ERR_MEMORY, "no memory");
}

int hub_dataset(struct hub_found *out, const char *name, const char *config, const char *split,
                struct err *err)
{
    struct search s;
    struct err ignored;
    split = split ? split : "train";
    int rc = search_open(&s, HUB_DATASET, name, err);
    bool known = rc == 0 && recall(&s);
    bool there = known && (s.listed || s.h.env.offline) &&
                 mark_split(&s, config, split, false, &ignored) == 0 && all_there(&s) &&
                 (s.listed || shards_complete(&s));
    if (rc == 0 && !there) {
        rc = ask(&s, err);
        if (rc == 0)
            rc = mark_split(&s, config, split, true, err);
        if (rc == 0)
            rc = hub_fetch(&s.got, &s.h, &s.id, &s.tree, s.take, err);
        if (rc == 0)
            rc = cache_set_ref(s.repo, s.id.revision, s.commit, err);
    }
    if (rc == 0)
        rc = files_found(out, &s, err);
    search_close(&s);
    return rc;
}

/* ---- pull ---------------------------------------------------------------------------- */

static bool included(const json_t *patterns, const char *path)
{
    const char *base = strrchr(path, '/');
    size_t i;
    json_t *e;
    json_array_foreach((json_t *)patterns, i, e)
    {
        const char *p = json_string_value(e);
        // a pattern without a folder means files in any, as in huggingface_hub
        if (p && (glob_match(p, path) || (!strchr(p, '/') && base && glob_match(p, base + 1))))
            return true;
    }
    return false;
}

static int pull_files(struct search *s, const struct hub_pull *p, const char **main,
                      struct err *err)
{
    int n = 0;
    if (p->kind == HUB_MODEL && !p->include)
        return model_fetch(s, main, err);
    int rc = new_flags(s, err);
    for (int i = 0; rc == 0 && i < s->tree.n; i++) {
        const char *path = s->tree.file[i].path;
        s->take[i] =
            p->include ? included(p->include, path) : !s->id.file || !strcmp(s->id.file, path);
        n += s->take[i];
    }
    if (rc == 0 && n == 0)
        rc = err_set(err, ERR_MISSING, "%s: none of its %d files fits", s->id.repo, s->tree.n);
    if (rc == 0)
        rc = hub_fetch(&s->got, &s->h, &s->id, &s->tree, s->take, err);
    if (rc == 0)
        rc = cache_set_ref(s->repo, s->id.revision, s->commit, err);
    return rc;
}

static void report(json_t *result, const struct search *s, const char *path)
{
    int64_t bytes = 0, files = 0;
    for (int i = 0; i < s->tree.n; i++) {
        bytes += s->take[i] ? s->tree.file[i].size : 0;
        files += s->take[i];
    }
    json_object_set_new(result, "id", json_string(s->id.repo));
    json_object_set_new(result, "revision", json_string(s->id.revision));
    json_object_set_new(result, "commit", json_string(s->commit));
    json_object_set_new(result, "path", json_string(path));
    json_object_set_new(result, "files", json_integer(files));
    json_object_set_new(result, "bytes", json_integer(bytes));
    json_object_set_new(result, "files_fetched", json_integer(s->got.files));
    json_object_set_new(result, "bytes_fetched", json_integer(s->got.bytes));
}

/* A revision given beside the name replaces that of the name. */
static int set_revision(struct hub_id *id, const char *revision, struct err *err)
{
    if (!hub_revision_safe(revision))
        return err_set(err, ERR_VALUE, "--revision: '%s' cannot be one", revision);
    free(id->revision);
    id->revision = str_printf("%s", revision);
    return id->revision ? 0 : err_set(err, ERR_MEMORY, "no memory");
}

int hub_pull(json_t *result, const struct hub_pull *p, struct err *err)
{
    struct search s;
    struct hub_found found = {0};
    const char *main = NULL;
    int rc = search_open(&s, p->kind, p->name, err);
    if (rc == 0 && p->revision)
        rc = set_revision(&s.id, p->revision, err);
    if (rc == 0 && !s.h.env.offline)
        rc = ask(&s, err);
    else if (rc == 0 && !recall(&s))
        rc = hub_http(&s.h, err); // says that it is offline
    if (rc == 0)
        rc = pull_files(&s, p, &main, err);
    if (rc == 0)
        rc = found_at(&found, &s, main, err);
    if (rc == 0)
        report(result, &s, found.path);
    hub_found_release(&found);
    search_close(&s);
    return rc;
}
