/* recipe/summary.c - manifest.json (what was asked, of what, by what) and summary.json (what came
 * out).
 *
 * One list of keys serves every recipe; docs/records.md says what each means. */
#include "recipe/internal.h"

static const char *const keys[] = {
    "recipe", "output_dir", "seed", "version",
    "labeler.pairs", "labeler.unanswered", "labeler.alignment", "labeler.alignment_ci",
    "labeler.alignment_confident", "labeler.alignment_confident_ci", "labeler.same_slot", "labeler.same_slot_first",
    "labeler.label_mass", "labeler.shorter_agreement", "labeler.shorter_agreement_ci", "labeler.information_nats",
    "labeler.information_nats_ci", "labeler.temperature", "labeler.alignment_calibrated",
    "labeler.alignment_calibrated_ci", "labeler.information_nats_calibrated",
    "labeler.information_nats_calibrated_ci", "labeler.brier", "labeler.brier_calibrated", "labeler.ece",
    "labeler.ece_calibrated", "labeler.pairs_per_second",
    "annotators.agreement", "annotators.agreement_ci",
    "reward.pairs", "reward.accuracy", "reward.accuracy_ci", "reward.loss", "reward.label_entropy",
    "reward_human.pairs", "reward_human.accuracy", "reward_human.accuracy_ci",
    "policy.prompts", "policy.win_rate_vs_sft", "policy.win_rate_ci", "policy.win_rate_lc", "policy.win_rate_oracle",
    "policy.oracle_gain", "policy.oracle_gain_ci", "policy.reward_gain", "policy.reward_gain_ci",
    "policy.human_reward_gain", "policy.human_reward_gain_ci", "policy.kl", "policy.kl_ci", "policy.length",
    "policy.length_sft", "policy.eos_rate", "policy.eos_rate_sft",
    "tables", "seconds", "memory.planned_mb", "memory.activations_mb", "memory.base_mb", "memory.ratio", "machine.peak_gflops", "machine.threads", "machine.device",
    NULL,
};

const char *const *summary_keys(int *n)
{
    *n = (int)ARRAY_LEN(keys) - 1;
    return keys;
}

int manifest_write(const struct recipe *r, struct run *run, struct err *err)
{
    struct device *dev;
    int rc = run_device(run, &dev, err);
    if (rc)
        return rc;
    json_t *stages = json_array(), *inputs = json_object();
    for (int i = 0; i < r->n; i++)
        json_array_append_new(stages,
                              json_pack("{s:s, s:s, s:O}", "name", r->step[i].name, "stage",
                                        r->step[i].stage->name, "options", r->step[i].options));
    char hex[33];
    rc = hash_file(hex, r->path, err);
    if (rc == 0)
        json_object_set_new(inputs, r->path, json_string(hex));
    json_t *m = json_pack("{s:s, s:s, s:s, s:O, s:o, s:o}", "recipe", r->path, "version",
                          rlaif_version(), "device", device_describe(dev), "text", r->text,
                          "stages", stages, "inputs", inputs);
    char *path = path_join(r->out, "manifest.json");
    if (rc == 0)
        rc = m && path ? json_write_file(path, m, err)
                       : err_set(err, ERR_MEMORY, "writing the manifest");
    json_decref(m);
    free(path);
    return rc;
}

/* ---- summary -------------------------------------------------------------------------------- */

static json_t *read_record(const struct recipe *r, const char *name)
{
    struct err ignored;
    char *path = str_printf("%s/stages/%s.json", r->out, name);
    json_t *j = path ? json_read_file(path, &ignored) : NULL;
    free(path);
    return j;
}

/* The figure "stage.figure" names, or null. */
static json_t *figure(const json_t *records, const char *from)
{
    const char *dot = strchr(from, '.');
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)(dot - from), from);
    const json_t *v =
        json_object_get(json_object_get(json_object_get(records, name), "result"), dot + 1);
    if (!v)
        log_warn("summary: stage '%s' gave no figure '%s'", name, dot + 1);
    return v ? json_deep_copy(v) : json_null();
}

