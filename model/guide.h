/* guide: the bytes of the model that is built into the program. model/guide.sh puts them there, with their checksum. Any thread. */
#ifndef MODEL_GUIDE_H
#define MODEL_GUIDE_H

#include <stddef.h>
#include <stdint.h>

#include "config/err.h"

/* A whole GGUF file, in the program's own mapping: it is read where it lies. ERR_FILE: the bytes are not those that were built in, or this
 * program (the trainer) has none. */
int guide_bytes(const uint8_t **bytes, size_t *n, struct err *e);

#endif
