/* corpus: see corpus.h. A line is told by what it starts with; a row of a table says what becomes of it. */
#include "model/train/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/buf.h"
#include "config/hash.h"
#include "config/paths.h"

enum { FILE_BYTES_MAX = 16 << 20 };

static const char SYNONYMS[] = "synonyms.txt";

/* What is being read: the file, and what the last lines opened. */
struct reader {
    struct corpus *c;
    struct corpus_place at;
    const char *topic;                /* NULL: none yet in this file */
    struct corpus_fact *fact;         /* the block that is open; */
    struct corpus_dialogue *dialogue; /* one of the two at most */
    struct err *e;
};

static int no_memory(struct err *e) { return err_set(e, ERR_MEMORY, "no memory for the corpus"); }

static int refuse(struct err *e, struct corpus_place at, const char *what, const char *which) {
    return err_set(e, ERR_FILE, "%s:%d: %s%s%s", at.file, at.line, what, *which ? " " : "", which);
}

/* The array, moved where it had no room for one item more; NULL: no memory, and it is as it was. */
static void *with_room(void *array, size_t n, size_t *cap, size_t item_bytes) {
    if (n < *cap) return array;
    size_t more = *cap ? *cap * 2 : 16;
    void *moved = more > SIZE_MAX / item_bytes ? NULL : realloc(array, more * item_bytes);
    if (moved) *cap = more;
    return moved;
}

static int add_text(struct corpus_list *l, const char *text, struct err *e) {
    const char **moved = with_room(l->text, l->n, &l->cap, sizeof *l->text);
    if (!moved) return no_memory(e);
    l->text = moved;
    l->text[l->n++] = text;
    return 0;
}

/* The text without blanks at its ends, cut in place. */
static char *trim(char *text) {
    text += strspn(text, " ");
    size_t n = strlen(text);
    while (n && text[n - 1] == ' ') n--;
    text[n] = 0;
    return text;
}

/* ---- blocks -------------------------------------------------------------------------------------------------- */

static int end_block(struct reader *r) {
    const struct corpus_fact *f = r->fact;
    const struct corpus_dialogue *d = r->dialogue;
    r->fact = NULL;
    r->dialogue = NULL;
    if (f && !f->answer.n) return refuse(r->e, f->place, "found no a: line for the fact", f->id);
    if (f && !f->ask.n) return refuse(r->e, f->place, "found no q: line for the fact", f->id);
    if (d && !d->n_turns) return refuse(r->e, d->place, "found no u: line in the dialogue", d->id);
    if (d && !d->turn[d->n_turns - 1].reply && !d->turn[d->n_turns - 1].fact_id)
        return refuse(r->e, d->place, "found a u: line without a k: line at the end of the dialogue", d->id);
    return 0;
}

