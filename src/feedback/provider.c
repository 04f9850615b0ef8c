/* feedback/provider.c - what all providers share. */
#include "feedback/feedback.h"

void provider_free(struct provider *p)
{
    if (!p)
        return;
    if (p->close)
        p->close(p);
    free(p);
}
