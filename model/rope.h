/* rope: a model's rotary frequencies, from its metadata, with every scaling folded in.
 *
 * Linear scaling divides positions by a factor; llama3's factors divide single frequencies; YaRN (Peng et al. 2023,
 * "Efficient context window extension of large language models") does both by a ramp between fast and slow pairs and
 * makes queries and keys a little longer. All come out as one table of radians for each step of position. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include <stdint.h>

#include "config/err.h"
#include "kv/kv.h"
#include "model/weights.h"

struct rope {
    struct kv_rope kv; /* kv.freq is freq */
    double *freq;      /* owned */
    double base;
    const char *scaling;  /* "none", "linear", "llama3", "yarn" */
    uint64_t fingerprint; /* of everything that turns a key */
};

/* ERR_FILE: a scaling we do not know, or a number out of range. */
int rope_read(struct rope *r, const struct gguf *g, const struct weights *w, struct err *e);
void rope_free(struct rope *r);

#endif
