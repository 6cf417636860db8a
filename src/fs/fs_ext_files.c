/*
 * The files of ext2, ext3 and ext4, by libext2fs, directory by directory from the root.
 *
 * What may be left out of a file: blocks of its data up to the end of its size, where they fill
 * whole clusters (with bigalloc the bitmap's unit is a cluster, and the rest of one may be anything
 * of the same file). Unwritten extents too: they read as zeros whatever the blocks hold, and a swap
 * file made by fallocate stays unwritten for ever, as the kernel swaps past the file system. Not
 * files that are encrypted (zeros there are not zeros to the reader), protected by verity (they
 * would read as errors), inside their inode, or of several names.
 * Two files never share a block here (the feature shared_blocks is refused); fs_ext_claims shows
 * that they don't.
 *
 * A swap area in a file is told by its signature, as fs_swap.c tells it on a device. Only files of
 * SWAP_MIN_BYTES are looked into: a read for each small file would cost more than leaving out a
 * small swap file saves.
 *
 * When there is a journal to replay, the files are those after the replay: a restored volume is
 * replayed before it is used. fs_ext_claims then looks at the volume before the replay as well.
 *
 * Inodes that the superblock names (journal, quotas, orphans) are the file system's, even where a
 * damaged directory has a name for one.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "fs/fs_ext_int.h"
#include "fs/fs_list.h"

#define SWAP_MIN_BYTES MIB
#define SWAP_PAGE_MIN 4096
#define SWAP_PAGE_MAX 65536
static const char swap_signature[10] = "SWAPSPACE2"; /* include/linux/swap.h; at the page's end */

/* The file system that counts, and the device that it is on. */
struct volume {
	ext2_filsys fs;
	struct dev *dev;
};

/* For a directory: its blocks and its map's. */
#define DIRECTORY_READS ((uint64_t)1 << 22)

/* ---- Directories ------------------------------------------------------------------------- */

static int add_name(ext2_ino_t dir, int entry, struct ext2_dir_entry *dirent, int offset,
	int block_bytes, char *buf, void *user)
{
	(void)dir, (void)entry, (void)offset, (void)block_bytes, (void)buf;
	fs_list_name(user, dirent->inode, dirent->name, (size_t)ext2fs_dirent_name_len(dirent));
	return 0;
}

static int read_directory(ext2_filsys fs, struct fs_list *l, const struct fs_list_entry *dir,
	struct err *e)
{
	errcode_t code;
	int rc = 0;

	ext2fs_io_begin(fs, DIRECTORY_READS);
	code = ext2fs_dir_iterate2(fs, (ext2_ino_t)dir->number, 0, NULL, add_name, l);
	if (code != 0) {
		rc = ext2fs_io_fail(fs, code, e, "read a directory");
		err_prefix(e, "%.256s", dir->path);
	}
	return rc;
}

/* ---- Files ------------------------------------------------------------------------------- */

struct file {
	ext2_filsys fs;
	struct fs_list *list;
	uint64_t end;  /* blocks that the size needs */
	uint64_t skip; /* blocks at the beginning that stay */
};

/* The blocks that may be left out, cut to whole clusters. */
static int gather(void *user, const struct ext_use *u, struct err *e)
{
	struct file *f = user;
	uint64_t ratio = (uint64_t)1 << f->fs->cluster_ratio_bits;
	uint64_t from = max_u64(u->logical, f->skip);
	uint64_t to = min_u64(u->logical + u->count, f->end);
	uint64_t block, end;

	(void)e;
	if (!u->data || from >= to)
		return 0;
	/* Clusters are counted from block 0 of the file system. */
	block = align_up(u->block + (from - u->logical), ratio);
	end = align_down(u->block + (to - u->logical), ratio);
	if (block < end)
		fs_list_range(f->list, block * f->fs->blocksize, (end - block) * f->fs->blocksize);
	return 0;
}

/* Bytes [off, off + len) of a file that lie in one block of it. */
static int read_bytes(struct dev *d, struct file *f, ext2_ino_t ino, struct ext2_inode *inode,
	uint64_t off, void *buf, size_t len, struct err *e)
{
	uint64_t bytes = f->fs->blocksize;
	blk64_t block = 0;
	int flags = 0;
	errcode_t code = ext2fs_bmap2(f->fs, ino, inode, NULL, 0, off / bytes, &flags, &block);

	if (code != 0)
		return ext2fs_io_fail(f->fs, code, e, "map a block");
	memset(buf, 0, len);
	/* What was never written reads as zeros. */
	if (block == 0 || flags & BMAP_RET_UNINIT)
		return 0;
	return dev_read(d, block * bytes + off % bytes, buf, len, e);
}

/* The page size of the swap area in the file, 0 when there is none. */
static int find_swap(struct dev *d, struct file *f, ext2_ino_t ino, struct ext2_inode *inode,
	uint32_t *page, struct err *e)
{
	char found[sizeof(swap_signature)];

	ext2fs_io_begin(f->fs, DIRECTORY_READS);
	for (uint32_t p = SWAP_PAGE_MIN; p <= SWAP_PAGE_MAX; p *= 2) {
		/* Blocks are powers of two, pages too: the signature lies in one block. */
		int rc = read_bytes(d, f, ino, inode, p - sizeof(found), found, sizeof(found), e);

		if (rc < 0)
			return rc;
		if (memcmp(found, swap_signature, sizeof(found)) == 0) {
			*page = p;
			return 0;
		}
	}
	return 0;
}

