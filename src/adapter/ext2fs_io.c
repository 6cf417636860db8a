/*
 * libext2fs calls io_manager->open with nothing but a name, and offers no place for a caller's
 * pointer. The device therefore travels inside the name, as the hexadecimal address; names are made
 * in ext2fs_io_open alone, and are never a user's string.
 */
#include "adapter/ext2fs_io.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "base/mem.h"

#define NAME_BYTES 32

struct channel_state {
	struct dev *dev;
	uint64_t reads_left;
	struct err error; /* of the last failed read; code 0 when there was none */
};

static const struct struct_io_manager manager; /* below */

static struct channel_state *state_of(io_channel channel)
{
	return channel->private_data;
}

static errcode_t io_open(const char *name, int flags, io_channel *out)
{
	io_channel channel = NULL;
	struct channel_state *state = NULL;
	char *end;
	uintptr_t address = (uintptr_t)strtoull(name, &end, 16);

	if (flags & IO_FLAG_RW)
		return EXT2_ET_RO_FILSYS;
	if (address == 0 || *end != '\0')
		return EXT2_ET_BAD_DEVICE_NAME;
	/* Both are freed by io_close. The library's own allocator is malloc. */
	channel = calloc(1, sizeof(*channel));
	state = calloc(1, sizeof(*state));
	if (channel)
		channel->name = strdup(name);
	if (!channel || !state || !channel->name) {
		free(channel);
		free(state);
		return EXT2_ET_NO_MEMORY;
	}
	state->dev = (struct dev *)address;
	state->reads_left = UINT64_MAX;
	channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
	/* The library casts no constant away: it only calls what the table holds. */
	channel->manager = (io_manager)&manager;
	channel->block_size = 1024;
	channel->refcount = 1;
	channel->private_data = state;
	*out = channel;
	return 0;
}

static errcode_t io_close(io_channel channel)
{
	if (--channel->refcount > 0)
		return 0;
	free(channel->private_data);
	free(channel->name);
	free(channel);
	return 0;
}

static errcode_t io_set_blksize(io_channel channel, int blksize)
{
	if (blksize <= 0)
		return EXT2_ET_INVALID_ARGUMENT;
	channel->block_size = blksize;
	return 0;
}

/* A negative count is bytes (the convention of all io_managers of the library). */
static errcode_t io_read_blk64(io_channel channel, unsigned long long block, int count, void *buf)
{
	struct channel_state *state = state_of(channel);
	uint64_t off, len;

	if (count == INT_MIN)
		return EXT2_ET_INVALID_ARGUMENT;
	len = count < 0 ? (uint64_t)-count : (uint64_t)count * (uint64_t)channel->block_size;
	if (!mul_u64(block, (uint64_t)channel->block_size, &off) ||
		!range_inside(off, len, dev_size(state->dev)))
		return EXT2_ET_SHORT_READ;
	if (state->reads_left == 0) {
		err_set(&state->error, ERR_FORMAT, 0, "more reads than a sound volume needs");
		return EXT2_ET_SHORT_READ;
	}
	state->reads_left--;
	if (dev_read(state->dev, off, buf, len, &state->error) < 0)
		return EXT2_ET_SHORT_READ;
	return 0;
}

static errcode_t io_read_blk(io_channel channel, unsigned long block, int count, void *buf)
{
	return io_read_blk64(channel, block, count, buf);
}

static errcode_t io_write_blk64(io_channel channel, unsigned long long block, int count,
	const void *buf)
{
	(void)channel;
	(void)block;
	(void)count;
	(void)buf;
	return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write_blk(io_channel channel, unsigned long block, int count, const void *buf)
{
	return io_write_blk64(channel, block, count, buf);
}

static errcode_t io_write_byte(io_channel channel, unsigned long off, int count, const void *buf)
{
	return io_write_blk64(channel, off, count, buf);
}

static errcode_t io_refuse_range(io_channel channel, unsigned long long block,
	unsigned long long count)
{
	(void)channel;
	(void)block;
	(void)count;
	return EXT2_ET_RO_FILSYS;
}

static errcode_t io_flush(io_channel channel)
{
	(void)channel;
	return 0;
}

static const struct struct_io_manager manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "imgtool device",
	.open = io_open,
	.close = io_close,
	.set_blksize = io_set_blksize,
	.read_blk = io_read_blk,
	.read_blk64 = io_read_blk64,
	.write_blk = io_write_blk,
	.write_blk64 = io_write_blk64,
	.write_byte = io_write_byte,
	.flush = io_flush,
	.discard = io_refuse_range,
	.zeroout = io_refuse_range,
};

/*
 * The library's text for a code. error_message() of libcom_err knows it only after a registration
 * in a list of the whole process; the table itself is exported.
 */
static const char *message_of(errcode_t code)
{
	long index = code - et_ext2_error_table.base;

	if (index >= 0 && index < et_ext2_error_table.n_msgs)
		return et_ext2_error_table.msgs[index];
	if (code > 0 && code < 4096) /* errno values pass through the library */
		return strerrordesc_np((int)code);
	return NULL;
}

static int fail(const struct err *device, errcode_t code, struct err *e, const char *what)
{
	const char *why = message_of(code);

	if (device && device->code != 0)
		return err_set(e, (enum err_code)device->code, 0, "%s: %s", what, device->msg);
	if (!why)
		return err_set(e, ERR_FORMAT, 0, "%s: error %ld of libext2fs", what, (long)code);
	return err_set(e, ERR_FORMAT, 0, "%s: %s", what, why);
}

int ext2fs_io_open(struct dev *d, ext2_filsys *out, struct err *e)
{
	char name[NAME_BYTES];
	ext2_filsys fs = NULL;
	struct err device = { 0 };
	errcode_t code;
	int rc;

	snprintf(name, sizeof(name), "%" PRIxPTR, (uintptr_t)d);
	/* NOFREE: the file system is handed back also on failure, with the channel, which knows the
	 * device's error. */
	code = ext2fs_open2(name, NULL, EXT2_FLAG_64BITS | EXT2_FLAG_NOFREE_ON_ERROR, 0, 0,
		(io_manager)&manager, &fs);
	if (code == 0) {
		*out = fs;
		return 0;
	}
	if (fs && fs->io)
		device = state_of(fs->io)->error;
	rc = fail(&device, code, e, "open the file system");
	ext2fs_io_close(fs);
	return rc;
}

void ext2fs_io_close(ext2_filsys fs)
{
	/* Not ext2fs_close: that one would try to flush. */
	if (fs)
		ext2fs_free(fs);
}

void ext2fs_io_begin(ext2_filsys fs, uint64_t reads)
{
	struct channel_state *state = state_of(fs->io);

	state->reads_left = reads;
	memset(&state->error, 0, sizeof(state->error));
}

int ext2fs_io_fail(ext2_filsys fs, errcode_t code, struct err *e, const char *what)
{
	return fail(&state_of(fs->io)->error, code, e, what);
}
