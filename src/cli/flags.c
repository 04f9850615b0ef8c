/* cli/flags.c - argv to an object of option strings, by the stage's own table. */
#include "cli/cli.h"

/* Flags known to other trainers' users that mean nothing here, and why. */
static const struct { const char *name, *why; } refused[] = {
    { "push_to_hub", "nothing is uploaded by this program; copy the output folder where you want it" },
};

static const char *canonical(char *out, size_t size, const char *flag)
{
    size_t i = 0;
    if (!strcmp(flag, "m"))
        flag = "model_name_or_path";
    else if (!strncmp(flag, "dataset_train_split", 19) && (!flag[19] || flag[19] == '='))
        flag = "dataset_split";     // TRL's spelling
    for (; flag[i] && flag[i] != '=' && i + 1 < size; i++)
        out[i] = flag[i] == '-' ? '_' : flag[i];
    out[i] = '\0';
    return out;
}

static const struct option *option_of(const struct stage *s, const char *name)
{
    for (int i = 0; i < s->n_options; i++)
        if (!strcmp(s->option[i].name, name))
            return &s->option[i];
    return NULL;
}

static int unknown_flag(const struct stage *s, const char *flag, const char *name, struct err *err)
{
    static const char *const common[] = { "help", "json", "quiet", "threads", "config" };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (!strcmp(refused[i].name, name))
            return err_set(err, ERR_USAGE, "%s: %s", flag, refused[i].why);
    const char **list = mem_alloc((size_t)s->n_options + ARRAY_LEN(common) + 1, sizeof *list);
    if (!list)
        return err_set(err, ERR_MEMORY, "reading flags");
    int n = 0;
    for (; n < s->n_options; n++)
        list[n] = s->option[n].name;
    for (size_t i = 0; i < ARRAY_LEN(common); i++)
        list[n++] = common[i];
    const char *near = str_nearest(name, list);
    int rc = err_set(err, ERR_USAGE, "rlaif %s: unknown flag %s%s%s%s (rlaif %s --help lists them)",
                     s->name, flag, near ? "; did you mean --" : "", near ? near : "",
                     near ? "?" : "", s->name);
    free(list);
    return rc;
}

static bool is_flag(const char *word)
{
    // "-1.5" and "-" are values; "-m" and "--x" are flags
    return word[0] == '-' && word[1] && !(word[1] >= '0' && word[1] <= '9') && word[1] != '.';
}

static bool truth_word(const char *s)
{
    return !strcasecmp(s, "true") || !strcasecmp(s, "false") || !strcmp(s, "1") ||
           !strcmp(s, "0") || !strcasecmp(s, "yes") || !strcasecmp(s, "no");
}

/* Words i.. up to the next flag become a list. */
static int take_list(json_t *given, const char *name, int argc, char **argv, int i)
{
    json_t *list = json_array();
    for (; i < argc && !is_flag(argv[i]); i++)
        json_array_append_new(list, json_string(argv[i]));
    json_object_set_new(given, name, list);
    return i;
}

static int common_flag(struct common_flags *c, const char *name, const char *value, int *used)
{
    int64_t n;
    *used = 0;
    if (!strcmp(name, "help") || !strcmp(name, "h"))
        c->help = true;
    else if (!strcmp(name, "json"))
        c->json = true;
    else if (!strcmp(name, "quiet"))
        c->quiet = true;
    else if (!strcmp(name, "threads") && value && str_to_i64(value, &n) && n >= 0 && n <= 4096)
        c->threads = (int)n, *used = 1;
    else
        return 0;
    return 1;
}

int flags_parse(json_t *given, struct common_flags *common, const struct stage *s, int argc,
                char **argv, struct err *err)
{
    for (int i = 0; i < argc;) {
        char name[128];
        const char *flag = argv[i], *eq = strchr(flag, '=');
        if (!is_flag(flag) && s->bare && !json_object_get(given, s->bare)) {
            json_object_set_new(given, s->bare, json_string(flag));
            i++;
            continue;
        }
        if (!is_flag(flag))
            return err_set(err, ERR_USAGE,
                           "rlaif %s: '%s' is not a flag; flags look like --name value "
                           "(rlaif %s --help)",
                           s->name, flag, s->name);
        canonical(name, sizeof name, flag + (flag[1] == '-' ? 2 : 1));
        const struct option *o = option_of(s, name);
        const char *next = eq ? eq + 1 : i + 1 < argc ? argv[i + 1] : NULL;
        int used = 0;
        if (!o && common_flag(common, name, next, &used)) {
            i += 1 + (used && !eq);
            continue;
        }
        if (!o)
            return unknown_flag(s, flag, name, err);
        if (o->type == OPT_BOOL && !eq && (!next || is_flag(next) || !truth_word(next))) {
            json_object_set_new(given, name, json_true());
            i++;
            continue;
        }
        if (!next || (!eq && is_flag(next)))
            return err_set(err, ERR_USAGE, "rlaif %s: --%s needs a value (%s)", s->name, name,
                           o->help);
        if ((o->type == OPT_LIST || o->type == OPT_INPUTS || o->type == OPT_MODELS) && !eq) {
            i = take_list(given, name, argc, argv, i + 1);
            continue;
        }
        if (json_object_set_new(given, name, json_string(next)))
            return err_set(err, ERR_USAGE, "rlaif %s: --%s: the value is not valid UTF-8", s->name,
                           name);
        i += eq ? 1 : 2;
    }
    return 0;
}
