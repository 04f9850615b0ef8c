/* net/cache.c - the cache that huggingface_hub keeps, by its rules, so that both use one.
 *
 *     CACHE/models--ORG--NAME/
 *         blobs/<etag>                the bytes, named by SHA-256 (large files) or git's SHA-1
 *         blobs/<etag>.incomplete     the beginning of one that is being fetched
 *         refs/<revision>             a commit, 40 characters without a line end
 *         snapshots/<commit>/<path>   relative links to ../../blobs/<etag>
 *         trees/<commit>.json         the listing of a commit (newer versions)
 *     CACHE/.locks/models--ORG--NAME/<etag>.lock     flock'ed while a blob is fetched
 *
 * What appears under a final name appears whole, by renaming.  What is left out: `.no_exist`,
 * which remembers files a repository lacks (we never ask for a file that is not listed), and
 * the store of blobs shared between repositories, whose blobs are links and read like any
 * other. */
#include "net/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char *repo_name(const struct hub_id *id)
{
    const char *slash = strchr(id->repo, '/');
    return str_printf("%ss--%.*s--%s", hub_word(id->kind), (int)(slash - id->repo), id->repo,
                      slash + 1);
}

char *cache_repo(const struct hub_env *e, const struct hub_id *id)
{
    char *name = repo_name(id), *path = name ? path_join(e->cache, name) : NULL;
    free(name);
    return path;
}

char *cache_snapshot(const char *repo, const char *commit, const char *path)
{
    return str_printf("%s/snapshots/%s%s%s", repo, commit, path ? "/" : "", path ? path : "");
}

char *cache_blob(const char *repo, const char *etag)
{
    return str_printf("%s/blobs/%s", repo, etag);
}

/* ---- refs ---------------------------------------------------------------------------- */

bool cache_commit(char commit[41], const char *repo, const char *revision)
{
    if (hub_is_commit(revision)) {
        memcpy(commit, revision, 41);
        return true;
    }
    char *path = str_printf("%s/refs/%s", repo, revision), *text = NULL;
    size_t n = 0;
    bool ok = path && file_exists(path) && file_read(&text, &n, path, 256, NULL) == 0;
    if (ok) {
        text[strcspn(text, " \r\n")] = 0;
        ok = hub_is_commit(text);
    }
    if (ok)
        memcpy(commit, text, 41);
    free(text);
    free(path);
    return ok;
}

/* A name beside path that no other process uses. */
static char *own_name(const char *path)
{
    static unsigned count;
    return str_printf("%s.%08x.tmp", path, (unsigned)getpid() * 2654435761u + count++);
}

