/*
 * Files of ext2, ext3 and ext4, through libext2fs. Layouts of inodes and directories: Linux kernel,
 * Documentation/filesystems/ext4/inodes.rst and directory.rst.
 *
 * The library finds the blocks of a file; the bytes are read here, a run of blocks at a time.
 * Holes, and blocks that were allocated and never written, are zeros. Encrypted files and
 * directories are refused: what is on the disk is not what they hold.
 */
#include <inttypes.h>
#include <stdio.h>

#include "adapter/ext2fs_io.h"
#include "base/mem.h"
#include "files/files_ops.h"
#include "fs/fs_volume.h"

/* Deep trees of blocks need a few reads for each block; a loop of a crafted one ends here. */
#define FILE_READS 32768
#define DIRECTORY_READS ((uint64_t)1 << 20)

#define LOWEST_USER_INODE 11 /* EXT2_GOOD_OLD_FIRST_INO: those before are the file system's own */
#define TIME_EXTRA_EPOCH 3   /* the low bits of i_xtime_extra: 2^32 seconds each */

struct ext_tree {
	struct files base;
	struct fs_ext_volume *volume;
	ext2_filsys fs;
	struct dev *dev;
};

struct inode {
	ext2_ino_t number;
	struct ext2_inode_large i;
};

static struct ext2_inode *small(struct inode *x)
{
	return (struct ext2_inode *)&x->i;
}

static int lib_fail(struct ext_tree *t, errcode_t code, uint64_t id, const char *what,
	struct err *e)
{
	struct err why = { 0 };

	ext2fs_io_fail(t->fs, code, &why, what);
	return err_set(e, (enum err_code)why.code, 0, "inode %" PRIu64 ": %s", id, why.msg);
}

static int refuse(uint64_t id, const char *what, struct err *e)
{
	return err_set(e, ERR_FORMAT, 0, "inode %" PRIu64 ": %s", id, what);
}

/* ---- Inodes ------------------------------------------------------------------------------ */

static enum files_type type_of(unsigned mode)
{
	switch (mode & LINUX_S_IFMT) {
	case LINUX_S_IFREG:
		return FILES_REGULAR;
	case LINUX_S_IFDIR:
		return FILES_DIRECTORY;
	case LINUX_S_IFLNK:
		return FILES_LINK;
	case LINUX_S_IFIFO:
		return FILES_FIFO;
	case LINUX_S_IFSOCK:
		return FILES_SOCKET;
	case LINUX_S_IFCHR:
		return FILES_CHAR;
	case LINUX_S_IFBLK:
		return FILES_BLOCK;
	default:
		return FILES_UNKNOWN;
	}
}

static int read_inode(struct ext_tree *t, uint64_t id, uint64_t reads, struct inode *out,
	struct err *e)
{
	errcode_t code;

	if (id != EXT2_ROOT_INO && (id < EXT2_FIRST_INODE(t->fs->super) || id < LOWEST_USER_INODE))
		return refuse(id, "no file has this number", e);
	if (id > t->fs->super->s_inodes_count)
		return refuse(id, "past the last one", e);
	ext2fs_io_begin(t->fs, reads);
	memset(out, 0, sizeof(*out));
	out->number = (ext2_ino_t)id;
	code = ext2fs_read_inode_full(t->fs, out->number, small(out), sizeof(out->i));
	if (code != 0)
		return lib_fail(t, code, id, "read it", e);
	if (out->i.i_links_count == 0 || type_of(out->i.i_mode) == FILES_UNKNOWN)
		return refuse(id, "not in use", e);
	return 0;
}

/* The seconds are signed; the extra bits, where the inode has them, add to them. */
static struct files_time time_of(const struct inode *x, uint32_t seconds, uint32_t extra,
	size_t extra_end)
{
	struct files_time out = { .s = (int32_t)seconds };

	if (extra_end > EXT2_GOOD_OLD_INODE_SIZE + (size_t)x->i.i_extra_isize)
		return out;
	out.s += (int64_t)(extra & TIME_EXTRA_EPOCH) << 32;
	/* 30 bits; more than a second is no number of nanoseconds. */
	out.ns = extra >> 2 < 1000000000 ? extra >> 2 : 0;
	return out;
}

