/* version.c - the version compiled in; the one file a commit rebuilds. */
#include "base/base.h"

#ifndef RLAIF_VERSION
#define RLAIF_VERSION "unknown"
#endif

const char *rlaif_version(void)
{
    return RLAIF_VERSION;
}
