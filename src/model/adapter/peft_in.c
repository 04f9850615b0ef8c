/* adapter/peft_in.c - a PEFT folder over a base.
 *
 * The table of tensors says what is adapted, adapter_config.json with which rank and scale;
 * each is checked against the other and against the base before a value is read.  What this
 * program does not compute (DoRA, biases, adapted experts of newer transformers) is refused by
 * its key. */
#include <math.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "model/adapter/adapter.h"
#include "model/format/store.h"

/* ---- the config -------------------------------------------------------------------------- */

static bool is_unset(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

static int refuse_key(const struct peft *r, const char *key, const char *wanted,
                      struct err *err)
{
    struct buf b = {0};
    json_add_text(&b, json_object_get(r->config, key), 0);
    int rc = err_set(err, ERR_UNSUPPORTED, "%s: '%s' is %.100s; only %s is supported",
                     r->config_path, key, b.s ? b.s : "?", wanted);
    buf_release(&b);
    return rc;
}

static int check_kind(const struct peft *r, struct err *err)
{
    static const char *const unset[] = {"use_dora",          "lora_bias",
                                        "layer_replication", "trainable_token_indices",
                                        "target_parameters", "alora_invocation_tokens",
                                        "use_qalora",        "use_bdlora",
                                        "arrow_config",      "monteclora_config",
                                        "kasa_config",       "velora_config"};
    const char *type = json_string_value(json_object_get(r->config, "peft_type"));
    const char *bias = json_string_value(json_object_get(r->config, "bias"));
    if (!type || strcmp(type, "LORA"))
        return refuse_key(r, "peft_type", "\"LORA\"", err);
    if (bias && strcmp(bias, "none"))
        return refuse_key(r, "bias", "\"none\"", err);
    for (size_t i = 0; i < ARRAY_LEN(unset); i++)
        if (!is_unset(json_object_get(r->config, unset[i])))
            return refuse_key(r, unset[i], "null or false", err);
    return 0;
}

static int read_config(struct peft *r, struct err *err)
{
    r->config = json_read_file(r->config_path, err);
    if (!r->config)
        return err ? err->code : ERR_FORMAT;
    if (!json_is_object(r->config))
        return err_set(err, ERR_FORMAT, "%s: expected a JSON object", r->config_path);
    int rc = check_kind(r, err);
    if (rc == 0)
        rc = json_i64_or(r->config, "r", 8, &r->r, r->config_path, err);
    if (rc == 0)
        rc = json_double_or(r->config, "lora_alpha", 8, &r->alpha, r->config_path, err);
    if (rc == 0)
        rc = json_bool_or(r->config, "use_rslora", false, &r->rslora, r->config_path, err);
    if (rc == 0)
        rc = json_double_or(r->config, "lora_dropout", 0, &r->dropout, r->config_path, err);
    if (rc == 0 && (r->r < 1 || r->r > ADAPTER_RANK_MAX))
        rc = err_set(err, ERR_FORMAT, "%s: 'r' is %lld, expected 1 to %d", r->config_path,
                     (long long)r->r, ADAPTER_RANK_MAX);
    return rc;
}

/* Does a key of rank_pattern or alpha_pattern speak of this module: PEFT's
 * re.match("(.*\.)?(KEY)$", path). */
static int pattern_matches(bool *out, const struct peft *r, const char *key, const char *path,
                           struct err *err)
{
    int code;
    PCRE2_SIZE at;
    char *text = str_printf("(.*\\.)?(%s)$", key);
    pcre2_code *re = text ? pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                                          PCRE2_ANCHORED, &code, &at, NULL)
                          : NULL;
    pcre2_match_data *data = re ? pcre2_match_data_create(1, NULL) : NULL;
    pcre2_match_context *limits = re ? pcre2_match_context_create(NULL) : NULL;
    int rc = data && limits ? 0
                            : err_set(err, text && !re ? ERR_FORMAT : ERR_MEMORY,
                                      "%s: the pattern '%.200s' is no regular expression",
                                      r->config_path, key);
    if (rc == 0) {
        pcre2_set_match_limit(limits, 100000);
        int found = pcre2_match(re, (PCRE2_SPTR)path, strlen(path), 0, 0, data, limits);
        *out = found >= 0;
        if (found < 0 && found != PCRE2_ERROR_NOMATCH)
            rc = err_set(err, ERR_FORMAT, "%s: the pattern '%.200s' takes too long",
                         r->config_path, key);
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    free(text);
    return rc;
}

/* The first entry of a pattern that matches, or the value for all. */
static int pattern_value(double *out, const struct peft *r, const char *name,
                         const char *path, double rest, struct err *err)
{
    const json_t *patterns = json_object_get(r->config, name);
    const char *key;
    json_t *v;
    *out = rest;
    if (!is_unset(patterns) && !json_is_object(patterns))
        return err_set(err, ERR_FORMAT, "%s: '%s' should be an object", r->config_path, name);
    json_object_foreach((json_t *)patterns, key, v)
    {
        bool matches = false;
        int rc = pattern_matches(&matches, r, key, path, err);
        if (rc)
            return rc;
        if (!matches)
            continue;
        if (!json_is_number(v))
            return err_set(err, ERR_FORMAT, "%s: '%s' of '%.100s' should be a number",
                           r->config_path, name, key);
        *out = json_number_value(v);
        return 0;
    }
    return 0;
}

/* ---- the table of tensors ---------------------------------------------------------------- */

/* Names as the base's modules have them; what is the base's own is taken out. */
static int rename_tensors(struct peft *r, struct err *err)
{
    static const char PREFIX[] = "base_model.model.", SAVED[] = "modules_to_save.", LM_HEAD[] = "lm_head.";
    int n = 0;
    for (int i = 0; i < r->w->n; i++) {
        struct entry *e = &r->w->entry[i];
        if (!str_starts(e->file_name, PREFIX))
            return err_set(err, ERR_FORMAT,
                           "%s: tensor '%.200s'; names of adapters begin with %s", r->data_path,
                           e->file_name, PREFIX);
        if (strstr(e->file_name, ".lora_magnitude_vector"))
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: tensor '%.200s' belongs to DoRA, which is not supported",
                           r->data_path, e->file_name);
        if (strstr(e->file_name, ".base_layer."))
            continue; // a copy of the base's embedding that PEFT writes beside an adapter on it
        e->name = arena_strdup(&r->w->arena, e->file_name + strlen(PREFIX));
        if (!e->name)
            return err_set(err, ERR_MEMORY, "%s: no memory", r->data_path);
        if (str_starts(e->name, LM_HEAD) && strcmp(r->head, "lm_head") != 0) {  // newer transformers call every head so
            char *name = str_printf("%s.%s", r->head, e->name + strlen(LM_HEAD));
            e->name = name ? arena_strdup(&r->w->arena, name) : NULL;
            free(name);
            if (!e->name)
                return err_set(err, ERR_MEMORY, "%s: no memory", r->data_path);
        }
        char *saved = strstr(e->name, SAVED);
        if (saved)
            memmove(saved, saved + strlen(SAVED), strlen(saved + strlen(SAVED)) + 1);
        r->score |= !strcmp(e->name, "score.weight");
        r->w->entry[n++] = *e;
    }
    r->w->n = n;
    return 0;
}