static int check_id(struct reader *r, const char *id) {
    if (!*id || id[strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-")])
        return refuse(r->e, r->at, "expected an id of a-z, 0-9 and -, found", *id ? id : "nothing");
    return 0;
}

static int open_topic(struct reader *r, char *name) {
    int rc = end_block(r);
    if (rc) return rc;
    if (!*name) return refuse(r->e, r->at, "expected a topic's name after the colon", "");
    r->topic = name;
    for (size_t i = 0; i < r->c->topics.n; i++)
        if (!strcmp(r->c->topics.text[i], name)) return 0;
    return add_text(&r->c->topics, name, r->e);
}

static size_t topic_index(const struct reader *r) {
    size_t i = 0;
    while (strcmp(r->c->topics.text[i], r->topic)) i++;
    return i;
}

static int open_fact(struct reader *r, char *id) {
    int rc = end_block(r);
    if (rc || (rc = check_id(r, id))) return rc;
    if (!r->topic) return refuse(r->e, r->at, "expected a line \"## topic: NAME\" before the fact", id);
    const struct corpus_fact *twin = corpus_find(r->c, id);
    if (twin) return err_set(r->e, ERR_FILE, "%s:%d: the fact %s is already in %s:%d", r->at.file, r->at.line, id, twin->place.file, twin->place.line);
    struct corpus_fact *moved = with_room(r->c->fact, r->c->n_facts, &r->c->cap_facts, sizeof *moved);
    if (!moved) return no_memory(r->e);
    r->c->fact = moved;
    r->fact = &r->c->fact[r->c->n_facts++];
    *r->fact = (struct corpus_fact){.id = id, .topic = topic_index(r), .place = r->at};
    return 0;
}

static int open_dialogue(struct reader *r, char *id) {
    int rc = end_block(r);
    if (rc || (rc = check_id(r, id))) return rc;
    for (size_t i = 0; i < r->c->n_dialogues; i++)
        if (!strcmp(r->c->dialogue[i].id, id)) return refuse(r->e, r->at, "there are two dialogues", id);
    struct corpus_dialogue *moved = with_room(r->c->dialogue, r->c->n_dialogues, &r->c->cap_dialogues, sizeof *moved);
    if (!moved) return no_memory(r->e);
    r->c->dialogue = moved;
    r->dialogue = &r->c->dialogue[r->c->n_dialogues++];
    *r->dialogue = (struct corpus_dialogue){.id = id, .place = r->at};
    return 0;
}

/* ---- lines of a block ---------------------------------------------------------------------------------------- */

static int add_to_fact(struct reader *r, size_t list, char *text) {
    if (!r->fact) return refuse(r->e, r->at, "found a line that belongs to a fact, but none is open:", text);
    if (!*text) return refuse(r->e, r->at, "expected text after the colon", "");
    return add_text((struct corpus_list *)((char *)r->fact + list), text, r->e);
}

static int add_ask(struct reader *r, char *text) { return add_to_fact(r, offsetof(struct corpus_fact, ask), text); }
static int add_follow(struct reader *r, char *text) { return add_to_fact(r, offsetof(struct corpus_fact, follow), text); }
static int add_answer(struct reader *r, char *text) { return add_to_fact(r, offsetof(struct corpus_fact, answer), text); }

/* "@fact-id words". */
static int add_next(struct reader *r, char *text) {
    struct corpus_fact *f = r->fact;
    if (!f) return refuse(r->e, r->at, "found a line that belongs to a fact, but none is open:", text);
    size_t n = strcspn(text, " ");
    if (*text != '@' || n < 2 || !text[n]) return refuse(r->e, r->at, "expected @fact-id and text after n:, found", text);
    text[n] = 0;
    struct corpus_next *moved = with_room(f->next, f->n_next, &f->cap_next, sizeof *moved);
    if (!moved) return no_memory(r->e);
    f->next = moved;
    f->next[f->n_next++] = (struct corpus_next){.text = trim(text + n + 1), .fact_id = text + 1, .place = r->at};
    return 0;
}

static bool is_open(const struct corpus_dialogue *d) {
    const struct corpus_turn *t = d->n_turns ? &d->turn[d->n_turns - 1] : NULL;
    return t && !t->reply && !t->fact_id;
}

static int add_user(struct reader *r, char *text) {
    struct corpus_dialogue *d = r->dialogue;
    if (!d) return refuse(r->e, r->at, "found a line that belongs to a dialogue, but none is open:", text);
    if (!*text) return refuse(r->e, r->at, "expected text after the colon", "");
    if (is_open(d)) return refuse(r->e, r->at, "expected k: after u:, found another u:", text);
    struct corpus_turn *moved = with_room(d->turn, d->n_turns, &d->cap_turns, sizeof *moved);
    if (!moved) return no_memory(r->e);
    d->turn = moved;
    d->turn[d->n_turns++] = (struct corpus_turn){.user = text, .place = r->at};
    return 0;
}

static int add_reply(struct reader *r, char *text) {
    struct corpus_dialogue *d = r->dialogue;
    if (!d) return refuse(r->e, r->at, "found a line that belongs to a dialogue, but none is open:", text);
    if (!*text) return refuse(r->e, r->at, "expected text after the colon", "");
    if (!is_open(d)) return refuse(r->e, r->at, "expected u: before k:", text);
    struct corpus_turn *t = &d->turn[d->n_turns - 1];
    t->place = r->at;
    if (*text == '@') t->fact_id = text + 1;
    else t->reply = text;
    return 0;
}

/* ---- files --------------------------------------------------------------------------------------------------- */

static const struct form {
    const char *start;
    int (*take)(struct reader *r, char *rest);
} forms[] = {
    {"## topic:", open_topic}, {"fact:", open_fact}, {"q:", add_ask}, {"f:", add_follow}, {"n:", add_next}, {"a:", add_answer},
    {"dialogue:", open_dialogue}, {"u:", add_user}, {"k:", add_reply},
};

static int read_line(struct reader *r, char *line) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t n = strlen(forms[i].start);
        if (!strncmp(line, forms[i].start, n)) return forms[i].take(r, trim(line + n));
    }
    if (!*line || (line[0] == '#' && line[1] != '#')) return 0;
    return refuse(r->e, r->at, "expected a line that starts with ## topic:, fact:, q:, f:, n:, a:, dialogue:, u:, k: or #, found", line);
}