static const char *why_kept(const struct ext2_inode *inode)
{
	if (inode->i_flags & EXT4_INLINE_DATA_FL)
		return "its data is in its inode";
	if (inode->i_flags & EXT4_ENCRYPT_FL)
		return "its data is encrypted";
	if (inode->i_flags & EXT4_VERITY_FL)
		return "its data is protected by verity";
	if (inode->i_flags & (EXT2_COMPR_FL | EXT2_COMPRBLK_FL))
		return "its data is compressed";
	return "";
}

/* inodes.rst: 32 bits, signed, and two more above them in the low bits of the extra field. */
static int64_t time_of(uint32_t seconds, uint32_t extra)
{
	return (int64_t)(int32_t)seconds + ((int64_t)(extra & 3) << 32);
}

static void set_times(struct fs_file *f, const struct ext2_inode_large *i, uint32_t inode_bytes)
{
	/* The extra fields go from 0x80 on, through i_crtime_extra at 0x94. */
	bool more = inode_bytes > EXT2_GOOD_OLD_INODE_SIZE && i->i_extra_isize >= 0x98 - 0x80;

	f->modified_s = time_of(i->i_mtime, more ? i->i_mtime_extra : 0);
	f->accessed_s = time_of(i->i_atime, more ? i->i_atime_extra : 0);
	f->created_s = more ? time_of(i->i_crtime, i->i_crtime_extra) : 0;
}

static int read_file(struct volume *v, struct fs_list *l, const struct fs_list_entry *entry,
	struct ext2_inode_large *large, struct err *e)
{
	struct ext2_inode *inode = (struct ext2_inode *)large;
	ext2_ino_t ino = (ext2_ino_t)entry->number;
	struct file f = { .fs = v->fs, .list = l };
	struct fs_file out = { .size_bytes = EXT2_I_SIZE(inode) };
	const char *kept = why_kept(inode);
	int rc = 0;

	out.allocated_bytes = ext2fs_inode_i_blocks(v->fs, inode) *
		(inode->i_flags & EXT4_HUGE_FILE_FL ? v->fs->blocksize : 512);
	set_times(&out, large, EXT2_INODE_SIZE(v->fs->super));
	f.end = div_up(out.size_bytes, v->fs->blocksize);
	if (kept[0] == '\0' && out.size_bytes >= SWAP_MIN_BYTES)
		rc = find_swap(v->dev, &f, ino, inode, &out.swap_page_bytes, e);
	/* Only now: a rule for swap areas still finds it, so that it can be said why it stays. */
	if (kept[0] == '\0' && inode->i_links_count > 1)
		kept = FS_FILES_OTHER_NAMES;
	/* Always the largest page, as in fs_swap.c. */
	f.skip = out.swap_page_bytes > 0 ? div_up(SWAP_PAGE_MAX, v->fs->blocksize) : 0;
	if (rc == 0 && kept[0] == '\0')
		rc = fs_ext_each_use(v->fs, ino, inode, gather, &f, e);
	if (rc < 0)
		return err_prefix(e, "%.256s", entry->path);
	return fs_list_file(l, entry, &out, kept, e);
}

static bool is_system_inode(const struct ext2_super_block *s, uint64_t ino)
{
	return ino < EXT2_FIRST_INO(s) || ino == s->s_journal_inum || ino == s->s_usr_quota_inum ||
		ino == s->s_grp_quota_inum || ino == s->s_prj_quota_inum ||
		ino == s->s_orphan_file_inum || ino == s->s_snapshot_inum;
}

static int read_entry(struct volume *v, struct fs_list *l, struct fs_list_entry *entry,
	struct err *e)
{
	struct ext2_inode_large large;
	struct ext2_inode *inode = (struct ext2_inode *)&large;
	errcode_t code;

	if (is_system_inode(v->fs->super, entry->number))
		return 0;
	memset(&large, 0, sizeof(large)); /* old inodes are shorter */
	ext2fs_io_begin(v->fs, DIRECTORY_READS);
	code = ext2fs_read_inode_full(v->fs, (ext2_ino_t)entry->number, inode,
		(int)min_u64(sizeof(large), EXT2_INODE_SIZE(v->fs->super)));
	if (code != 0) {
		ext2fs_io_fail(v->fs, code, e, "read the inode");
		return err_prefix(e, "%.256s", entry->path);
	}
	if (LINUX_S_ISDIR(inode->i_mode))
		return fs_list_dir(l, entry, e);
	if (LINUX_S_ISREG(inode->i_mode))
		return read_file(v, l, entry, &large, e);
	return 0;
}

static int list_all(struct volume *v, struct fs_list *l, struct err *e)
{
	const struct fs_list_entry *dir;
	struct fs_list_entry *entry;
	int rc = 0;

	while (rc == 0 && (dir = fs_list_next_dir(l)) != NULL) {
		rc = read_directory(v->fs, l, dir, e);
		while (rc == 0 && (entry = fs_list_next_name(l, &rc, e)) != NULL)
			rc = read_entry(v, l, entry, e);
	}
	return rc;
}

int fs_ext_files(struct dev *d, bool tree, fs_file_fn fn, void *user, struct err *e)
{
	struct fs_list l = { 0 };
	struct ext_volume x;
	int rc = fs_ext_open(&x, d, e);
	struct volume v = { x.replayed ? x.replayed : x.disk, x.replayed ? x.overlay : d };

	if (rc == 0)
		rc = fs_list_open(&l, tree, fn, user, (uint64_t)v.fs->super->s_inodes_count + 1,
			EXT2_ROOT_INO, e);
	if (rc == 0)
		rc = list_all(&v, &l, e);
	fs_list_close(&l);
	fs_ext_close(&x);
	return rc;
}
