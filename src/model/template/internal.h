/* model/template/internal.h - values, trees and the state of a rendering.
 *
 * Everything a parse or a rendering makes lives in one arena and dies with it.  Inside the room
 * an error leaves by longjmp from template_fail/run_fail to the one place that frees
 * (template_parse, template_render): an expression tree has too many places that can fail for
 * return codes to stay readable. */
#ifndef MODEL_TEMPLATE_INTERNAL_H
#define MODEL_TEMPLATE_INTERNAL_H

#include <setjmp.h>

#include "model/template/template.h"

/* ---- values ----------------------------------------------------------------------- */

enum value_kind {
    V_ABSENT, // an argument that was not given
    V_UNDEFINED,
    V_NONE,
    V_BOOL,
    V_INT,
    V_FLOAT,
    V_STR,
    V_LIST,
    V_TUPLE,
    V_ITER, // a generator: read once
    V_DICT,
    V_KEYS,
    V_VALUES,
    V_ITEMS,
    V_RANGE,
    V_NAMESPACE,
    V_MACRO,
    V_GLOBAL, // a global function
    V_METHOD, // a method and what it belongs to
    V_LOOP,
    V_CYCLER,
    V_JOINER,
};

struct value {
    uint8_t kind;
    bool markup; // V_STR: went through |safe or |escape
    uint32_t n;  // V_STR: bytes
    union {
        bool b;
        int64_t i;
        double f;
        const char *s;
        struct list *list;   // V_LIST, V_TUPLE, V_ITER, V_CYCLER
        struct dict *dict;   // V_DICT and its views, V_NAMESPACE
        struct range *range; // V_RANGE
        struct undefined *undefined;
        struct macro *macro;
        const struct global *global;
        struct bound *bound;
        struct loop *loop;
        struct joiner *joiner;
    };
};

struct list {
    struct value *v;
    uint32_t n, at; // at: how far a V_ITER was read, where a V_CYCLER stands
};
struct pair {
    struct value key, value;
};
struct dict {
    struct pair *pair; // in order of insertion
    uint32_t n, cap;
};
struct range {
    int64_t start, stop, step, n;
};
struct undefined {
    const char *why; // the sentence when it is used
};
struct joiner {
    struct value sep;
    bool used;
};

/* ---- trees ------------------------------------------------------------------------ */

enum node_kind {
    // expressions
    N_CONST,
    N_NAME,
    N_LIST,
    N_TUPLE,
    N_DICT,
    N_NOT,
    N_NEGATE,
    N_PLUS,
    N_BINARY,
    N_AND,
    N_OR,
    N_COMPARE, // a, then list of operands with their op
    N_CONCAT,
    N_COND, // b if a else c
    N_ATTR,
    N_ITEM,
    N_SLICE, // a[b:c:d]
    N_CALL,
    N_FILTER,
    N_TEST,
    N_NSREF, // name.attr as a target
    // statements
    N_DATA,
    N_OUTPUT,
    N_SET,       // list: target; a: value
    N_SET_BLOCK, // b: filters around NULL
    N_FOR,       // a: target, b: iterable, c: condition; list: body; other
    N_IF,        // a; list; other: next branch (N_IF) or else (N_SCOPE without scope)
    N_MACRO,
    N_CALL_BLOCK,
    N_FILTER_BLOCK,
    N_WITH,
    N_BLOCK,
    N_GENERATION,
    N_SCOPE,
    N_BREAK,
    N_CONTINUE,
};

struct call_args {
    struct node *pos, *key, *rest, *rest_keys; // f(pos, key=, *rest, **rest_keys)
};

struct node {
    uint8_t kind;
    bool recursive, uses_caller, uses_kwargs, uses_varargs, scoped;
    uint16_t op;
    int line, symbol; // symbol: N_NAME, N_NSREF, N_MACRO
    int n;            // items in list
    struct value value;
    struct value name; // attribute, filter, test or keyword
    struct node *a, *b, *c, *d, *list, *other, *next;
    struct call_args *args;
};

