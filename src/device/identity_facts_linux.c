/* What sysfs and udev's database say about one block device. */
#include <ctype.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/mem.h"
#include "device/identity_int.h"

#define SYSFS_SECTOR_BYTES 512 /* size and start count these, whatever the device's sector */
#define SCSI_TYPE_ROM 5

/* Copy into a field that is still empty. */
static void fill(char *field, size_t len, const char *text)
{
	if (field[0] == '\0')
		sys_copy(field, len, text);
}

#define FILL(field, text) fill((field), sizeof(field), (text))

/* ---- Serial number and world wide name ---- */

/* A page of SCSI's vital product data as sysfs keeps it: the length after its header, or 0. */
static size_t vpd_page(const char *root, const char *disk, uint8_t page, uint8_t *out, size_t len)
{
	ssize_t n = sys_bytes(out, len, root, "/sys/class/block/%s/device/vpd_pg%02x", disk, page);

	/* SPC-4, 7.8.1: byte 1 is the page code, bytes 2 and 3 the length of what follows. */
	if (n < 4 || out[1] != page)
		return 0;
	return (size_t)min_u64(get_be16(out + 2), (uint64_t)n - 4);
}

static void vpd_serial(const char *root, const char *disk, struct identity *id)
{
	uint8_t page[256];
	char text[256];
	size_t len = vpd_page(root, disk, 0x80, page, sizeof(page));
	size_t begin = 0;

	/* SPC-4, 7.8.15: the product serial number, right-aligned and padded with spaces. */
	while (begin < len && (page[4 + begin] == ' ' || page[4 + begin] == '\0'))
		begin++;
	while (len > begin && (page[3 + len] == ' ' || page[3 + len] == '\0'))
		len--;
	snprintf(text, sizeof(text), "%.*s", (int)(len - begin), (const char *)page + 4 + begin);
	FILL(id->serial, text);
}

static void put_hex(char *out, size_t len, const char *prefix, const uint8_t *bytes, size_t n)
{
	size_t used = (size_t)snprintf(out, len, "%s", prefix);

	for (size_t i = 0; i < n && used + 2 < len; i++)
		used += (size_t)snprintf(out + used, len - used, "%02x", bytes[i]);
}

/* SPC-4, 7.8.6: the designators of the logical unit; NAA is worth more than EUI-64. */
static void vpd_wwn(const char *root, const char *disk, struct identity *id)
{
	uint8_t page[1024];
	size_t len = vpd_page(root, disk, 0x83, page, sizeof(page));
	const uint8_t *p = page + 4;
	const uint8_t *end = p + len;
	char eui[64] = "";
	char naa[64] = "";

	for (; end - p >= 4 && end - p - 4 >= p[3]; p += 4 + p[3]) {
		const unsigned type = p[1] & 0x0F;
		const bool of_unit = (p[1] >> 4 & 3) == 0;
		const bool binary = (p[0] & 0x0F) == 1;

		if (!of_unit || !binary)
			continue;
		if (type == 3 && naa[0] == '\0')
			put_hex(naa, sizeof(naa), "0x", p + 4, p[3]);
		else if (type == 2 && eui[0] == '\0')
			put_hex(eui, sizeof(eui), "eui.", p + 4, p[3]);
	}
	FILL(id->wwn, naa);
	FILL(id->wwn, eui);
}

static void wwid(const char *root, const char *disk, const char *where, struct identity *id)
{
	char text[256];

	if (!sys_text(text, sizeof(text), root, "/sys/class/block/%s/%s", disk, where) ||
		id->wwn[0] != '\0')
		return;
	/* The forms that udev writes. "t10." is a vendor's text, not a world wide name. */
	if (strncmp(text, "naa.", 4) == 0)
		snprintf(id->wwn, sizeof(id->wwn), "0x%.60s", text + 4);
	else if (strncmp(text, "t10.", 4) != 0)
		sys_copy(id->wwn, sizeof(id->wwn), text);
}

/* ---- sysfs ---- */

/* Fill an empty field from an attribute of the disk. */
static void fill_from(char *field, size_t len, const char *root, const char *disk, const char *attr)
{
	char text[256];

	if (sys_text(text, sizeof(text), root, "/sys/class/block/%s/%s", disk, attr))
		fill(field, len, text);
}

#define FILL_FROM(field, attr) fill_from((field), sizeof(field), root, disk, (attr))

/* The bus nearest to people: a disk in a USB case is a SCSI disk to the kernel. */
static void find_bus(const char *root, const char *disk, struct identity *id)
{
	static const char *const known[] = { "nvme", "scsi", "virtio", "mmc" };
	char path[PATH_MAX];
	char real[PATH_MAX];
	char top[PATH_MAX];
	const char *subsystem;

	if (!sys_path(path, sizeof(path), root, "/sys/class/block/%s/device", disk) ||
		realpath(path, real) == NULL || !sys_path(path, sizeof(path), root, "/sys") ||
		realpath(path, top) == NULL)
		return;
	if (strstr(real + strlen(top), "/usb") != NULL) {
		FILL(id->bus, "usb");
		return;
	}
	if (!sys_path(path, sizeof(path), root, "/sys/class/block/%s/device/subsystem", disk) ||
		realpath(path, real) == NULL)
		return;
	subsystem = strrchr(real, '/') + 1;
	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (strncmp(subsystem, known[i], strlen(known[i])) == 0)
			FILL(id->bus, known[i]);
}

