/* chat_parts: what the files of chat share. chat.c: opening, handlers, leaving. chat_turn.c: turns and the engine's events.
 * chat_view.c: the transcript, notices and the status bar. */
#ifndef APP_CHAT_PARTS_H
#define APP_CHAT_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app/app.h"
#include "app/conversation.h"
#include "app/slash.h"
#include "config/buf.h"
#include "ui/ui.h"

#define CHAT_EVENT_US 6e6  /* how long an event stands in the status bar */
#define CHAT_FLASH_US 5e5  /* how long growing and evicting are shown as what is going on */

struct chat_notice {
    enum ui_role role;
    char *text;
};

struct chat {
    struct app *app;
    struct ui *ui;
    struct slash slash;       /* holds the conversation */

    /* Requests under way; 0: none. */
    uint64_t load, restore, reply, save;
    bool is_new_message;      /* the running reply answers a message just typed */
    bool is_opening;          /* the first load: its failure ends the program */
    struct worker_result *result; /* of the last reply; its marks are lent to slash */

    char **waiting;           /* messages typed while they could not be sent, oldest first */
    size_t n_waiting;
    uint64_t waiting_id;      /* first entry that shows them; 0: none is shown */

    uint64_t last_id;         /* of transcript entries */
    uint64_t *shown;          /* entry of each message of the branch, 0: not shown */
    size_t n_shown, cap_shown;
    uint64_t reply_id;        /* entry of the running reply */
    struct buf printed;       /* by the running command */
    bool in_command;          /* what is said answers a command, and does not wait for the reply's end */
    struct chat_notice *later; /* notices that wait for its end: a reply is one entry without a break */
    size_t n_later;

    size_t done, total;       /* prompt tokens read */
    double reading_us;        /* when that began */
    bool is_writing;          /* the first text has come */
    enum ui_state flash;      /* UI_GROWING or UI_EVICTING until flash_us */
    double flash_us;
    struct buf event;         /* for the status bar, until event_us */
    double event_us;
    bool no_save;             /* asked for */
    bool told_diverged;       /* once a conversation is enough */
    bool not_saved;           /* a failure, and it has been said */

    int status;               /* for leaving */
    struct err fatal;         /* said after the screen is gone; code 0: nothing */
};

/* ---- chat_turn.c ---- */
void chat_send(struct chat *c, const char *text);            /* now, or when what is going on is over */
void chat_answer(struct chat *c, uint64_t ticket, bool is_new_message); /* asks for a reply to the last user message */
void chat_load(struct chat *c);                              /* model and session, then the conversation's snapshot */
void chat_restore(struct chat *c);                           /* the snapshot of the conversation, where there is one */
void chat_events(struct chat *c);                            /* takes what the engine has said */
void chat_handle(struct chat *c, struct worker_event *ev);   /* one event; frees what it holds */
void chat_send_waiting(struct chat *c);                      /* the oldest waiting message, if it can be sent */
bool chat_is_ready(const struct chat *c);                    /* a message can be sent */

/* ---- chat_view.c ---- */
void chat_say(struct chat *c, enum ui_role role, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void chat_say_error(struct chat *c, const struct err *e);
void chat_say_later(struct chat *c);                         /* what waited for the end of the reply */
void chat_event(struct chat *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void chat_show(struct chat *c);                              /* the whole branch anew */
void chat_cut(struct chat *c);                               /* what is shown and is no longer on the branch goes */
uint64_t chat_show_message(struct chat *c, size_t i);        /* message i of the branch, at the end */
/* The note at its end. may_have_siblings: ask the store, which may have to wait for the disk. */
void chat_mark_message(struct chat *c, size_t i, bool may_have_siblings);
void chat_show_waiting(struct chat *c);
void chat_hide_waiting(struct chat *c);
void chat_show_context(struct chat *c);                      /* where it begins now */
void chat_refresh(struct chat *c);                           /* the status bar, and what is to be said about saving */
void chat_view_free(struct chat *c);

#endif
