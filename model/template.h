/* template: chat messages to tokens, by the model's own template. Any thread.
 *
 * For now ChatML, recognised by what the file's template says, and plain completion where the file has none. Another
 * template is TEMPLATE_UNKNOWN: model_render refuses it with a sentence that says what may be done instead. A template
 * that does anything to the messages which is not known here is TEMPLATE_UNKNOWN too, rather than rendered almost right.
 *
 * Plain: messages are joined by one newline, but a reply given by its ids follows its prompt directly, as it was generated. */
#ifndef MODEL_TEMPLATE_H
#define MODEL_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/err.h"
#include "model/engine.h"
#include "model/gguf.h"
#include "model/vocab.h"

enum template_kind { TEMPLATE_PLAIN, TEMPLATE_CHATML, TEMPLATE_UNKNOWN };

struct template_format {
    enum template_kind kind;
    struct gguf_text default_system; /* the system text the template puts where no system message is given (Qwen2.5); empty: none */
    bool bos;                        /* it writes BOS itself */
    bool thinking;                   /* Qwen3: thoughts of turns before the last user message are left out, the last reply gets a thought, if empty */
};
/* Recognises the template text (tokenizer.chat_template; n = 0: none), which must outlive the format. */
void template_detect(const char *text, size_t n, struct template_format *out);

/* Renders; see model_render in engine.h for the contract. */
int template_render(const struct template_format *f, const struct vocab *v, const struct chat_message *msg, size_t n_msgs,
                    bool add_generation_prompt, struct rendered *out, struct err *e);

#endif
