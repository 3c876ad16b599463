/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Status in three layers: the returned code and its umemError (built here), a
 * slot per (thread, context), and a count with the last error per context.
 * Nothing in the library reads the last two to decide anything, but for one: a
 * file is published only if no call on its context failed.
 */
#include "internal.h"

enum {
  TEXT_BYTES = 1024,                              /* a slot's text */
  LAST_LINE = sizeof "\n... and 4294967295 more", /* what it may end with */
  SLOTS_MAX = 1024,     /* contexts whose status a thread keeps */
  TEXTS_MAX = 16,       /* texts that it keeps */
  EMERGENCY_SLOTS = 32, /* for all threads, when there is no memory */
  LAST_TEXTS = 256,     /* last errors' texts; a multiple of the locks */
  DEAD_IDS = 4096       /* destroyed contexts that are remembered */
};

/* --- layer 2: a list of slots per thread, last failure first -------------- */

/* A message that was handed out stays readable after its slot was cleaned or
   used again: texts, and the slots that hold them, live as long as the thread.
 */
struct slot {
  struct slot *next;
  uint64_t id; /* 0: free, and so one of the dead */
  umemStatusType type;
  unsigned more; /* failures whose texts did not fit */
  size_t length; /* of the texts that did */
  char *text;    /* TEXT_BYTES, or NULL: had none, or had to give it away */
  atomic_bool *emergency; /* what to clear instead of free(), or NULL */
};

static UMEMI_THREAD_LOCAL struct slot *thread_slots;

/* Ids of destroyed contexts, each at its own place: their slots go first. */
static _Atomic uint64_t dead_ids[DEAD_IDS];

static bool slot_is_dead(struct slot const *slot) {
  return atomic_load_explicit(&dead_ids[slot->id % DEAD_IDS],
                              memory_order_relaxed) == slot->id;
}

static void slot_destroy(struct slot *slot) {
  if (slot->emergency) {
    atomic_store_explicit(slot->emergency, false, memory_order_release);
    return;
  }
  free(slot->text);
  free(slot);
}

static void thread_slots_destroy(void *unused) {
  (void)unused;
  while (thread_slots) {
    struct slot *slot = thread_slots;
    thread_slots = slot->next;
    slot_destroy(slot);
  }
}

/* Made on first need: other libraries' constructors may fail in a call before
   one of ours would run. */
static pthread_key_t thread_end_key;
static _Atomic uint64_t thread_end_once;
static atomic_bool thread_end_key_exists;

static void thread_end_init(void) {
  atomic_store(
      &thread_end_key_exists,
      umemi_os.pthread_key_create(&thread_end_key, thread_slots_destroy) == 0);
}

/* A plugin that has the library inside may be unloaded before its threads end,
   and the destructor with it. */
__attribute__((destructor)) static void status_unload(void) {
  umemi_once(&thread_end_once, thread_end_init); /* never again */
  if (atomic_exchange(&thread_end_key_exists, false))
    pthread_key_delete(thread_end_key);
}

/* Has thread_slots_destroy run when this thread ends. Where that cannot be, the
   slots outlive the thread: that loses memory, and no status. */
static void thread_end_watch(void) {
  umemi_once(&thread_end_once, thread_end_init);
  if (atomic_load(&thread_end_key_exists) &&
      !pthread_getspecific(thread_end_key))
    umemi_os.pthread_setspecific(thread_end_key, &thread_slots);
}

static struct slot **slot_find(uint64_t id) {
  struct slot **at = &thread_slots;
  while (*at && (*at)->id != id)
    at = &(*at)->next;
  return at;
}

static struct slot *slot_unlink(struct slot **at) {
  struct slot *slot = *at;
  *at = slot->next;
  return slot;
}

static struct slot *slot_emergency(void) {
  static struct slot slots[EMERGENCY_SLOTS];
  static char texts[EMERGENCY_SLOTS][TEXT_BYTES];
  static atomic_bool used[EMERGENCY_SLOTS];
  for (size_t i = 0; i < EMERGENCY_SLOTS; i++)
    if (!atomic_exchange_explicit(&used[i], true, memory_order_acquire)) {
      slots[i] = (struct slot){.text = texts[i], .emergency = &used[i]};
      return &slots[i];
    }
  return NULL;
}

/* Memory for a text: new, or, where a thread has them all, that of a dead slot,
   else of the one that failed longest ago. Those of emergency slots stay. */
static char *text_new(void) {
  struct slot *victim = NULL;
  size_t count = 0;
  for (struct slot *slot = thread_slots; slot; slot = slot->next)
    if (slot->text && !slot->emergency) {
      count++;
      if (!victim || !slot_is_dead(victim))
        victim = slot;
    }
  if (count < TEXTS_MAX)
    return umemi_os.malloc(TEXT_BYTES);
  char *text = victim->text;
  victim->text = NULL;
  return text;
}

