/* compute/cpu/attention.c - attention on the CPU: which version computes what. */
#include "compute/cpu/attention.h"
#include "compute/cpu/cpu.h"

void cpu_attention(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                   const struct tensor *v, const struct attention *a)
{
    attention_plain(out, lse, q, k, v, a);
}

void cpu_attention_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                            const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                            const struct tensor *k, const struct tensor *v, const struct attention *a)
{
    attention_plain_backward(dq, dk, dv, dout, out, lse, q, k, v, a);
}