/* What belongs to the whole disk, and is true of its partitions as well. */
static void disk_facts(const char *root, const char *disk, struct identity *id)
{
	FILL_FROM(id->model, "device/model");
	FILL_FROM(id->model, "device/name"); /* MMC */
	FILL_FROM(id->model, "dm/name");
	FILL_FROM(id->serial, "device/serial");
	FILL_FROM(id->serial, "serial"); /* virtio */
	vpd_serial(root, disk, id);
	FILL_FROM(id->serial, "dm/uuid");
	FILL_FROM(id->serial, "md/uuid");
	vpd_wwn(root, disk, id);
	wwid(root, disk, "wwid", id);
	wwid(root, disk, "device/wwid", id);
	find_bus(root, disk, id);
	id->removable = sys_number(root, "/sys/class/block/%s/removable", disk) != 0;
	id->rotational = sys_number(root, "/sys/class/block/%s/queue/rotational", disk) != 0;
	id->logical_bytes =
		(uint32_t)sys_number(root, "/sys/class/block/%s/queue/logical_block_size", disk);
	id->physical_bytes =
		(uint32_t)sys_number(root, "/sys/class/block/%s/queue/physical_block_size", disk);
}

static const char *kind_of(const char *root, const char *name)
{
	if (sys_exists(root, "/sys/class/block/%s/partition", name))
		return "partition";
	if (strncmp(name, "loop", 4) == 0)
		return "loop";
	if (sys_exists(root, "/sys/class/block/%s/dm", name))
		return "dm";
	if (sys_exists(root, "/sys/class/block/%s/md", name))
		return "md";
	if (sys_number(root, "/sys/class/block/%s/device/type", name) == SCSI_TYPE_ROM)
		return "rom";
	return "disk";
}

void identity_sys_facts(const char *root, const char *name, struct identity *id)
{
	char parent[SYS_NAME_LEN];
	uint64_t sectors = sys_number(root, "/sys/class/block/%s/size", name);

	snprintf(id->name, sizeof(id->name), "%s", name);
	FILL(id->kind, kind_of(root, name));
	id->size_bytes = sectors * SYSFS_SECTOR_BYTES;
	id->read_only = sys_number(root, "/sys/class/block/%s/ro", name) != 0;
	if (!sys_parent_of(root, name, parent)) {
		disk_facts(root, name, id);
		return;
	}
	snprintf(id->parent, sizeof(id->parent), "%s", parent);
	id->part_number = (uint32_t)sys_number(root, "/sys/class/block/%s/partition", name);
	sectors = sys_number(root, "/sys/class/block/%s/start", name);
	id->start_bytes = sectors * SYSFS_SECTOR_BYTES;
	disk_facts(root, parent, id);
}

/* ---- udev ---- */

/* udev writes awkward characters as \x20. */
static void decode_udev(char *text)
{
	char *to = text;

	for (const char *p = text; *p != '\0'; to++) {
		unsigned byte;

		if (p[0] == '\\' && p[1] == 'x' && isxdigit((unsigned char)p[2]) &&
			isxdigit((unsigned char)p[3]) && sscanf(p + 2, "%2x", &byte) == 1) {
			*to = (char)byte;
			p += 4;
		} else {
			*to = *p++;
		}
	}
	*to = '\0';
}

struct udev_key {
	const char *key;
	size_t offset;
	size_t len;
	bool content; /* read from the device by udev */
};

#define KEY(key, field, content)                                                                   \
	{                                                                                          \
		key, offsetof(struct identity, field), sizeof(((struct identity *)0)->field),      \
			content                                                                    \
	}

/* Of two keys for one field, the better comes first. */
static const struct udev_key udev_keys[] = {
	KEY("ID_MODEL_ENC", model, false),
	KEY("ID_SERIAL_SHORT", serial, false),
	KEY("ID_WWN_WITH_EXTENSION", wwn, false),
	KEY("ID_WWN", wwn, false),
	KEY("ID_PART_TABLE_TYPE", part_table, true),
	KEY("ID_PART_TABLE_UUID", disk_id, true),
	KEY("ID_PART_ENTRY_TYPE", part_type, true),
	KEY("ID_PART_ENTRY_UUID", part_guid, true),
	KEY("ID_PART_ENTRY_NAME", part_name, true),
	KEY("ID_FS_TYPE", fs_type, true),
	KEY("ID_FS_LABEL_ENC", fs_label, true),
	KEY("ID_FS_UUID_ENC", fs_uuid, true),
};

/* One line of the database: "E:KEY=VALUE". */
static void take_line(char *line, const struct udev_key *k, struct identity *id)
{
	size_t key_len = strlen(k->key);

	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "E:", 2) != 0 || strncmp(line + 2, k->key, key_len) != 0 ||
		line[2 + key_len] != '=')
		return;
	decode_udev(line + 3 + key_len);
	sys_trim(line + 3 + key_len);
	fill((char *)id + k->offset, k->len, line + 3 + key_len);
}

void identity_udev_facts(const char *root, const char *name, bool content, struct identity *id)
{
	char path[PATH_MAX];
	char line[1024];
	dev_t devno;
	FILE *file;

	if (!sys_devno_of(root, name, &devno) ||
		!sys_path(path, sizeof(path), root, "/run/udev/data/b%u:%u", major(devno),
			minor(devno)))
		return;
	file = fopen(path, "re");
	if (file == NULL)
		return;
	for (size_t i = 0; i < COUNT_OF(udev_keys); i++) {
		/* A partition has its table's facts in the database too; those are its disk's. */
		if ((udev_keys[i].content && !content) ||
			(id->part_number != 0 &&
				strcmp(udev_keys[i].key, "ID_PART_TABLE_TYPE") == 0))
			continue;
		rewind(file);
		while (fgets(line, sizeof(line), file) != NULL)
			take_line(line, &udev_keys[i], id);
	}
	fclose(file);
}
