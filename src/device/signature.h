/*
 * Where the signatures of file systems, arrays and volume managers lie: every superblock that
 * libblkid 2.38 knows lies in the first 4 MiB of a device or, as RAID and ZFS do, in the last
 * 1 MiB.
 */
#ifndef DEVICE_SIGNATURE_H
#define DEVICE_SIGNATURE_H

#include "base/mem.h"

#define SIGNATURE_HEAD_BYTES (4 * MIB)
#define SIGNATURE_TAIL_BYTES (1 * MIB)

#endif