#define TIME_OF(x, name)                                                                           \
	time_of(x, (x)->i.i_##name, (x)->i.i_##name##_extra,                                       \
		offsetof(struct ext2_inode_large, i_##name##_extra) + sizeof(uint32_t))

static int ext_stat(struct files *f, uint64_t id, struct files_node *out, struct err *e)
{
	struct ext_tree *t = (struct ext_tree *)f;
	struct inode x;
	int rc = read_inode(t, id, FILE_READS, &x, e);

	if (rc < 0)
		return rc;
	out->id = id;
	out->type = type_of(x.i.i_mode);
	out->size = EXT2_I_SIZE(&x.i);
	if (out->type != FILES_REGULAR && out->type != FILES_DIRECTORY && out->type != FILES_LINK)
		out->size = 0;
	if (out->size > INT64_MAX)
		return refuse(id, "its size is more than 2^63", e);
	out->allocated_bytes = ext2fs_get_stat_i_blocks(t->fs, small(&x)) * 512;
	out->links = x.i.i_links_count;
	out->mode = x.i.i_mode & 07777;
	out->has_owner = true;
	out->uid = inode_uid(x.i);
	out->gid = inode_gid(x.i);
	out->modified = TIME_OF(&x, mtime);
	out->changed = TIME_OF(&x, ctime);
	out->accessed = TIME_OF(&x, atime);
	return 0;
}

/* ---- Directories ------------------------------------------------------------------------- */

struct listing {
	uint64_t id;
	bool typed;
	files_list_fn fn;
	void *user;
	int rc;
	struct err *e;
};

static enum files_type entry_type(const struct listing *l, const struct ext2_dir_entry *d)
{
	static const uint8_t types[EXT2_FT_MAX] = {
		[EXT2_FT_REG_FILE] = FILES_REGULAR,
		[EXT2_FT_DIR] = FILES_DIRECTORY,
		[EXT2_FT_CHRDEV] = FILES_CHAR,
		[EXT2_FT_BLKDEV] = FILES_BLOCK,
		[EXT2_FT_FIFO] = FILES_FIFO,
		[EXT2_FT_SOCK] = FILES_SOCKET,
		[EXT2_FT_SYMLINK] = FILES_LINK,
	};
	unsigned type = (unsigned)ext2fs_dirent_file_type(d);

	return l->typed && type < EXT2_FT_MAX ? (enum files_type)types[type] : FILES_UNKNOWN;
}

static int list_entry(ext2_ino_t dir, int entry, struct ext2_dir_entry *d, int offset,
	int blocksize, char *buf, void *user)
{
	struct listing *l = user;
	size_t len = (size_t)ext2fs_dirent_name_len(d);
	char name[EXT2_NAME_LEN + 1];

	(void)dir, (void)entry, (void)offset, (void)blocksize, (void)buf;
	memcpy(name, d->name, len);
	name[len] = '\0';
	if (d->inode == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (files_name_ok(name, len))
		l->rc = l->fn(l->user, name, len, d->inode, entry_type(l, d), l->e);
	else
		l->rc = refuse(l->id, "an entry of this directory has no proper name", l->e);
	return l->rc < 0 ? DIRENT_ABORT : 0;
}

static int ext_list(struct files *f, uint64_t id, files_list_fn fn, void *user, struct err *e)
{
	struct ext_tree *t = (struct ext_tree *)f;
	struct listing l = { .id = id, .fn = fn, .user = user, .e = e };
	struct inode x;
	errcode_t code;
	int rc = read_inode(t, id, DIRECTORY_READS, &x, e);

	if (rc < 0)
		return rc;
	if (type_of(x.i.i_mode) != FILES_DIRECTORY)
		return refuse(id, "not a directory", e);
	if (x.i.i_flags & EXT4_ENCRYPT_FL)
		return refuse(id, "the directory is encrypted", e);
	l.typed = ext2fs_has_feature_filetype(t->fs->super) != 0;
	code = ext2fs_dir_iterate2(t->fs, x.number, 0, NULL, list_entry, &l);
	if (l.rc < 0)
		return l.rc;
	return code == 0 ? 0 : lib_fail(t, code, id, "read the directory", e);
}

/* ---- Content ----------------------------------------------------------------------------- */

/* Where a block of the file is; 0: nowhere, it reads as zeros. */
static int find_block(struct ext_tree *t, struct inode *x, uint64_t block, uint64_t *out,
	struct err *e)
{
	blk64_t found = 0;
	int flags = 0;
	errcode_t code = ext2fs_bmap2(t->fs, x->number, small(x), NULL, 0, block, &flags, &found);

	if (code != 0)
		return lib_fail(t, code, x->number, "find its blocks", e);
	if (found >= ext2fs_blocks_count(t->fs->super))
		return refuse(x->number, "its blocks are past the end", e);
	*out = flags & BMAP_RET_UNINIT ? 0 : found;
	return 0;
}

/* [off, off + len), which is inside the file. */
static int read_blocks(struct ext_tree *t, struct inode *x, uint64_t off, uint8_t *buf, size_t len,
	struct err *e)
{
	uint64_t bytes = t->fs->blocksize, block = off / bytes, skip = off % bytes, first, next;
	int rc = find_block(t, x, block, &first, e);

	while (rc == 0 && len > 0) {
		uint64_t count = 1;
		size_t n;

		/* As long as the blocks lie one behind the other, or nowhere. */
		next = first;
		while (count * bytes - skip < len) {
			rc = find_block(t, x, block + count, &next, e);
			if (rc < 0 || next != (first == 0 ? 0 : first + count))
				break;
			count++;
		}
		if (rc < 0)
			break;
		n = (size_t)min_u64(count * bytes - skip, len);
		if (first == 0)
			memset(buf, 0, n);
		else
			rc = dev_read(t->dev, first * bytes + skip, buf, n, e);
		buf += n;
		len -= n;
		block += count;
		first = next;
		skip = 0;
	}
	return rc;
}

static int read_inline(struct ext_tree *t, struct inode *x, uint64_t off, uint8_t *buf, size_t len,
	struct err *e)
{
	size_t size = 0;
	uint8_t *data = NULL;
	errcode_t code = ext2fs_inline_data_size(t->fs, x->number, &size);

	if (code == 0) {
		data = calloc(1, size + 1);
		if (data == NULL)
			return err_nomem(e);
		code = ext2fs_inline_data_get(t->fs, x->number, NULL, data, &size);
	}
	/* What the inode has no room for was never written. */
	memset(buf, 0, len);
	if (code == 0 && off < size)
		memcpy(buf, data + off, (size_t)min_u64(len, size - off));
	free(data);
	return code == 0 ? 0 : lib_fail(t, code, x->number, "read its inline data", e);
}

static int read_content(struct ext_tree *t, struct inode *x, uint64_t off, void *buf, size_t len,
	struct err *e)
{
	if (x->i.i_flags & EXT4_ENCRYPT_FL)
		return refuse(x->number, "it is encrypted", e);
	if (x->i.i_flags & EXT4_INLINE_DATA_FL)
		return read_inline(t, x, off, buf, len, e);
	return read_blocks(t, x, off, buf, len, e);
}

static int ext_read(struct files *f, uint64_t id, uint64_t off, void *buf, size_t len, size_t *got,
	struct err *e)
{
	struct ext_tree *t = (struct ext_tree *)f;
	struct inode x;
	uint64_t size;
	int rc = read_inode(t, id, FILE_READS, &x, e);

	if (rc < 0)
		return rc;
	if (type_of(x.i.i_mode) != FILES_REGULAR)
		return refuse(id, "not a regular file", e);
	size = EXT2_I_SIZE(&x.i);
	if (size > INT64_MAX)
		return refuse(id, "its size is more than 2^63", e);
	if (off >= size)
		return 0;
	len = (size_t)min_u64(len, size - off);
	rc = read_content(t, &x, off, buf, len, e);
	if (rc == 0)
		*got = len;
	return rc;
}

static int ext_link(struct files *f, uint64_t id, char *out, size_t *len, struct err *e)
{
	struct ext_tree *t = (struct ext_tree *)f;
	struct inode x;
	uint64_t size;
	int rc = read_inode(t, id, FILE_READS, &x, e);

	if (rc < 0)
		return rc;
	size = EXT2_I_SIZE(&x.i);
	if (type_of(x.i.i_mode) != FILES_LINK)
		return refuse(id, "not a link", e);
	if (x.i.i_flags & EXT4_ENCRYPT_FL)
		return refuse(id, "it is encrypted", e);
	if (ext2fs_is_fast_symlink(small(&x))) {
		if (size > sizeof(x.i.i_block))
			return refuse(id, "a short link is longer than its place", e);
		memcpy(out, x.i.i_block, size);
	} else {
		if (size > FILES_LINK_MAX_BYTES)
			return refuse(id, "the link is too long", e);
		rc = read_content(t, &x, 0, out, size, e);
	}
	if (rc < 0)
		return rc;
	out[size] = '\0';
	*len = strlen(out);
	if (*len == 0 || *len != size)
		return refuse(id, "the link's target is empty or has a zero byte in it", e);
	return 0;
}

/* ---- Life -------------------------------------------------------------------------------- */

static void ext_close(struct files *f)
{
	struct ext_tree *t = (struct ext_tree *)f;

	fs_ext_volume_close(t->volume);
	free(t);
}

static int ext_open(struct dev *d, struct files **out, struct err *e)
{
	struct ext_tree *t = calloc(1, sizeof(*t));
	struct files_info *info;
	int rc;

	if (t == NULL)
		return err_nomem(e);
	info = &t->base.info;
	t->base.ops = &files_ext;
	rc = fs_ext_volume_open(d, &t->volume, info->note, e);
	if (rc < 0) {
		free(t);
		return rc;
	}
	t->fs = fs_ext_volume_fs(t->volume);
	t->dev = fs_ext_volume_dev(t->volume);
	info->root = EXT2_ROOT_INO;
	info->block_bytes = t->fs->blocksize;
	/* The superblock was checked against the device: no product overflows. */
	info->size_bytes = ext2fs_blocks_count(t->fs->super) * t->fs->blocksize;
	info->free_bytes = min_u64(ext2fs_free_blocks_count(t->fs->super) * t->fs->blocksize,
		info->size_bytes);
	info->nodes = t->fs->super->s_inodes_count;
	*out = &t->base;
	return 0;
}

static const char *const types[] = { "ext2", "ext3", "ext4", "ext4dev", NULL };

const struct files_ops files_ext = {
	.name = "ext",
	.types = types,
	.open = ext_open,
	.stat = ext_stat,
	.list = ext_list,
	.read = ext_read,
	.link = ext_link,
	.close = ext_close,
};