/* From the heap, text and all, or nothing. */
static struct slot *slot_from_heap(void) {
  struct slot *slot = umemi_os.calloc(1, sizeof *slot);
  if (!slot)
    return NULL;
  slot->text = text_new();
  if (slot->text)
    return slot;
  free(slot);
  return NULL;
}

/* Where a thread has them all it gives up a dead one, else the last. */
static struct slot *slot_new(void) {
  size_t count = 0;
  struct slot **victim = &thread_slots;
  for (struct slot **at = &thread_slots; *at; at = &(*at)->next, count++) {
    if ((*at)->id == 0 && (*at)->text)
      return slot_unlink(at);
    if (!slot_is_dead(*victim))
      victim = at;
  }
  if (count >= SLOTS_MAX)
    return slot_unlink(victim);
  thread_end_watch();
  struct slot *slot = slot_from_heap();
  return slot ? slot : slot_emergency();
}

static void slot_start(struct slot *slot, uint64_t id, umemStatusType type,
                       char const *text) {
  slot->id = id;
  slot->type = type;
  slot->more = 0;
  slot->length = strnlen(text, TEXT_BYTES - LAST_LINE);
  if (!slot->text)
    return;
  memcpy(slot->text, text, slot->length);
  slot->text[slot->length] = '\0';
}

/* old\nstatus Old changed to New\nnew, while it fits; then "... and N more". */
static void slot_append(struct slot *slot, umemStatusType type,
                        char const *text) {
  char changed[80] = "";
  if (type != slot->type)
    snprintf(changed, sizeof changed, "\nstatus %s changed to %s",
             umem_get_status_name(slot->type), umem_get_status_name(type));
  slot->type = type;
  size_t added = strlen(changed) + 1 + strlen(text);
  if (slot->more == 0 && slot->length + added + LAST_LINE <= TEXT_BYTES) {
    snprintf(slot->text + slot->length, TEXT_BYTES - slot->length, "%s\n%s",
             changed, text);
    slot->length += added;
    return;
  }
  slot->more++;
  snprintf(slot->text + slot->length, TEXT_BYTES - slot->length,
           "\n... and %u more", slot->more);
}

static void slot_record(struct umemiContext *ctx, umemStatusType type,
                        char const *text) {
  struct slot **at = slot_find(ctx->id);
  bool known = *at != NULL;
  struct slot *slot = known ? slot_unlink(at) : slot_new();
  if (!slot)
    return;
  bool appends = known && slot->text;
  if (!slot->text)
    slot->text = text_new();
  if (appends)
    slot_append(slot, type, text);
  else
    slot_start(slot, ctx->id, type, text);
  slot->next = thread_slots;
  thread_slots = slot;
  atomic_store_explicit(&ctx->has_status, true, memory_order_relaxed);
}

/* This thread's slot of a context, or NULL; one load if none ever failed. */
static struct slot *status_slot(struct umemiContext *c) {
  if (!atomic_load_explicit(&c->has_status, memory_order_relaxed))
    return NULL;
  return *slot_find(c->id);
}

void umemi_status_clean(struct umemiContext *ctx, bool dead) {
  struct slot *slot = status_slot(ctx);
  if (slot && slot->text && !slot->emergency)
    slot->id = 0;
  else if (slot)
    slot_destroy(slot_unlink(slot_find(ctx->id)));
  if (dead)
    atomic_store_explicit(&dead_ids[ctx->id % DEAD_IDS], ctx->id,
                          memory_order_relaxed);
}

/* --- layer 3: count and last error per context ---------------------------- */

/* A context's place is given by its id; contexts may push each other out, so
   all but the text is in the context as well. Static: needs no memory. */
static struct {
  uint64_t id;
  char text[sizeof((umemError *)NULL)->text];
} last_texts[LAST_TEXTS];

static void last_record(struct umemiContext *ctx, umemError const *error) {
  umemi_lock(ctx->id);
  atomic_fetch_add_explicit(&ctx->error_count, 1, memory_order_relaxed);
  ctx->last_type = error->type;
  ctx->last_errno = error->sys_errno;
  ctx->last_native = error->native;
  ctx->last_bytes_done = error->bytes_done;
  last_texts[ctx->id % LAST_TEXTS].id = ctx->id;
  memcpy(last_texts[ctx->id % LAST_TEXTS].text, error->text,
         sizeof error->text);
  umemi_unlock(ctx->id);
}

