/* cli/print.c - help texts and results for people. */
#include "cli/cli.h"

void help_all(FILE *to)
{
    int n;
    const struct stage *const *list = stage_list(&n);
    fprintf(to, "rlaif %s - reinforcement learning from AI feedback\n\n", rlaif_version());
    fprintf(to, "usage: rlaif COMMAND [--flag value ...]\n\n");
    fprintf(to, "  %-10s %s\n", "run", "run a recipe: what is missing or stale, in order; resumes");
    fprintf(to, "  %-10s %s\n", "plan",
            "the memory that a command would take: rlaif plan COMMAND and its flags");
    for (int i = 0; i < n; i++)
        fprintf(to, "  %-10s %s\n", list[i]->name, list[i]->summary);
    fprintf(to, "\nrlaif COMMAND --help shows its flags and an example (which works after `make demo`). Every command takes --json, --quiet\n"
                "and --threads N. A first run: rlaif run recipes/lab-tldr.yaml\n");
}

void help_plan(FILE *to)
{
    fprintf(to, "rlaif plan COMMAND [--flag value ...] - the memory that a training command, generate or score would take\n\n"
                "Takes the command's own flags; outputs need not be named, and nothing is written (docs/memory.md).\n\n"
                "example:\n  rlaif plan sft -m models/s --dataset_name runs/lab-tldr/world/sft.jsonl\n");
}

static const char *type_word(const struct option *o)
{
    switch (o->type) {
    case OPT_INT: return "N";
    case OPT_FLOAT: return "X";
    case OPT_BOOL: return "[true|false]";
    case OPT_CHOICE: return o->choices;
    case OPT_LIST: return "A B ...";
    case OPT_INPUTS: return "PATH PATH ...";
    case OPT_INPUT: return o->choices ? o->choices : "PATH";
    case OPT_MODEL: return "MODEL";
    case OPT_MODELS: return "MODEL MODEL ...";
    case OPT_DATA: return "DATA";
    case OPT_OUTPUT: return "FILE";
    case OPT_OUTPUT_DIR: return "DIR";
    default: return "TEXT";
    }
}

void help_stage(const struct stage *s, FILE *to)
{
    fprintf(to, "rlaif %s - %s\n\n", s->name, s->summary);
    for (int i = 0; i < s->n_options; i++) {
        const struct option *o = &s->option[i];
        char head[160];
        snprintf(head, sizeof head, "--%s %s%s", o->name, type_word(o),
                 o->type == OPT_INPUT && o->choices ? "|PATH" : "");
        fprintf(to, "  %-40s %s", head, o->help);
        if (o->required)
            fprintf(to, " (required)");
        else if (o->dflt && *o->dflt)
            fprintf(to, " (%s)", o->dflt);
        fputc('\n', to);
    }
    fprintf(to, "\nexample:\n  %s\n", s->example);
}

static void print_value(const char *key, const json_t *v, FILE *to)
{
    if (json_is_object(v)) {
        const char *sub;
        json_t *e;
        json_object_foreach((json_t *)v, sub, e) {
            char *name = str_printf("%s.%s", key, sub);
            print_value(name, e, to);
            free(name);
        }
        return;
    }
    fprintf(to, "%-36s ", key);
    if (json_is_real(v)) {
        fprintf(to, "%.6g\n", json_real_value(v));
    } else if (json_is_string(v)) {
        fprintf(to, "%s\n", json_string_value(v));
    } else if (json_is_array(v) && json_array_size(v) == 2 && json_is_real(json_array_get(v, 0)) &&
               json_is_real(json_array_get(v, 1))) {
        fprintf(to, "%.4g to %.4g\n", json_real_value(json_array_get(v, 0)),
                json_real_value(json_array_get(v, 1)));
    } else {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        fprintf(to, "%s\n", text ? text : "?");
        free(text);
    }
}

void print_result(const json_t *result, FILE *to)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)result, key, v)
        print_value(key, v, to);
}

void print_json(const json_t *result, FILE *to)
{
    struct buf b = {0};
    json_add_text(&b, result, 2);
    if (b.failed)
        mem_die("no memory to print results");
    fprintf(to, "%s\n", b.s);
    buf_release(&b);
}
