/* model: an opened model, as the files of this folder see it. app/ sees engine.h alone.
 *
 * Immutable once opened: any thread. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "model/engine.h"
#include "model/gguf.h"
#include "model/rope.h"
#include "model/template.h"
#include "model/vocab.h"
#include "model/weights.h"

struct model {
    struct gguf *gguf;
    struct vocab *vocab;    /* NULL only where cannot_run is set */
    struct weights weights; /* empty (arch NULL) where only the vocabulary was asked for */
    struct rope rope;
    struct template_format format;
    uint64_t n_params, weight_bytes, fingerprint;
    char *name, *arch_name, *type_name; /* owned */
    char *cannot_run;                   /* owned: why vocabulary or weights are missing; NULL: they are not, or were not asked for */
};

#endif