/* A group of phrases: "one | another | a third". */
static int read_group(struct reader *r, char *line) {
    struct corpus *c = r->c;
    if (!*line || *line == '#') return 0;
    struct corpus_list *moved = with_room(c->group, c->n_groups, &c->cap_groups, sizeof *moved);
    if (!moved) return no_memory(r->e);
    c->group = moved;
    struct corpus_list *g = &c->group[c->n_groups++];
    *g = (struct corpus_list){0};
    int rc = 0;
    for (char *phrase = line, *bar; phrase && !rc; phrase = bar) {
        bar = strchr(phrase, '|');
        if (bar) *bar++ = 0;
        phrase = trim(phrase);
        rc = *phrase ? add_text(g, phrase, r->e) : refuse(r->e, r->at, "expected a phrase on both sides of every |", "");
    }
    return rc || g->n > 1 ? rc : refuse(r->e, r->at, "expected two phrases or more, with | between them, found", g->text[0]);
}

static int check_bytes(struct reader *r, const char *line) {
    for (; *line; line++)
        if (*line < ' ' || *line > '~') return refuse(r->e, r->at, "found a character that is not printable ASCII in:", line);
    return 0;
}

/* Reads one file's lines, which are cut in place. */
static int read_file(struct reader *r, char *text, size_t n) {
    bool synonyms = !strcmp(r->at.file, SYNONYMS);
    int rc = 0;
    r->at.line = 0;
    r->topic = NULL;
    for (char *line = text, *end = text + n; line < end && !rc;) {
        char *stop = memchr(line, '\n', (size_t)(end - line)), *next = stop ? stop + 1 : end;
        r->at.line++;
        if (stop) *stop = 0;
        if (memchr(line, 0, (size_t)((stop ? stop : end) - line))) rc = refuse(r->e, r->at, "found a zero byte", "");
        if (!rc) rc = check_bytes(r, line);
        if (!rc) rc = synonyms ? read_group(r, trim(line)) : read_line(r, trim(line));
        line = next;
    }
    return rc ? rc : end_block(r);
}

static int keep(struct corpus *c, char *text, struct err *e) {
    char **moved = text ? with_room(c->file, c->n_files, &c->cap_files, sizeof *moved) : NULL;
    if (!moved) {
        free(text);
        return no_memory(e);
    }
    c->file = moved;
    c->file[c->n_files++] = text;
    return 0;
}

/* Enters a file's name and bytes into the hash, and its text into c unless that is NULL. */
static int add_file(struct corpus *c, uint64_t *hash, const char *folder, const char *name, struct err *e) {
    struct buf path = {0}, text = {0};
    size_t n = 0;
    int rc = paths_join(folder, name, &path);
    if (!rc) rc = paths_read(buf_text(&path), FILE_BYTES_MAX, &text, e);
    else no_memory(e);
    if (!rc) {
        *hash = hash_bytes(name, strlen(name) + 1, *hash);
        *hash = hash_bytes(buf_text(&text), n = text.len, *hash);
    }
    if (!rc && c && !(rc = keep(c, strdup(name), e)) && !(rc = keep(c, buf_take(&text), e))) {
        struct reader r = {.c = c, .at = {.file = c->file[c->n_files - 2]}, .e = e};
        rc = read_file(&r, c->file[c->n_files - 1], n);
    }
    buf_free(&path);
    buf_free(&text);
    return rc;
}