int cache_set_ref(const char *repo, const char *revision, const char *commit, struct err *err)
{
    char now[41];
    if (!strcmp(revision, commit) ||
        (cache_commit(now, repo, revision) && !strcmp(now, commit)))
        return 0;
    char *path = str_printf("%s/refs/%s", repo, revision), *tmp = path ? own_name(path) : NULL;
    int rc = tmp ? dir_make_parent(path, err) : err_set(err, ERR_MEMORY, "%s: no memory", repo);
    if (rc == 0)
        rc = file_write(tmp, commit, strlen(commit), err);
    if (rc == 0 && rename(tmp, path))
        rc = err_set(err, ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    if (rc && tmp)
        unlink(tmp);
    free(tmp);
    free(path);
    return rc;
}

/* ---- listings ------------------------------------------------------------------------ */

static char *tree_path(const char *repo, const char *commit)
{
    return str_printf("%s/trees/%s.json", repo, commit);
}

static int add_listed(struct hub_tree *t, const char *path, const json_t *v)
{
    struct hub_file f = {
        .blob_id = (char *)json_string_value(json_object_get(v, "blob_id")),
        .etag = (char *)json_string_value(json_object_get(v, "lfs_sha256")),
        .xet = (char *)json_string_value(json_object_get(v, "xet_hash")),
    };
    f.lfs = f.etag != NULL;
    if (!f.lfs)
        f.etag = f.blob_id;
    const json_t *size = json_object_get(v, f.lfs ? "lfs_size" : "size");
    f.size = json_is_integer(size) ? json_integer_value(size) : -1;
    return hub_tree_add(t, path, &f, "", NULL);
}

bool cache_read_tree(struct hub_tree *t, const char *repo, const char *commit)
{
    *t = (struct hub_tree){0};
    memcpy(t->commit, commit, 41);
    char *path = tree_path(repo, commit);
    json_t *all = path && file_exists(path) ? json_read_file(path, NULL) : NULL, *v;
    const json_t *files = json_object_get(all, "files");
    bool ok = json_integer_value(json_object_get(all, "format_version")) == 1 &&
              json_is_object(files);
    const char *name;
    if (ok)
        json_object_foreach((json_t *)files, name, v) ok = ok && add_listed(t, name, v) == 0;
    json_decref(all);
    free(path);
    if (ok)
        hub_tree_sort(t);
    else
        hub_tree_release(t);
    return ok;
}

int cache_write_tree(const char *repo, const struct hub_tree *t, struct err *err)
{
    json_t *files = json_object();
    for (int i = 0; i < t->n; i++) {
        const struct hub_file *f = &t->file[i];
        json_t *v = json_pack("{s:I, s:s}", "size", (json_int_t)f->size, "blob_id", f->blob_id);
        if (f->lfs) {
            json_object_set_new(v, "lfs_sha256", json_string(f->etag));
            json_object_set_new(v, "lfs_size", json_integer(f->size));
        }
        if (f->xet)
            json_object_set_new(v, "xet_hash", json_string(f->xet));
        json_object_set_new(files, f->path, v);
    }
    json_t *all = json_pack("{s:i, s:o}", "format_version", 1, "files", files);
    char *path = tree_path(repo, t->commit), *tmp = path ? own_name(path) : NULL;
    int rc =
        all && tmp ? dir_make_parent(path, err) : err_set(err, ERR_MEMORY, "%s: no memory", repo);
    if (rc == 0)
        rc = json_write_file(tmp, all, err);
    if (rc == 0 && rename(tmp, path))
        rc = err_set(err, ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    json_decref(all);
    free(tmp);
    free(path);
    return rc;
}

/* ---- snapshots ----------------------------------------------------------------------- */

enum { SCAN_DEPTH = 12, SCAN_FILES = 200000 };

static void scan_folder(struct hub_tree *t, const char *folder, const char *prefix, int depth)
{
    DIR *d = depth < SCAN_DEPTH ? opendir(folder) : NULL;
    for (struct dirent *e; d && t->n < SCAN_FILES && (e = readdir(d));) {
        struct stat st;
        char *path = e->d_name[0] == '.' && (!e->d_name[1] || !strcmp(e->d_name, ".."))
                         ? NULL
                         : path_join(folder, e->d_name);
        char *name = path ? str_printf("%s%s", prefix, e->d_name) : NULL;
        if (name && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            char *deeper = str_printf("%s/", name);
            if (deeper)
                scan_folder(t, path, deeper, depth + 1);
            free(deeper);
        } else if (name && stat(path, &st) == 0) {
            struct hub_file *list = mem_grow(t->file, &t->cap, (size_t)t->n + 1, sizeof *list);
            char *kept = list ? arena_strdup(&t->arena, name) : NULL;
            if (list)
                t->file = list;
            if (kept)
                list[t->n++] = (struct hub_file){.path = kept, .size = st.st_size};
        }
        free(name);
        free(path);
    }
    if (d)
        closedir(d);
}

bool cache_scan(struct hub_tree *t, const char *repo, const char *commit)
{
    *t = (struct hub_tree){0};
    memcpy(t->commit, commit, 41);
    char *folder = cache_snapshot(repo, commit, NULL);
    bool ok = folder && dir_exists(folder);
    if (ok)
        scan_folder(t, folder, "", 0);
    free(folder);
    hub_tree_sort(t);
    return ok;
}

bool cache_has(const char *repo, const char *commit, const struct hub_file *f)
{
    struct stat st;
    char *path = cache_snapshot(repo, commit, f->path);
    bool ok = path && stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == f->size;
    free(path);
    return ok;
}

/* "../../blobs/ETAG" from snapshots/COMMIT/PATH. */
static char *link_target(const struct hub_file *f)
{
    struct buf b = {0};
    for (const char *p = f->path; p; p = strchr(p, '/'), p = p ? p + 1 : NULL)
        buf_adds(&b, "../");
    buf_addf(&b, "../blobs/%s", f->etag);
    return buf_take(&b);
}

int cache_link(const struct hub_env *e, const char *repo, const char *commit,
               const struct hub_file *f, struct err *err)
{
    char *path = cache_snapshot(repo, commit, f->path), *target = link_target(f);
    char *tmp = path ? own_name(path) : NULL, *blob = cache_blob(repo, f->etag);
    int rc = tmp && target && blob ? dir_make_parent(path, err)
                                   : err_set(err, ERR_MEMORY, "%s: no memory", repo);
    if (rc == 0 && (e->no_links || symlink(target, tmp)))
        rc = file_copy(tmp, blob, err); // a file system without links
    if (rc == 0 && rename(tmp, path)) {
        rc = err_set(err, ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
        unlink(tmp);
    }
    free(path);
    free(target);
    free(tmp);
    free(blob);
    return rc;
}

/* ---- locks --------------------------------------------------------------------------- */

/* A lock file may have been removed by who held it before: then another file has its name now.
 */
static bool still_named(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

int cache_lock(int *fd, const struct hub_env *e, const struct hub_id *id, const char *etag,
               struct err *err)
{
    char *name = repo_name(id);
    char *path = name ? str_printf("%s/.locks/%s/%s.lock", e->cache, name, etag) : NULL;
    free(name);
    int rc = path ? dir_make_parent(path, err) : err_set(err, ERR_MEMORY, "no memory for a lock");
    *fd = -1;
    if (rc == 0) {
        int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        int failed = f >= 0 && flock(f, LOCK_EX | LOCK_NB) ? errno : 0;
        if (f < 0)
            rc = err_set(err, ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
        else if (failed)
            *fd = failed == EWOULDBLOCK ? -1 : -2;
        else if (still_named(f, path))
            *fd = f;
        if (f >= 0 && *fd < 0)
            close(f);
    }
    free(path);
    return rc;
}

void cache_unlock(int fd)
{
    if (fd >= 0)
        close(fd); // flock ends with the last descriptor
}

/* ---- what is there ------------------------------------------------------------------- */

struct repo_stats {
    int64_t bytes, files;
    time_t used;
};

static void count_blobs(struct repo_stats *s, const char *repo)
{
    char *folder = path_join(repo, "blobs");
    DIR *d = folder ? opendir(folder) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, 0) || !S_ISREG(st.st_mode))
            continue;
        s->bytes += st.st_size;
        s->files++;
        if (st.st_atime > s->used)
            s->used = st.st_atime;
    }
    if (d)
        closedir(d);
    free(folder);
}

/* Appends the names of refs that point at commit, "refs/pr/1" and the like included. */
static void refs_of(json_t *out, const char *refs, const char *prefix, const char *commit,
                    int depth)
{
    DIR *d = depth < SCAN_DEPTH ? opendir(refs) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        char *path = path_join(refs, e->d_name), *name = str_printf("%s%s", prefix, e->d_name);
        char *text = NULL;
        size_t n = 0;
        if (path && name && dir_exists(path)) {
            char *deeper = str_printf("%s/", name);
            if (deeper)
                refs_of(out, path, deeper, commit, depth + 1);
            free(deeper);
        } else if (path && name && file_read(&text, &n, path, 256, NULL) == 0 &&
                   !strncmp(text, commit, 40)) {
            json_array_append_new(out, json_string(name));
        }
        free(text);
        free(name);
        free(path);
    }
    if (d)
        closedir(d);
}

static json_t *revisions(const char *repo)
{
    json_t *list = json_array();
    char *folder = path_join(repo, "snapshots"), *refs = path_join(repo, "refs");
    struct dirent **e;
    int n = folder && refs ? scandir(folder, &e, NULL, alphasort) : -1;
    for (int i = 0; i < n; i++) {
        if (hub_is_commit(e[i]->d_name)) {
            json_t *names = json_array();
            refs_of(names, refs, "", e[i]->d_name, 0);
            json_array_append_new(
                list, json_pack("{s:s, s:o}", "commit", e[i]->d_name, "refs", names));
        }
        free(e[i]);
    }
    if (n >= 0)
        free(e);
    free(folder);
    free(refs);
    return list;
}

static json_t *describe(const struct hub_env *e, const char *name)
{
    static const char *const kinds[] = {"model", "dataset", "space", "kernel"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(name, kinds[i], n) || !str_starts(name + n, "s--"))
            continue;
        const char *org = name + n + 3, *sep = strstr(org, "--");
        struct repo_stats s = {0};
        char *repo = path_join(e->cache, name), when[32] = "";
        char *id =
            sep ? str_printf("%.*s/%s", (int)(sep - org), org, sep + 2) : str_printf("%s", org);
        struct tm tm;
        if (repo)
            count_blobs(&s, repo);
        if (s.used && gmtime_r(&s.used, &tm))
            strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
        json_t *v = id && repo ? json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:o}", "id", id,
                                           "kind", kinds[i], "path", repo, "bytes",
                                           (json_int_t)s.bytes, "files", (json_int_t)s.files,
                                           "last_used", when, "revisions", revisions(repo))
                               : NULL;
        free(id);
        free(repo);
        return v;
    }
    return NULL;
}

int hub_cached(json_t **out, struct err *err)
{
    struct hub_env e;
    int rc = hub_env_read(&e, err);
    if (rc)
        return rc;
    json_t *list = json_array();
    struct dirent **d;
    int n = scandir(e.cache, &d, NULL, alphasort); // an absent cache is an empty one
    for (int pass = 0; pass < 2; pass++) {         // models first
        for (int i = 0; i < n; i++) {
            bool model = str_starts(d[i]->d_name, "models--");
            json_t *v = model == (pass == 0) ? describe(&e, d[i]->d_name) : NULL;
            if (v)
                json_array_append_new(list, v);
        }
    }
    for (int i = 0; i < n; i++)
        free(d[i]);
    if (n >= 0)
        free(d);
    hub_env_release(&e);
    *out = list;
    return 0;
}
