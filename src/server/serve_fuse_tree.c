/*
 * The files inside a volume as a mounted directory. The kernel speaks of nodes by number, and so do
 * we: a node's number in the mount is that of the tree, but the top directory's, which is 1.
 * Nothing ever changes, so that the kernel may keep all that it has seen.
 *
 * The tree is as hostile as its volume; what the kernel can't stand (a second top directory, a
 * node 0) is an error here. Its files keep their owners and modes; but who mounted it reads all of
 * it, as he could read the volume. Only when others are let in they are held to the modes.
 */
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/serve_fuse_int.h"
#include "server/tree_dirs.h"

#define CACHE_S 86400.0
#define DIRS_MAX_BYTES ((size_t)64 << 20)

struct tree {
	struct files *files;
	struct tree_dirs *dirs;
};

static struct tree *tree_of(fuse_req_t req)
{
	const struct fuse_mount *m = fuse_req_userdata(req);

	return m->served;
}

static void count_request(fuse_req_t req)
{
	struct fuse_mount *m = fuse_req_userdata(req);

	atomic_fetch_add(&m->requests, 1);
}

/* The tree has failed: whatever the reason, it is a read error. */
static void failed(fuse_req_t req)
{
	struct fuse_mount *m = fuse_req_userdata(req);

	atomic_fetch_add(&m->failures, 1);
	fuse_reply_err(req, EIO);
}

static uint64_t to_id(const struct tree *t, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? files_info(t->files)->root : ino;
}

/* 0: a number that can't be used. */
static fuse_ino_t to_ino(const struct tree *t, uint64_t id)
{
	if (id == files_info(t->files)->root)
		return FUSE_ROOT_ID;
	return id == FUSE_ROOT_ID ? 0 : id;
}

static mode_t type_bits(enum files_type type)
{
	static const mode_t bits[FILES_TYPES] = {
		[FILES_REGULAR] = S_IFREG,
		[FILES_DIRECTORY] = S_IFDIR,
		[FILES_LINK] = S_IFLNK,
		[FILES_FIFO] = S_IFIFO,
		[FILES_SOCKET] = S_IFSOCK,
		[FILES_CHAR] = S_IFCHR,
		[FILES_BLOCK] = S_IFBLK,
	};

	return bits[type];
}

static struct timespec time_of(struct files_time t)
{
	return (struct timespec){ .tv_sec = t.s, .tv_nsec = t.ns };
}

static int get_stat(const struct tree *t, uint64_t id, struct stat *st)
{
	struct files_node n;
	struct err e;

	if (files_stat(t->files, id, &n, &e) < 0)
		return -1;
	memset(st, 0, sizeof(*st));
	st->st_ino = to_ino(t, id);
	st->st_mode = type_bits(n.type) | n.mode;
	st->st_nlink = n.links;
	st->st_uid = n.has_owner ? n.uid : geteuid();
	st->st_gid = n.has_owner ? n.gid : getegid();
	st->st_size = (off_t)n.size;
	st->st_blocks = (blkcnt_t)div_up(n.allocated_bytes, FUSE_STAT_BLOCK_BYTES);
	st->st_blksize = (blksize_t)files_info(t->files)->block_bytes;
	st->st_mtim = time_of(n.modified);
	st->st_ctim = time_of(n.changed);
	st->st_atim = time_of(n.accessed);
	return st->st_ino == 0 ? -1 : 0;
}

/* ---- What the kernel asks ---- */

static void op_init(void *user, struct fuse_conn_info *conn)
{
	(void)user;
	/* Directories never change: one answer to many readers at once. */
	conn->want |= conn->capable & FUSE_CAP_PARALLEL_DIROPS;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct tree *t = tree_of(req);
	struct fuse_entry_param x = { .attr_timeout = CACHE_S, .entry_timeout = CACHE_S };
	const struct tree_entry *found;
	struct tree_dir *d;
	struct err e;
	uint64_t id;

	count_request(req);
	if (tree_dir_ref(t->dirs, to_id(t, parent), &d, &e) < 0) {
		failed(req);
		return;
	}
	found = tree_dir_find(d, name);
	id = found != NULL ? found->id : 0;
	tree_dir_unref(t->dirs, d);
	/* An entry with number 0 says for how long there is no such name. */
	if (found != NULL && get_stat(t, id, &x.attr) < 0) {
		failed(req);
		return;
	}
	x.ino = x.attr.st_ino;
	fuse_reply_entry(req, &x);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct tree *t = tree_of(req);
	struct stat st;

	(void)fi;
	count_request(req);
	if (get_stat(t, to_id(t, ino), &st) < 0)
		failed(req);
	else
		fuse_reply_attr(req, &st, CACHE_S);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	const struct tree *t = tree_of(req);
	char target[FILES_LINK_MAX_BYTES + 1];
	size_t len;
	struct err e;

	count_request(req);
	if (files_link(t->files, to_id(t, ino), target, &len, &e) < 0)
		failed(req);
	else
		fuse_reply_readlink(req, target);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
		return;
	}
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