static void fill_costs(json_t *out, const struct recipe *r, const json_t *records, double overhead)
{
    json_t *seconds = json_object(), *memory = json_object_get(out, "memory");    // what the recipe names of it is there
    double total = overhead, peak = mem_peak_mb();
    for (int i = 0; i < r->n; i++) {
        const json_t *rec = json_object_get(records, r->step[i].name);
        double s = json_number_value(json_object_get(rec, "seconds"));
        double mb = json_number_value(json_object_get(rec, "peak_mb"));
        total += s;
        peak = mb > peak ? mb : peak;
        json_object_set_new(seconds, r->step[i].name, json_real(s));
        json_object_set_new(memory, r->step[i].name, json_real(mb));
    }
    json_object_set_new(seconds, "total", json_real(total));
    json_object_set_new(memory, "peak_mb", json_real(peak));
    json_object_set_new(out, "seconds", seconds);
}

/* What stages print as a table of their own (audit, compare), by stage. */
static void fill_tables(json_t *out, const struct recipe *r, const json_t *records)
{
    json_t *tables = json_object();
    for (int i = 0; i < r->n; i++)
        if (r->step[i].stage->print)
            json_object_set(tables, r->step[i].name,
                            json_object_get(json_object_get(records, r->step[i].name), "result"));
    json_object_set_new(out, "tables", tables);
}

/* "labeler.alignment" becomes {"labeler": {"alignment": ...}}. */
static void set_dotted(json_t *root, const char *key, json_t *v)
{
    const char *dot = strchr(key, '.');
    if (!dot) {
        json_object_set_new(root, key, v);
        return;
    }
    char head[64];
    snprintf(head, sizeof head, "%.*s", (int)(dot - key), key);
    json_t *sub = json_object_get(root, head);
    if (!sub)
        json_object_set_new(root, head, sub = json_object());
    json_object_set_new(sub, dot + 1, v);
}

static int fill_machine(json_t *out, struct run *run, struct err *err)
{
    struct device *dev;
    int rc = run_device(run, &dev, err);
    if (rc)
        return rc;
    double peak = device_peak(dev, device_fast_bf16(dev) ? DTYPE_BF16 : DTYPE_F32);
    set_dotted(out, "machine.peak_gflops", json_real(peak * 1e-9));
    set_dotted(out, "machine.threads",
               json_integer(run->threads ? run->threads : threads_default()));
    set_dotted(out, "machine.device", json_string(device_describe(dev)));
    return 0;
}

int summary_write(const struct recipe *r, struct run *run, double overhead, json_t **summary,
                  struct err *err)
{
    json_t *out = json_object(), *records = json_object(), *v;
    for (int i = 0; i < r->n; i++)
        json_object_set_new(records, r->step[i].name, read_record(r, r->step[i].name));
    for (int i = 0; keys[i]; i++) {
        const char *from = json_string_value(json_object_get(r->summary, keys[i]));
        set_dotted(out, keys[i], from ? figure(records, from) : json_null());
    }
    json_object_set_new(out, "recipe", json_string(r->path));
    json_object_set_new(out, "output_dir", json_string(r->out));
    if ((v = json_object_get(r->text, "seed")))
        json_object_set(out, "seed", v);
    json_object_set_new(out, "version", json_string(rlaif_version()));
    int rc = fill_machine(out, run, err);
    fill_tables(out, r, records);
    fill_costs(out, r, records, overhead);
    char *path = path_join(r->out, "summary.json");
    if (rc == 0)
        rc = path ? json_write_file(path, out, err)
                  : err_set(err, ERR_MEMORY, "writing the summary");
    free(path);
    json_decref(records);
    if (rc == 0 && summary)
        *summary = json_incref(out);
    json_decref(out);
    return rc;
}

void recipe_print_tables(const char *out_dir, FILE *to)
{
    struct err ignored;
    char *path = path_join(out_dir, "manifest.json");
    json_t *manifest = path ? json_read_file(path, &ignored) : NULL, *s;
    size_t i;
    json_array_foreach(json_object_get(manifest, "stages"), i, s) {
        const char *name = json_string_value(json_object_get(s, "name")),
                   *kind = json_string_value(json_object_get(s, "stage"));
        const struct stage *stage = kind ? stage_find(kind) : NULL;
        if (!name || !stage || !stage->print)
            continue;
        char *record = str_printf("%s/stages/%s.json", out_dir, name);
        json_t *rec = record ? json_read_file(record, &ignored) : NULL;
        fputc('\n', to);
        stage->print(json_object_get(rec, "result"), to);
        json_decref(rec);
        free(record);
    }
    json_decref(manifest);
    free(path);
}
