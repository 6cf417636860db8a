/*
 * Asynchronous requests by threads that call dev_read, dev_write and dev_flush. Threads are made
 * when there is more work than idle threads; a sequential device gets one, which keeps the order.
 * When not even one can be made, the caller does the work itself.
 *
 * One lock, which guards all of struct pool but `aio`.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "device/aio_int.h"

#define THREADS_MAX 8

struct pool {
	struct aio *aio;
	pthread_mutex_t lock;
	pthread_cond_t work;	 /* something was put into `todo`, or `stop` was set */
	pthread_cond_t finished; /* something was put into `done` */
	struct aio_list todo;
	struct aio_list done;
	unsigned waiting; /* requests in `todo` */
	unsigned pending; /* requests in `todo` or under way: not yet in `done` */
	unsigned idle;
	unsigned threads;
	unsigned threads_max;
	pthread_t ids[THREADS_MAX];
	bool stop;
};

static void *worker(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct aio_req *r = aio_pop(&p->todo);

		if (r == NULL && p->stop)
			break;
		if (r == NULL) {
			p->idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->idle--;
			continue;
		}
		p->waiting--;
		pthread_mutex_unlock(&p->lock);
		aio_run(p->aio, r);
		pthread_mutex_lock(&p->lock);
		p->pending--;
		aio_push(&p->done, r);
		pthread_cond_signal(&p->finished);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Signals are for the thread that waits, never for these. */
static bool add_thread(struct pool *p)
{
	sigset_t all;
	sigset_t old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&p->ids[p->threads], NULL, worker, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return false;
	pthread_setname_np(p->ids[p->threads], "imgtool-aio");
	p->threads++;
	return true;
}

static void add_threads(struct pool *p, unsigned count)
{
	while (count-- > 0 && p->threads < p->threads_max && add_thread(p))
		;
}

static int threads_open(struct aio *a, struct err *e)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_nomem(e);
	p->aio = a;
	p->threads_max = a->depth < THREADS_MAX ? a->depth : THREADS_MAX;
	if (dev_info(a->dev)->sequential)
		p->threads_max = 1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->finished, NULL);
	a->backend = p;
	return 0;
}

/* Without any thread, the caller works off the list. */
static void run_here(struct pool *p)
{
	struct aio_req *r;

	while ((r = aio_pop(&p->todo)) != NULL) {
		p->waiting--;
		p->pending--;
		aio_run(p->aio, r);
		aio_push(&p->done, r);
	}
}

static void threads_kick(struct aio *a)
{
	struct pool *p = a->backend;
	struct aio_req *r;

	if (a->queued.head == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	while ((r = aio_pop(&a->queued)) != NULL) {
		aio_push(&p->todo, r);
		p->waiting++;
		p->pending++;
	}
	if (p->waiting > p->idle)
		add_threads(p, p->waiting - p->idle);
	if (p->threads == 0)
		run_here(p);
	else
		pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
}

static struct aio_req *threads_wait(struct aio *a, bool block)
{
	struct pool *p = a->backend;
	struct aio_req *r;

	pthread_mutex_lock(&p->lock);
	while ((r = aio_pop(&p->done)) == NULL && block && p->pending > 0)
		pthread_cond_wait(&p->finished, &p->lock);
	pthread_mutex_unlock(&p->lock);
	return r;
}

static void threads_close(struct aio *a)
{
	struct pool *p = a->backend;

	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->threads; i++)
		pthread_join(p->ids[i], NULL);
	pthread_cond_destroy(&p->finished);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

const struct aio_ops aio_threads = {
	.name = "threads",
	.open = threads_open,
	.kick = threads_kick,
	.wait = threads_wait,
	.close = threads_close,
};
