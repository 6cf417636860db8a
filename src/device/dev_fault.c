/*
 * A device that misbehaves as told. Zeroing and discarding count as writes: they change bytes.
 *
 * Every rule has a counter of its own of the operations it looks at, so that "the second write that
 * touches this range" means just that. All counters are atomic: any thread may call.
 */
#include "device/dev_fault.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "device/dev_int.h"

struct rule {
	struct fault_rule r;
	_Atomic uint64_t seen;
};

struct dev_fault {
	struct dev dev;
	struct dev *under;
	struct rule *rules;
	size_t rule_count;
	uint32_t align_bytes;
	_Atomic uint64_t counts[FAULT_OPS];
	_Atomic int dead_errno; /* not 0 after a torn write */
};

/* One operation on its way down: what is to be done, and with what. */
struct op {
	enum fault_op kind;
	uint64_t off;
	uint64_t len;
	void *buf; /* NULL when no bytes are handed over */
	bool metadata;
	int (*run)(struct dev *under, const struct op *op, uint64_t len, struct err *e);
};

static struct dev_fault *fault_of(const struct dev *d)
{
	return (struct dev_fault *)(uintptr_t)d;
}

static void sleep_ms(unsigned ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static bool touches(const struct fault_rule *r, const struct op *op)
{
	if (r->len == 0 || op->kind == FAULT_FLUSH)
		return true;
	/* Two ranges meet unless one ends before the other begins; written without overflow. */
	return op->off < r->off ? op->len > r->off - op->off : op->off - r->off < r->len;
}

/* Does the rule bite this time? Counts the operation when the rule looks at it. */
static bool bites(struct rule *rule, const struct op *op)
{
	const struct fault_rule *r = &rule->r;
	uint64_t n;

	if (r->op != op->kind || !touches(r, op))
		return false;
	n = atomic_fetch_add(&rule->seen, 1) + 1;
	return r->nth == 0 || n == r->nth || (r->sticky && n > r->nth);
}

static int fail(const struct dev *d, const struct op *op, int sys, struct err *e)
{
	if (op->kind == FAULT_FLUSH)
		return err_set(e, ERR_TARGET, sys, "flush %s", d->name);
	return dev_io_failed(d, op->kind == FAULT_WRITE, op->off, sys, e);
}

/* All rules see the operation; the first that does more than delay decides. */
static const struct fault_rule *decide(struct dev_fault *f, const struct op *op)
{
	const struct fault_rule *found = NULL;

	for (size_t i = 0; i < f->rule_count; i++) {
		struct rule *rule = &f->rules[i];

		if (!bites(rule, op))
			continue;
		if (rule->r.action == FAULT_DELAY)
			sleep_ms(rule->r.delay_ms);
		else if (rule->r.action != FAULT_NONE && found == NULL)
			found = &rule->r;
	}
	return found;
}

/* An odd address is refused like an odd offset, as O_DIRECT does. */
static bool is_aligned(const struct dev_fault *f, const struct op *op)
{
	const uint64_t align = f->align_bytes;

	return align <= 1 ||
		(((op->off | op->len) & (align - 1)) == 0 &&
			((uintptr_t)op->buf & (min_u64(align, 4096) - 1)) == 0);
}

static int shorten(struct dev_fault *f, const struct op *op, struct err *e)
{
	int rc = op->run(f->under, op, op->len / 2, e);

	if (rc < 0)
		return rc;
	return err_set(e, op->kind == FAULT_READ ? ERR_SOURCE : ERR_TARGET, 0,
		"%s %s at %" PRIu64 ": short transfer", op->kind == FAULT_READ ? "read" : "write",
		f->dev.name, op->off);
}

static int run(struct dev *d, const struct op *op, struct err *e)
{
	struct dev_fault *f = fault_of(d);
	const struct fault_rule *r;
	int sys;
	int rc;

	atomic_fetch_add(&f->counts[op->kind], 1);
	r = decide(f, op);
	sys = atomic_load(&f->dead_errno);
	if (sys != 0)
		return fail(d, op, sys, e);
	if (!is_aligned(f, op))
		return fail(d, op, EINVAL, e);
	if (r == NULL)
		return op->run(f->under, op, op->len, e);
	sys = r->sys == 0 ? EIO : r->sys;
	if (r->action == FAULT_FAIL)
		return fail(d, op, sys, e);
	if (r->action == FAULT_SHORTEN)
		return shorten(f, op, e);
	rc = op->run(f->under, op, op->len / 2, e);
	atomic_store(&f->dead_errno, sys);
	return rc;
}

static int run_read(struct dev *under, const struct op *op, uint64_t len, struct err *e)
{
	return dev_read(under, op->off, op->buf, (size_t)len, e);
}

static int run_write(struct dev *under, const struct op *op, uint64_t len, struct err *e)
{
	return dev_write(under, op->off, op->buf, (size_t)len, e);
}

static int run_zero(struct dev *under, const struct op *op, uint64_t len, struct err *e)
{
	return dev_zero(under, op->off, len, e);
}

static int run_discard(struct dev *under, const struct op *op, uint64_t len, struct err *e)
{
	return dev_discard(under, op->off, len, e);
}

static int run_flush(struct dev *under, const struct op *op, uint64_t len, struct err *e)
{
	(void)len;
	return dev_flush(under, op->metadata, e);
}

static int fault_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	struct op op = { FAULT_READ, off, len, buf, false, run_read };

	return run(d, &op, e);
}

