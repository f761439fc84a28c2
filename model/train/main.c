/* main: guide-train, the program that makes the guide. Options are a table of what each sets. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "config/persona.h"
#include "model/engine.h"
#include "model/train/train.h"

enum kind { TEXT, COUNT, REAL, ON, OFF, SHOW, HELP };

static const struct option {
    const char *name;
    enum kind kind;
    size_t at;          /* in struct train_options */
    const char *value, *help;
} options[] = {
#define AT(field) offsetof(struct train_options, field)
    {"--corpus", TEXT, AT(corpus), "DIR", "folder of the text to learn"},
    {"--out", TEXT, AT(out), "FILE", "the model file to write"},
    {"--checkpoint", TEXT, AT(checkpoint), "FILE", "where to keep the state of the run, to go on from"},
    {"--resume", ON, AT(resume), NULL, "go on from the checkpoint, if there is one"},
    {"--validate", ON, AT(validate), NULL, "keep some wordings out and say how they are answered (for tuning)"},
    {"--show", SHOW, 0, "N", "print N rows of training text and stop"},
    {"--steps", COUNT, AT(steps), "N", "updates"},
    {"--batch-tokens", COUNT, AT(batch_tokens), "N", "tokens of an update"},
    {"--context", COUNT, AT(context), "N", "longest conversation, in tokens"},
    {"--lr", REAL, AT(lr), "X", "highest learning rate"},
    {"--lr-end", REAL, AT(lr_end), "X", "share of it that is left at the end"},
    {"--warm-up", COUNT, AT(warm_up), "N", "updates until it is reached"},
    {"--decay", REAL, AT(decay), "X", "weight decay"},
    {"--beta2", REAL, AT(beta2), "X", "memory of AdamW's second moment"},
    {"--momentum", REAL, AT(momentum), "X", "of Muon, which updates the layers' matrices; 0: AdamW does"},
    {"--clip", REAL, AT(clip), "X", "longest gradient; 0: any"},
    {"--first-loss", REAL, AT(first_loss), "X", "what a reply's first tokens weigh, which choose the answer"},
    {"--user-loss", REAL, AT(user_loss), "X", "what a token of the user's text weighs"},
    {"--refusals", REAL, AT(refusals), "X", "share of refused questions"},
    {"--no-system", REAL, AT(no_system), "X", "share of conversations without the system prompt"},
    {"--vocab", COUNT, AT(vocab), "N", "tokens of the vocabulary"},
    {"--pre", TEXT, AT(pre), "NAME", "how text is cut into words (tokenizer.ggml.pre)"},
    {"--layers", COUNT, AT(layers), "N", "layers"},
    {"--embd", COUNT, AT(embd), "N", "numbers of a token's vector"},
    {"--ff", COUNT, AT(ff), "N", "width of the feed-forward part"},
    {"--heads", COUNT, AT(heads), "N", "attention heads"},
    {"--kv-heads", COUNT, AT(kv_heads), "N", "key and value heads"},
    {"--seed", COUNT, AT(seed), "N", "another seed, another model"},
    {"--threads", COUNT, AT(threads), "N", "threads; their number changes the bits"},
    {"--report", COUNT, AT(report_every), "N", "updates between two lines of progress"},
    {"--measure", COUNT, AT(measure_every), "N", "updates between two lines of losses by kind; 0: none"},
    {"--save", COUNT, AT(save_every), "N", "updates between two checkpoints"},
    {"--no-synonyms", OFF, AT(augment.synonyms), NULL, "leave phrases as they are written"},
    {"--no-typos", OFF, AT(augment.typos), NULL, "make no typing errors"},
    {"--no-openers", OFF, AT(augment.openers), NULL, "put no greeting before and no please after"},
    {"--no-letters", OFF, AT(augment.letters), NULL, "leave capitals and question marks as they are written"},
    {"--no-drops", OFF, AT(augment.drops), NULL, "leave out no small words, one or all"},
    {"--no-noise", OFF, AT(augment.noise), NULL, "leave out no words and put none in"},
    {"--no-twice", OFF, AT(augment.twice), NULL, "ask for nothing in two wordings at once"},
    {"--no-splits", OFF, AT(augment.splits), NULL, "take no words apart"},
    {"--help", HELP, 0, NULL, "print this"},
};

static void print_help(void) {
    printf("guide-train: trains the guide on its corpus\n\n");
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        char left[48];
        snprintf(left, sizeof left, "%s %s", options[i].name, options[i].value ? options[i].value : "");
        printf("  %-22s %s\n", left, options[i].help);
    }
}

static const struct option *find_option(const char *name) {
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (!strcmp(options[i].name, name)) return &options[i];
    return NULL;
}

static int read_count(const char *name, const char *text, uint64_t *out, struct err *e) {
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && !errno) return 0;
    return err_set(e, ERR_USAGE, "%s: found \"%s\", expected a whole number", name, text);
}

static int read_real(const char *name, const char *text, double *out, struct err *e) {
    char *end;
    *out = strtod(text, &end);
    return *text && !*end ? 0 : err_set(e, ERR_USAGE, "%s: found \"%s\", expected a number", name, text);
}

/* *show: rows to print instead of training. *help: nothing is to be done but that. */
static int read_options(int argc, char **argv, struct train_options *t, uint64_t *show, bool *help, struct err *e) {
    int rc = 0;
    for (int i = 1; i < argc && !rc; i++) {
        const struct option *o = find_option(argv[i]);
        if (!o) return err_set(e, ERR_USAGE, "%s: unknown option; --help lists them", argv[i]);
        void *place = (char *)t + o->at;
        if (o->value && i + 1 == argc) return err_set(e, ERR_USAGE, "%s: expected %s after it", o->name, o->value);
        const char *value = o->value ? argv[++i] : NULL;
        switch (o->kind) {
        case TEXT: *(const char **)place = value; break;
        case COUNT: rc = read_count(o->name, value, place, e); break;
        case REAL: rc = read_real(o->name, value, place, e); break;
        case SHOW: rc = read_count(o->name, value, show, e); break;
        case ON:
        case OFF: *(bool *)place = o->kind == ON; break;
        case HELP: *help = true; break;
        }
    }
    return rc;
}

/* Does what the options say, with the system prompt that the guide will be asked with. */
static int train(struct train_options *t, uint64_t show, struct err *e) {
    struct settings *s;
    struct persona *guide = NULL;
    int rc = settings_open(&s, e);
    if (rc) return rc;
    rc = persona_open(&guide, "config/personas/guide.yaml", s, e);
    if (!rc) {
        t->system = settings_text(s, SET_SYSTEM);
        rc = show ? train_show(t, show, stdout, e) : train_run(t, stderr, e);
    }
    persona_close(guide);
    settings_close(s);
    return rc;
}

int main(int argc, char **argv) {
    struct train_options t;
    struct err e = {0};
    uint64_t show = 0;
    bool help = false;
    engine_prepare_process(argv);
    train_defaults(&t);
    int rc = read_options(argc, argv, &t, &show, &help, &e);
    if (!rc && help) print_help();
    else if (!rc) rc = train(&t, show, &e);
    if (rc) fprintf(stderr, "guide-train: %s\n", e.text);
    return err_status(rc);
}