static int is_text(const struct dirent *d) {
    size_t n = strlen(d->d_name);
    return *d->d_name != '.' && n > 4 && !strcmp(d->d_name + n - 4, ".txt");
}

static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int read_folder(struct corpus *c, uint64_t *hash, const char *folder, struct err *e) {
    struct dirent **entry;
    int n = scandir(folder, &entry, is_text, by_bytes), rc = 0;
    *hash = 0;
    if (n < 0) return err_set(e, ERR_FILE, "cannot read the folder %s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        if (!rc) rc = add_file(c, hash, folder, entry[i]->d_name, e);
        free(entry[i]);
    }
    free(entry);
    if (!rc && !n) rc = err_set(e, ERR_FILE, "%s: found no .txt file, expected the guide's corpus", folder);
    return rc;
}

/* ---- the corpus ---------------------------------------------------------------------------------------------- */

/* The index of the fact with that id. */
static int resolve_id(const struct corpus *c, struct corpus_place at, const char *id, size_t *fact, struct err *e) {
    const struct corpus_fact *f = corpus_find(c, id);
    if (!f) return refuse(e, at, "there is no fact", id);
    *fact = (size_t)(f - c->fact);
    return 0;
}

static int resolve_next(struct corpus *c, struct corpus_fact *f, struct err *e) {
    int rc = 0;
    for (struct corpus_next *n = f->next; n < f->next + f->n_next && !rc; n++) rc = resolve_id(c, n->place, n->fact_id, &n->fact, e);
    return rc;
}

static int resolve_turns(struct corpus *c, struct corpus_dialogue *d, struct err *e) {
    int rc = 0;
    for (struct corpus_turn *t = d->turn; t < d->turn + d->n_turns && !rc; t++)
        if (t->fact_id) rc = resolve_id(c, t->place, t->fact_id, &t->fact, e);
    return rc;
}

static int resolve(struct corpus *c, struct err *e) {
    int rc = 0;
    for (size_t i = 0; i < c->n_facts && !rc; i++) rc = resolve_next(c, &c->fact[i], e);
    for (size_t i = 0; i < c->n_dialogues && !rc; i++) rc = resolve_turns(c, &c->dialogue[i], e);
    return rc;
}

int corpus_open(struct corpus *c, const char *folder, struct err *e) {
    *c = (struct corpus){0};
    int rc = read_folder(c, &c->hash, folder, e);
    if (!rc) rc = resolve(c, e);
    if (rc) corpus_close(c);
    return rc;
}

void corpus_close(struct corpus *c) {
    for (size_t i = 0; i < c->n_facts; i++) {
        free(c->fact[i].ask.text);
        free(c->fact[i].follow.text);
        free(c->fact[i].answer.text);
        free(c->fact[i].next);
    }
    for (size_t i = 0; i < c->n_dialogues; i++) free(c->dialogue[i].turn);
    for (size_t i = 0; i < c->n_groups; i++) free(c->group[i].text);
    for (size_t i = 0; i < c->n_files; i++) free(c->file[i]);
    free(c->fact);
    free(c->dialogue);
    free(c->topics.text);
    free(c->group);
    free(c->file);
    *c = (struct corpus){0};
}

int corpus_hash(const char *folder, uint64_t *hash, struct err *e) { return read_folder(NULL, hash, folder, e); }

const struct corpus_fact *corpus_find(const struct corpus *c, const char *id) {
    for (size_t i = 0; i < c->n_facts; i++)
        if (!strcmp(c->fact[i].id, id)) return &c->fact[i];
    return NULL;
}