static int fault_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	struct op op = { FAULT_WRITE, off, len, (void *)(uintptr_t)buf, false, run_write };

	return run(d, &op, e);
}

static int fault_zero(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	struct op op = { FAULT_WRITE, off, len, NULL, false, run_zero };

	return run(d, &op, e);
}

static int fault_discard(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	struct op op = { FAULT_WRITE, off, len, NULL, false, run_discard };

	return run(d, &op, e);
}

static int fault_flush(struct dev *d, bool metadata, struct err *e)
{
	struct op op = { FAULT_FLUSH, 0, 0, NULL, metadata, run_flush };

	return run(d, &op, e);
}

static int fault_set_size(struct dev *d, uint64_t size, struct err *e)
{
	int dead = atomic_load(&fault_of(d)->dead_errno);

	if (dead != 0)
		return err_set(e, ERR_TARGET, dead, "set the size of %s", d->name);
	return dev_set_size(fault_of(d)->under, size, e);
}

static void fault_close(struct dev *d)
{
	free(fault_of(d)->rules);
	dev_fini(d);
	free(d);
}

static const struct dev_ops dev_fault_ops = {
	.kind = "fault",
	.any_align = true,
	.read = fault_read,
	.write = fault_write,
	.flush = fault_flush,
	.discard = fault_discard,
	.zero = fault_zero,
	.set_size = fault_set_size,
	.close = fault_close,
};

/* A rule that could never do what it says is a mistake in a test. */
static int check_rule(const struct fault_rule *r, struct err *e)
{
	if (r->action == FAULT_TEAR && r->op != FAULT_WRITE)
		return err_set(e, ERR_USAGE, 0, "a fault rule tears what is not a write");
	if (r->action == FAULT_SHORTEN && r->op == FAULT_FLUSH)
		return err_set(e, ERR_USAGE, 0, "a fault rule shortens a flush");
	return 0;
}

static int take_rules(struct dev_fault *f, const struct fault_plan *plan, struct err *e)
{
	f->rules = calloc(plan->rule_count + 1, sizeof(*f->rules));
	if (f->rules == NULL)
		return err_nomem(e);
	for (size_t i = 0; i < plan->rule_count; i++) {
		if (check_rule(&plan->rules[i], e) < 0)
			return -ERR_USAGE;
		f->rules[i].r = plan->rules[i];
	}
	f->rule_count = plan->rule_count;
	return 0;
}

int dev_open_fault(struct dev *under, const struct fault_plan *plan, struct dev **out,
	struct err *e)
{
	struct dev_fault *f = calloc(1, sizeof(*f));
	int rc;

	*out = NULL;
	if (f == NULL || dev_init(&f->dev, &dev_fault_ops, under->name, e) < 0) {
		free(f);
		return err_nomem(e);
	}
	rc = take_rules(f, plan, e);
	if (rc < 0) {
		fault_close(&f->dev);
		return rc;
	}
	f->under = under;
	f->align_bytes = plan->align_bytes;
	f->dev.info = under->info;
	f->dev.info.block_device = false;
	f->dev.info.size_bytes = plan->size_bytes > 0 ? plan->size_bytes : dev_size(under);
	if (plan->align_bytes > 1)
		f->dev.info.align_bytes = plan->align_bytes;
	if (plan->logical_bytes > 0)
		f->dev.info.logical_bytes = plan->logical_bytes;
	*out = &f->dev;
	return 0;
}

uint64_t dev_fault_count(const struct dev *fault, enum fault_op op)
{
	return atomic_load(&fault_of(fault)->counts[op]);
}