/* Names of the template; the first are known beforehand. */
enum { SYM_LOOP, SYM_CALLER, SYM_KWARGS, SYM_VARARGS, SYM_KNOWN };

struct template
{
    char *origin;
    struct arena arena;
    struct value *symbol; // (n_symbols) names
    int n_symbols;
    size_t symbols_cap;
    struct node *body;
};

/* ---- lexing and parsing ----------------------------------------------------------- */

enum token_kind {
    T_EOF,
    T_DATA,
    T_PRINT,
    T_PRINT_END,
    T_TAG,
    T_TAG_END,
    T_NAME,
    T_STRING,
    T_NUMBER,
    T_OP
};
struct token_at {
    uint8_t kind;
    uint16_t op; // one character, or two: 256 * first + second
    int line;
    struct value value; // T_DATA, T_NAME, T_STRING: text; T_NUMBER
};
#define OP2(a, b) ((a) << 8 | (b))
enum { OP_IN = OP2('i', 'n'), OP_NOT_IN = OP2('n', 'i') };

struct parser {
    struct template *t;
    struct token_at *token;
    int n, at;
    size_t cap;
    int nesting, loops;
    struct node *macro; // the innermost one being read; ->other leads outward while it is
    struct buf text;    // of the string being read
    struct err *err;
    jmp_buf fail;
};
_Noreturn void parse_fail(struct parser *p, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
void *parse_alloc(struct parser *p, size_t bytes);
void lex(struct parser *p, const char *text, size_t n);

struct token_at *peek(struct parser *p);
bool at_op(struct parser *p, int op);
bool at_name(struct parser *p, const char *name);
bool skip_op(struct parser *p, int op);
bool skip_name(struct parser *p, const char *name);
void expect_op(struct parser *p, int op);
struct token_at *expect_kind(struct parser *p, int kind, const char *what);
struct node *new_node(struct parser *p, int kind, int line);
int symbol_of(struct parser *p, struct value name);
void nest(struct parser *p, int by, int line); // +1 or -1
struct node *parse_expression(struct parser *p, bool conditional);
/* end: a name that ends it besides the usual signs, or NULL. */
struct node *parse_tuple(struct parser *p, bool conditional, const char *end,
                         bool in_parentheses);
struct node *parse_target(struct parser *p, const char *end, bool attributes);
struct node *parse_filters(struct parser *p, struct node *node, bool inline_first);
struct node *parse_template(struct parser *p);

/* ---- a rendering ------------------------------------------------------------------ */

struct binding {
    int symbol;
    struct value value;
};
struct scope {
    struct scope *parent;
    struct binding *b;
    uint32_t n, cap;
    bool kept; // a macro was written in it and sees it
};
struct macro {
    const struct node *node;
    struct scope *scope;
};

struct args {
    struct value *pos;
    int n;
    struct pair *key;
    int n_keys;
};

struct iter {
    struct value of;
    size_t at;
};
struct loop {
    const struct node *node;
    struct scope *outer, *test; // test: where the condition is asked
    struct iter it;
    struct value current, before, after, changed; // V_ABSENT: none
    bool ended;
    int64_t index0, length; // length -1: not asked for yet
    int depth0;
};

struct run {
    const struct template *t;
    struct arena arena;
    size_t memory;
    uint64_t steps;
    int depth, calls, line;
    enum { GO_ON, GO_BREAK, GO_CONTINUE } signal;
    struct scope *scope, *globals;
    struct buf *out; // where statements write: final, or a text being made
    struct buf final;
    struct making *making; // texts being made, the innermost first
    struct template_spans *spans;
    struct err *err;
    jmp_buf fail;
};
struct making {
    struct buf buf;
    struct making *outer;
};

_Noreturn void run_fail(struct run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
_Noreturn void run_stop(struct run *r, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void *run_alloc(struct run *r, size_t n, size_t size);
/* `old`, or where its n elements fill it a copy with room for more; what was stays until the end, like everything. */
void *run_grow(struct run *r, void *old, uint32_t n, uint32_t *cap, size_t size);
void charge(struct run *r, size_t work); // one step, and more for work on many bytes or items
void enter(struct run *r);
static inline void leave(struct run *r)
{
    r->depth--;
}
/* A text is made between these two, which nest; an error in between frees it. */
struct buf *text_begin(struct run *r);
struct value text_end(struct run *r);
/* Appends, within the limits of steps and output. */
void put(struct run *r, struct buf *b, const char *s, size_t n);

/* ---- values (value.c, print.c) ---------------------------------------------------- */

struct value v_none(void);
struct value v_bool(bool b);
struct value v_int(int64_t i);
struct value v_float(double f);
struct value v_str(const char *s, size_t n); // borrows
struct value v_lit(const char *s);
struct value v_copy(struct run *r, const char *s, size_t n);
struct value v_undefined(struct run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct value v_list(struct run *r, int kind, size_t n); // n items to be filled in
/* A list being built. */
struct building {
    struct list *list;
    uint32_t cap;
};
void build(struct run *r, struct building *b, struct value v);
struct value built(struct run *r, struct building *b, int kind);
struct dict *dict_new(struct run *r, size_t cap);
void dict_put(struct run *r, struct dict *d, struct value key, struct value v);
void dict_append(struct run *r, struct dict *d, struct value key, struct value v); // key is new
struct value *dict_find(struct run *r, const struct dict *d, struct value key);
void must_hash(struct run *r, struct value key);
struct value from_json(struct run *r, const json_t *j);

bool is_str(struct value v, const char *s);
bool same_str(struct value a, struct value b);
bool is_number(struct value v);
double as_double(struct value v);
bool truth(struct run *r, struct value v);
bool equal(struct run *r, struct value a, struct value b);
int compare(struct run *r, struct value a, struct value b, const char *op); // order; fails
bool contains(struct run *r, struct value item, struct value in);
int64_t length_of(struct run *r, struct value v); // -1: has none
const char *type_name(struct value v);
struct value get_item(struct run *r, struct value v, struct value key);
struct value get_attr(struct run *r, struct value v, struct value name);
struct value slice(struct run *r, struct value v, struct value from, struct value to,
                   struct value step);
void iter_begin(struct run *r, struct iter *it, struct value v);
bool iter_next(struct run *r, struct iter *it, struct value *out);
struct value to_list(struct run *r, struct value v, int kind);
void sort_values(struct run *r, struct value *v, const struct value *key, size_t n,
                 bool reverse);

void add_str(struct run *r, struct buf *b, struct value v);  // Python's str()
void add_repr(struct run *r, struct buf *b, struct value v); // Python's repr()
void add_float(struct buf *b, double f);
struct value to_str(struct run *r, struct value v);
struct json_style {
    bool ascii, sort;
    struct value indent, item, key; // indent: V_NONE or a string
};
void add_json(struct run *r, struct buf *b, struct value v, const struct json_style *style);

/* ---- text (text.c) ---------------------------------------------------------------- */

/* The character at s (n > 0 bytes left); *len its bytes.  A byte that begins none stands for
 * itself. */
uint32_t char_at(const char *s, size_t n, size_t *len);
size_t char_before(const char *s, size_t n); // length of the last character of s
bool is_space(uint32_t c);
size_t space_end(const char *s, size_t n);   // how many bytes are left without space at the end
size_t space_start(const char *s, size_t n); // bytes of space at the start
size_t count_chars(const char *s, size_t n);
size_t char_offset(const char *s, size_t n,
                   size_t index); // byte where character `index` begins
void add_char(struct buf *b, uint32_t c);
enum { STRIP_LEFT = 1, STRIP_RIGHT = 2 };
struct value strip(struct value s, struct value chars, int sides);
enum text_case {
    CASE_UPPER,
    CASE_LOWER,
    CASE_TITLE,
    CASE_CAPITAL,
    CASE_SWAP,
    CASE_JINJA_TITLE
};
struct value change_case(struct run *r, struct value s, enum text_case how);
enum text_class {
    IS_DIGIT,
    IS_DECIMAL,
    IS_NUMERIC,
    IS_ALPHA,
    IS_ALNUM,
    IS_SPACE,
    IS_UPPER,
    IS_LOWER,
    IS_ASCII
};
bool is_class(struct value s, enum text_class what);
const char *find_bytes(const char *s, size_t n, const char *part, size_t m);
struct value replace_text(struct run *r, struct value s, struct value old, struct value by,
                          int64_t count);
struct value split_text_by(struct run *r, struct value s, struct value sep, int64_t max,
                           bool from_right);
struct value split_lines(struct run *r, struct value s, bool keep_ends);
struct value html_escape(struct run *r, struct value s);

/* ---- numbers and formats (number.c, format.c) ------------------------------------- */

struct value binary(struct run *r, int op, struct value a, struct value b);
struct value negate(struct run *r, struct value v);
int64_t want_int(struct run *r, struct value v, const char *what);
struct value round_number(struct run *r, struct value v, int64_t digits, struct value method);
bool parse_int(struct value s, int64_t base, int64_t *out);
bool parse_float(struct value s, double *out);
struct value percent_format(struct run *r, struct value format, struct value with);
struct value brace_format(struct run *r, struct value format, const struct args *a);
/* One value under a format spec such as ">8.2f". */
void add_formatted(struct run *r, struct buf *b, struct value v, struct value spec);

/* ---- calls ------------------------------------------------------------------------ */

/* Arguments of a built-in by position or name.  spec: names separated by spaces; the first
 * `required` must be given.  "*" at the end: more are allowed and left in a. */
enum { PARAMS_MAX = 6 };
void bind_args(struct run *r, const char *what, const struct args *a, const char *spec,
               int required, struct value *out);

struct global {
    const char *name, *params;
    int required;
    struct value (*call)(struct run *r, const struct value *arg, const struct args *a);
};
const struct global *global_find(struct value name);

struct method {
    const char *name, *params;
    int required;
    struct value (*call)(struct run *r, struct value self, const struct value *arg,
                         const struct args *a);
};
struct bound {
    struct value self;
    const struct method *method;
};
/* The method of v's type, or NULL.  *unsafe: it would change v. */
const struct method *method_find(struct value v, struct value name, bool *unsafe);

struct filter {
    const char *name, *params;
    int required;
    struct value (*call)(struct run *r, struct value self, const struct value *arg,
                         const struct args *a);
};
bool filter_exists(struct value name);
bool test_exists(struct value name);
struct value call_filter(struct run *r, struct value name, struct value self,
                         const struct args *a);
bool call_test(struct run *r, struct value name, struct value self, const struct args *a);
/* How the call of one begins, and what the filters of both files ask of an argument. */
#define FILTER(name)                                                                           \
    static struct value name(struct run *r, struct value self, const struct value *arg,        \
                             const struct args *a)
static inline bool given(struct value v)
{
    return v.kind != V_ABSENT;
}
static inline bool flag(struct run *r, struct value v)
{
    return given(v) && truth(r, v);
}
/* filters_list.c adds to the table of filters.c. */
const struct filter *filter_of_lists(struct value name);
struct value by_path(struct run *r, struct value v, struct value path); // attribute "a.b.0"

struct value call_value(struct run *r, struct value f, const struct args *a);
struct value call_macro(struct run *r, struct macro *m, const struct args *a);
struct value eval(struct run *r, const struct node *n);
void exec_all(struct run *r, const struct node *n);
struct value filter_chain(struct run *r, const struct node *n, struct value inner);
struct value call_loop(struct run *r, struct loop *l, struct value items);
struct value loop_attr(struct run *r, struct loop *l, struct value name, bool *found);
struct value *scope_find(struct scope *s, int symbol);
void bind(struct run *r, struct scope *s, int symbol, struct value v);
struct scope *scope_new(struct run *r, struct scope *parent);
void assign(struct run *r, const struct node *target, struct value v);

#endif
