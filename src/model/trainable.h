/* model/trainable.h - what belongs to one trainer, as the backward pass and the optimiser see it. */
#ifndef MODEL_TRAINABLE_H
#define MODEL_TRAINABLE_H

#include "model/internal.h"

struct trainable {
    struct model *model;
    int n;                      // parameters
    struct tensor *grad;        // (n) shaped like the parameters, F32; without data where frozen, as are the others
    struct tensor *m, *v;       // (n) the same, empty where moments8 has them
    struct moments8 **moments8; // (n) or NULL
};

#endif
