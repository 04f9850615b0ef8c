/* net/internal.h - what the files about the Hub share. */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include "net/net.h"

/* Seconds before something is asked again for the first time; doubles.  Tests make it short. */
extern double http_wait_unit;

/* ---- names and settings (id.c) ------------------------------------------------------- */

/* ORG/NAME[@REVISION][:FILE], taken apart. */
struct hub_id {
    enum hub_kind kind;
    char *repo, *revision, *file; // revision "main" where not given; file NULL
};
int hub_id_parse(struct hub_id *id, enum hub_kind kind, const char *name, struct err *err);
void hub_id_release(struct hub_id *id);
const char *hub_word(enum hub_kind kind); // "model", "dataset"
bool hub_is_commit(const char *s);        // 40 lower-case hexadecimal digits
/* A path inside a repository that cannot lead out of a folder. */
bool hub_path_safe(const char *path);
bool hub_revision_safe(const char *revision);

/* The environment as huggingface_hub reads it. */
struct hub_env {
    char *endpoint; // without a slash at the end
    char *cache;    // the folder that holds models--ORG--NAME
    char *token;    // NULL: none
    bool offline, no_links;
    double stall; // HF_HUB_DOWNLOAD_TIMEOUT; 0: ours
};
int hub_env_read(struct hub_env *e, struct err *err);
void hub_env_release(struct hub_env *e);

/* ---- what a commit holds (tree.c) ---------------------------------------------------- */

struct hub_file {
    char *path;
    char *etag; // name of its blob: SHA-256 of a large file, git's SHA-1 of a small one
    char *blob_id, *xet; // as listed; xet NULL: none
    int64_t size;
    bool lfs;
};
struct hub_tree {
    char commit[41];
    struct hub_file *file; // (n) sorted by path
    int n;
    size_t cap;
    struct arena arena; // of the strings
};
void hub_tree_release(struct hub_tree *t);
struct hub_file *hub_tree_find(const struct hub_tree *t, const char *path); // NULL: none
/* Adds what f says under `path`, all of it copied; paths, hashes and sizes that cannot be are
 * refused. */
int hub_tree_add(struct hub_tree *t, const char *path, const struct hub_file *f,
                 const char *where, struct err *err);
void hub_tree_sort(struct hub_tree *t); // by path, as hub_tree_find wants it
/* For a URL: all but letters, digits and a few marks as %XX; '/' too when `all`.  malloc'd. */
char *hub_quoted(const char *s, bool all);

/* A Hub being talked to. */
struct hub {
    struct hub_env env;
    struct http *http; // opened when first needed
};
int hub_open(struct hub *h, struct err *err);
void hub_close(struct hub *h);
int hub_http(struct hub *h, struct err *err); // opens the client; refuses when offline
/* The commit a revision names now. */
int hub_ask_commit(char commit[41], struct hub *h, const struct hub_id *id, struct err *err);
int hub_ask_tree(struct hub_tree *t, struct hub *h, const struct hub_id *id, const char *commit,
                 struct err *err);
/* One sentence for a reply that is no success. */
int hub_refusal(const struct hub *h, const struct hub_id *id, const struct http_call *c,
                const char *what, struct err *err);

/* ---- the cache (cache.c) ------------------------------------------------------------- */

/* The folder of a repository: CACHE/models--ORG--NAME.  malloc'd, like all paths here. */
char *cache_repo(const struct hub_env *e, const struct hub_id *id);
char *cache_snapshot(const char *repo, const char *commit,
                     const char *path); // path NULL: the folder
char *cache_blob(const char *repo, const char *etag);
/* The commit the cache has for a revision; false: none. */
bool cache_commit(char commit[41], const char *repo, const char *revision);
int cache_set_ref(const char *repo, const char *revision, const char *commit, struct err *err);
/* The listing of a commit, kept where huggingface_hub keeps its own; false: none usable. */
bool cache_read_tree(struct hub_tree *t, const char *repo, const char *commit);
int cache_write_tree(const char *repo, const struct hub_tree *t, struct err *err);
/* Names of the files that a snapshot holds, as a tree without etags; false: no snapshot. */
bool cache_scan(struct hub_tree *t, const char *repo, const char *commit);
/* Makes the snapshot's file point at its blob. */
int cache_link(const struct hub_env *e, const char *repo, const char *commit,
               const struct hub_file *f, struct err *err);
bool cache_has(const char *repo, const char *commit,
               const struct hub_file *f); // whole, by size
/* An exclusive lock on the download of a blob, as Python's filelock takes it.  *fd -1: another
 * process holds it; -2: the file system has no locks. */
int cache_lock(int *fd, const struct hub_env *e, const struct hub_id *id, const char *etag,
               struct err *err);
void cache_unlock(int fd);

/* ---- which files (choose.c) ---------------------------------------------------------- */

/* Whether a path fits a pattern: * and ? stop at '/', ** does not, [a-z] and [!a-z]. */
bool glob_match(const char *pattern, const char *path);
/* Marks (n flags) what a model needs that can be told from names alone: everything but the
 * shards, which the index lists.  *main is the path that stands for the model: NULL the folder,
 * else the one GGUF file. */
int choose_model(bool *take, const char **main, const struct hub_tree *t,
                 const struct hub_id *id, struct err *err);
/* Marks the shards that an index file (read from `path`) names. */
int choose_shards(bool *take, const struct hub_tree *t, const char *path, struct err *err);
/* Marks the files of one split; card: text of the repository's README.md, or NULL. */
int choose_split(bool *take, const struct hub_tree *t, const char *card, const char *where,
                 const char *config, const char *split, struct err *err);

/* ---- bytes (fetch.c) ----------------------------------------------------------------- */

struct fetched {
    int files;     // downloaded now
    int64_t bytes; // that came over the wire
};
/* Brings the marked files of a tree into the cache: whole, verified, linked from the snapshot.
 */
int hub_fetch(struct fetched *got, struct hub *h, const struct hub_id *id,
              const struct hub_tree *t, const bool *take, struct err *err);

#endif