static void last_get(struct umemiContext *ctx, umemError *out) {
  umemi_lock(ctx->id);
  bool known = last_texts[ctx->id % LAST_TEXTS].id == ctx->id;
  memset(out, 0, sizeof *out);
  out->type = ctx->last_type;
  out->sys_errno = ctx->last_errno;
  out->native = ctx->last_native;
  out->bytes_done = ctx->last_bytes_done;
  if (known)
    memcpy(out->text, last_texts[ctx->id % LAST_TEXTS].text, sizeof out->text);
  else if (out->type != umemOK)
    snprintf(out->text, sizeof out->text,
             "(text not kept: too many contexts failed since)");
  umemi_unlock(ctx->id);
}

uint64_t umem_get_error_count(void const *ctx) {
  struct umemiContext *c = umemi_context(ctx);
  return c ? atomic_load_explicit(&c->error_count, memory_order_relaxed) : 0;
}

static umemStatusType last_copy(void const *ctx, umemError *out,
                                umemError *error) {
  struct umemiContext *c = umemi_context(ctx);
  if (!c)
    return umemi_need_live(ctx, "", error);
  if (!out)
    return umemi_null(error, "error_out");
  umemError last;
  last_get(c, &last);
  struct umemiSized sized = {offsetof(umemError, sys_errno), sizeof last,
                             offsetof(umemError, text)};
  return umemi_give_result(out, "error_out", &last, sized, error);
}

umemStatusType umem_copy_last_error(void const *ctx, umemError *error_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = last_copy(ctx, error_out, &call.error);
  return umemi_end(&call, status, ctx, "umem_copy_last_error(%s)",
                   umemi_name(ctx));
}

/* --- the end of every public call ----------------------------------------- */

static void status_record(void const *ctx, umemError const *error) {
  struct umemiContext *c = umemi_context(ctx);
  if (!c)
    return;
  last_record(c, error);
  slot_record(c, error->type, error->text);
}

/* File names may hold line ends, and worse; messages do not. */
static void status_make_printable(char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < ' ' || *text == 0x7f)
      *text = '?';
}

static void status_leave(struct umemiCall const *call) {
  pthread_setcancelstate(call->saved_cancel_state, NULL);
  errno = call->saved_errno;
}

umemStatusType umemi_end(struct umemiCall *call, umemStatusType status,
                         void const *ctx, char const *format, ...) {
  if (status != umemOK) {
    if (!call->whole_message) {
      va_list values;
      va_start(values, format);
      if (umemi_is_live(ctx))
        umemi_error_label(&call->error, umemi_context(ctx));
      umemi_error_prefix(&call->error, format, values);
      va_end(values);
    }
    status_make_printable(call->error.text);
    status_record(ctx, &call->error);
  }
  status_leave(call);
  return status;
}

umemStatusType umemi_end_two(struct umemiCall *call, umemStatusType status,
                             void const *a, void const *b, char const *format,
                             ...) {
  if (status != umemOK) {
    va_list values;
    va_start(values, format);
    umemi_error_prefix(&call->error, format, values);
    va_end(values);
    status_make_printable(call->error.text);
    status_record(a, &call->error);
    if (b != a)
      status_record(b, &call->error);
  }
  status_leave(call);
  return status;
}

/* --- what the user asks and sets ------------------------------------------ */

umemStatusType umem_get_status(void const *ctx) {
  struct umemiContext *c = umemi_context(ctx);
  if (!c)
    return umemTypeError;
  struct slot *slot = status_slot(c);
  return slot ? slot->type : umemOK;
}

bool umem_is_ok(void const *ctx) {
  return umem_get_status(ctx) == umemOK;
}

char const *umem_get_message(void const *ctx) {
  struct umemiContext *c = umemi_context(ctx);
  if (!c)
    return "not a context: NULL, zeroed, copied by value, moved, or never "
           "constructed";
  struct slot *slot = status_slot(c);
  if (!slot)
    return "";
  return slot->text ? slot->text
                    : "(message not kept: too many contexts failed since, or "
                      "no memory)";
}

umemStatusType umem_set_status(void const *ctx, umemStatusType type,
                               char const *message) {
  struct umemiContext *c = umemi_context(ctx);
  if (!c)
    return umemTypeError;
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = umemOK;
  char copy[TEXT_BYTES]; /* the message may be this slot's own text */
  snprintf(copy, sizeof copy, "%s", message ? message : "");
  if ((unsigned)type > umemAssertError)
    status = umem_error_fill(&call.error, umemValueError, 0, 0,
                             "there is no such status");
  else if (type == umemOK)
    umemi_status_clean(c, false);
  else
    slot_record(c, type, copy);
  return umemi_end(&call, status, ctx, "umem_set_status(%s, type %d)",
                   umemi_name(ctx), (int)type);
}

umemStatusType umem_clean_status(void const *ctx) {
  return umem_set_status(ctx, umemOK, NULL);
}

umemStatusType umem_clear_status(void const *ctx) {
  return umem_set_status(ctx, umemOK, NULL);
}