static int open_table(struct peft *r, struct err *err)
{
    char *pickled = path_join(r->dir, "adapter_model.bin");
    bool is_pickled = pickled && file_exists(pickled) && !file_exists(r->data_path);
    free(pickled);
    if (is_pickled)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: adapter_model.bin is not read, since it may hold any program (PEFT "
                       "saves it again as "
                       "safetensors)",
                       r->dir);
    int rc = weights_open_table(&r->w, r->data_path, err);
    if (rc == 0)
        rc = rename_tensors(r, err);
    return rc ? rc : weights_index(r->w, err);
}

/* "PATH" + end, as an entry of the table. */
static const struct entry *find(const struct peft *r, const char *path, const char *end)
{
    char name[200];
    snprintf(name, sizeof name, "%.120s%s", path, end);
    return weights_find(r->w, name);
}

static int check_shape(const struct peft *r, const struct entry *e, int rows, int cols,
                       const char *why, struct err *err)
{
    char found[100];
    if (e->dims == 2 && e->rows == (size_t)rows && e->cols == (size_t)cols)
        return 0;
    entry_shape_text(found, e);
    return err_set(err, ERR_FORMAT,
                   "%s: tensor '%.200s': expected shape [%d, %d] (%s), found %s", r->data_path,
                   e->file_name, rows, cols, why, found);
}

