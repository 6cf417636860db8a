/* What the files of the engine share among themselves; jobs include engine.h. */
#ifndef PIPELINE_ENGINE_INT_H
#define PIPELINE_ENGINE_INT_H

#include "base/clock.h"
#include "pipeline/engine.h"

#define AIO_DEPTH 128
#define LOSSES_KEPT 10000

/* Thread bodies; arg is the job, or the worker. */
void *engine_reader_main(void *arg);
void *engine_worker_main(void *arg);
void *engine_sink_main(void *arg);

/* The first error wins: note it, and have everybody leave. */
void engine_fail(struct job *j, const struct err *e);

/* With the lock held. */
struct slot *engine_take_free(struct job *j, struct err *e);
void engine_put_free(struct job *j, struct slot *s);
/* Fill in j->error, unless something failed before: nothing has moved since j->moved_ns. */
void engine_stall_error(struct job *j, uint64_t now_ns);
void engine_sample(struct job *j, uint64_t now_ns);

void slot_free(struct slot *s);

#endif