/* As much as there is, up to len: less means the end of the file. */
static int read_all(const struct tree *t, uint64_t id, uint64_t off, uint8_t *buf, size_t len,
	size_t *out)
{
	struct err e;

	*out = 0;
	while (*out < len) {
		size_t n;

		if (files_read(t->files, id, off + *out, buf + *out, len - *out, &n, &e) < 0)
			return -1;
		if (n == 0)
			break;
		*out += n;
	}
	return 0;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off,
	struct fuse_file_info *fi)
{
	struct fuse_mount *m = fuse_req_userdata(req);
	const struct tree *t = m->served;
	uint8_t *buf = malloc(len + 1);
	size_t got;

	(void)fi;
	count_request(req);
	if (buf == NULL) {
		fuse_reply_err(req, ENOMEM);
	} else if (off < 0 || read_all(t, to_id(t, ino), (uint64_t)off, buf, len, &got) < 0) {
		failed(req);
	} else {
		atomic_fetch_add(&m->bytes, got);
		fuse_reply_buf(req, (const char *)buf, got);
	}
	free(buf);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct tree *t = tree_of(req);
	struct tree_dir *d;
	struct err e;

	count_request(req);
	if (tree_dir_ref(t->dirs, to_id(t, ino), &d, &e) < 0) {
		failed(req);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)d;
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	/* The open was interrupted: there will be no release. */
	if (fuse_reply_open(req, fi) == -ENOENT)
		tree_dir_unref(t->dirs, d);
}

/*
 * Entry 0 is ".", entry 1 "..", then those of the directory; an entry's offset is the next one's.
 */
static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off,
	struct fuse_file_info *fi)
{
	const struct tree *t = tree_of(req);
	const struct tree_dir *d = (const struct tree_dir *)(uintptr_t)fi->fh;
	char *buf = malloc(len + 1);
	size_t used = 0;

	if (buf == NULL) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	for (uint64_t i = (uint64_t)off; off >= 0 && i < d->count + 2; i++) {
		struct stat st = { .st_ino = ino, .st_mode = S_IFDIR };
		const char *name = i == 0 ? "." : "..";
		size_t n;

		if (i >= 2) {
			const struct tree_entry *x = &d->entries[i - 2];

			name = tree_dir_name(d, x);
			st.st_ino = to_ino(t, x->id);
			st.st_mode = type_bits((enum files_type)x->type);
		}
		n = fuse_add_direntry(req, buf + used, len - used, name, &st, (off_t)i + 1);
		if (n > len - used)
			break;
		used += n;
	}
	fuse_reply_buf(req, buf, used);
	free(buf);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct tree *t = tree_of(req);

	(void)ino;
	tree_dir_unref(t->dirs, (struct tree_dir *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct files_info *i = files_info(tree_of(req)->files);
	struct statvfs s = { .f_bsize = i->block_bytes,
		.f_frsize = i->block_bytes,
		.f_blocks = i->size_bytes / i->block_bytes,
		.f_bfree = i->free_bytes / i->block_bytes,
		.f_files = i->nodes,
		.f_namemax = FILES_NAME_MAX_BYTES };

	(void)ino;
	fuse_reply_statfs(req, &s);
}

static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.read = op_read,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.statfs = op_statfs,
};

/* ---- Life ---- */

static void free_tree(void *served)
{
	struct tree *t = served;

	if (t != NULL)
		tree_dirs_free(t->dirs);
	free(t);
}

static void interrupt_tree(void *served)
{
	const struct tree *t = served;

	files_interrupt(t->files);
}

static int start(struct fuse_mount *m, struct files *files, struct err *e)
{
	struct tree *t = calloc(1, sizeof(*t));
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int rc;

	m->served = t;
	m->interrupt = interrupt_tree;
	if (t == NULL)
		return err_nomem(e);
	t->files = files;
	rc = tree_dirs_new(files, DIRS_MAX_BYTES, &t->dirs, e);
	if (rc == 0)
		rc = fuse_mount_args(m, m->shared, &args, e);
	if (rc == 0)
		m->session = fuse_session_new(&args, &operations, sizeof(operations), m);
	fuse_opt_free_args(&args);
	return rc == 0 ? fuse_mount_start(m, e) : rc;
}

int serve_fuse_tree(const char *dir, struct files *files, const struct fuse_mount_options *o,
	struct fuse_mount **out, struct err *e)
{
	struct fuse_mount *m;
	int rc = fuse_mount_new(dir, o, free_tree, &m, e);

	*out = NULL;
	if (rc == 0)
		rc = start(m, files, e);
	if (rc < 0) {
		fuse_mount_close(m);
		return rc;
	}
	*out = m;
	return 0;
}