/* What the file and the config say of one module. */
static int read_module(const struct peft *r, struct module *mod, struct err *err)
{
    const struct tensor_spec *s = mod->spec;
    bool embedding = s->part == PART_EMBED;
    const struct entry *a =
        find(r, mod->path, embedding ? ".lora_embedding_A" : ".lora_A.weight");
    const struct entry *b =
        find(r, mod->path, embedding ? ".lora_embedding_B" : ".lora_B.weight");
    double rank, alpha;
    char why[160];
    mod->saved =
        find(r, mod->path, ".weight") || (s->part == PART_SCORE && find(r, "score", ".weight"));
    if (!a && !b)
        return 0;
    if (!a || !b)
        return err_set(err, ERR_MISSING, "%s: tensor '%.200s' has no %s beside it",
                       r->data_path, (a ? a : b)->file_name, a ? "lora_B" : "lora_A");
    if (!module_fits(mod) || mod->saved)
        return err_set(err, ERR_UNSUPPORTED, "%s: tensor '%.200s': %s", r->data_path,
                       a->file_name,
                       mod->saved ? "its module is saved whole as well"
                                  : "no adapter fits on this module");
    int rc = pattern_value(&rank, r, "rank_pattern", mod->path, (double)r->r, err);
    if (rc == 0)
        rc = pattern_value(&alpha, r, "alpha_pattern", mod->path, r->alpha, err);
    if (rc == 0 && (rank != floor(rank) || rank < 1 || rank > ADAPTER_RANK_MAX ||
                    !(alpha > 0) || !isfinite(alpha)))
        rc = err_set(err, ERR_FORMAT, "%s: rank %g and alpha %g for %s", r->config_path, rank,
                     alpha, mod->path);
    if (rc)
        return rc;
    mod->r = (int)rank;
    mod->scale = (float)(alpha / (r->rslora ? sqrt(rank) : rank));
    snprintf(why, sizeof why, "rank %d by %s, and the base's %s", mod->r,
             strrchr(r->config_path, '/') + 1, mod->path);
    rc = check_shape(r, a, mod->r, embedding ? s->rows : s->cols, why, err);
    return rc ? rc : check_shape(r, b, embedding ? s->cols : s->rows, mod->r, why, err);
}

/* Tensors that no module of the base would take. */
static int check_unknown(const struct peft *r, const struct module *mod, int n,
                         struct err *err)
{
    for (int i = 0; i < r->w->n; i++) {
        const char *name = r->w->entry[i].name;
        bool known = false;
        for (int k = 0; !known && k < n; k++) {
            size_t len = strlen(mod[k].path);
            const char *rest = !strncmp(name, mod[k].path, len) ? name + len : "";
            known = (mod[k].r && str_starts(rest, ".lora_")) ||
                    (mod[k].saved && (!strcmp(rest, ".weight") || !strcmp(rest, ".bias"))) ||
                    (mod[k].spec->part == PART_SCORE && !strcmp(name, "score.weight"));
        }
        if (!known)
            return err_set(err, ERR_FORMAT, "%s: tensor '%.200s': the base has no such module",
                           r->data_path, r->w->entry[i].file_name);
    }
    return 0;
}

/* A list of names in the config of which one stands for nothing in the file. */
static int check_list(const struct peft *r, const char *key, const struct module *mod, int n,
                      bool saved, struct err *err)
{
    const json_t *list = json_object_get(r->config, key);
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)list, i, v)
    {
        const char *name = json_string_value(v);
        bool there =
            name && saved &&
            !strcmp(name,
                    "classifier"); // PEFT lists it beside score, whether there is one or not
        for (int k = 0; name && !there && k < n; k++)
            there = module_is(&mod[k], name) && (saved ? mod[k].saved : mod[k].r > 0);
        if (!there)
            return err_set(err, ERR_MISSING,
                           "%s: '%s' names '%.80s', but %s has no tensor of it", r->config_path,
                           key, name ? name : "?", r->data_path);
    }
    return 0;
}

/* ---- all of it --------------------------------------------------------------------------- */

static int read_values(struct model *m, struct peft *r, struct err *err)
{
    int rc = 0;
    m->file = r->w;
    for (int i = 0; rc == 0 && i < m->n_params; i++)
        if (param_trained(m, i) && !(m->fresh_head && i == m->at.head))
            rc = param_read_own(m, i, err);
    m->file = NULL;
    return rc;
}

bool peft_unties(const struct peft *r, const struct model_config *c)
{
    for (const struct part_name *p = family_of(c)->parts; p->hf; p++)
        if ((p->part == PART_HEAD && (find(r, p->hf, ".weight") || find(r, p->hf, ".lora_A.weight"))) ||
            (p->part == PART_EMBED && (find(r, p->hf, ".weight") || find(r, p->hf, ".lora_embedding_A"))))
            return true;
    return false;
}

int peft_modules(const struct peft *r, struct module **out, int *n, const struct tensor_spec *spec, int n_specs, struct err *err)
{
    int rc = modules_list(out, n, spec, n_specs, err);
    for (int i = 0; rc == 0 && i < *n; i++)
        rc = read_module(r, &(*out)[i], err);
    if (rc == 0)
        rc = check_unknown(r, *out, *n, err);
    if (rc == 0)
        rc = check_list(r, "target_modules", *out, *n, false, err);
    return rc ? rc : check_list(r, "modules_to_save", *out, *n, true, err);
}

int peft_open(struct peft *r, const char *dir, const struct model_config *base, struct err *err)
{
    *r = (struct peft){.dir = dir, .config_path = path_join(dir, "adapter_config.json"),
                       .data_path = path_join(dir, "adapter_model.safetensors")};
    for (const struct part_name *p = family_of(base)->parts; p->hf; p++)
        if (p->part == PART_HEAD)
            r->head = p->hf;
    int rc = r->config_path && r->data_path ? read_config(r, err) : err_set(err, ERR_MEMORY, "opening %s", dir);
    return rc ? rc : open_table(r, err);
}

void peft_close(struct peft *r)
{
    weights_close(r->w);
    json_decref(r->config);
    free(r->config_path);
    free(r->data_path);
}

static int build(struct model **out, struct peft *r, struct model *base,
                 const struct model_options *opt, struct err *err)
{
    struct module *mod = NULL;
    int n = 0;
    if (r->score && !opt->scalar_head)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s is an adapter of a reward or value model (score.weight); a language "
                       "model is needed here",
                       r->dir);
    int rc = adapter_begin(out, base, opt->scalar_head, peft_unties(r, &base->config), opt->seed, err);
    if (rc)
        return rc;
    struct model *m = *out;
    if (r->score)
        m->fresh_head = false;
    rc = peft_modules(r, &mod, &n, m->slice, m->n_slices, err);
    if (rc == 0)
        rc = adapter_build(m, mod, n, err);
    if (rc == 0)
        rc = read_values(m, r, err);
    if (rc == 0) {
        m->adapter->config = json_incref(r->config);
        m->adapter->dropout = r->dropout;
        rc = facts_read(&m->config, r->dir, base->file, err);
    }
    free(mod);
    if (rc)
        model_close(m);
    return rc;
}

int model_open_adapter(struct model **out, struct model *base, const char *dir, const struct model_options *opt, struct err *err)
{
    struct peft r;
    struct model *m = NULL;
    int rc = peft_open(&r, dir, &base->config, err);
    if (rc == 0)
        rc = build(&m, &r, base, opt, err);
    peft_close(&r);
    if (rc == 0)
        *out = m;
    return rc;
}

bool model_is_adapter(const char *path)
{
    char *config = path_join(path, "adapter_config.json"),
         *whole = path_join(path, "config.json");
    bool is = config && whole && file_exists(config) && !file_exists(whole);
    free(config);
    free(whole);
    return is;
}

int model_adapter_base(char **name, const char *dir, struct err *err)
{
    struct peft r = {.dir = dir, .config_path = path_join(dir, "adapter_config.json")};
    const char *base = NULL;
    int rc = r.config_path ? read_config(&r, err) : err_set(err, ERR_MEMORY, "opening %s", dir);
    if (rc == 0)
        rc = json_str_or(r.config, "base_model_name_or_path", "", &base, r.config_path, err);
    if (rc == 0 && !*base)
        rc = err_set(err, ERR_MISSING,
                     "%s: 'base_model_name_or_path' is not given: name the base with -m and "
                     "this folder with --adapter",
                     r.config_path);
    if (rc == 0 && !(*name = strdup(base)))
        rc = err_set(err, ERR_MEMORY, "opening %s", dir);
    json_decref(r.config);
    free(r.config_path);
    return rc;
}
