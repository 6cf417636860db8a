/*
 * All file systems whose files can be read. The order does not matter: a type is in one row only.
 */
#include <stddef.h>

#include "files/files_ops.h"

const struct files_ops *const files_table[] = {
	&files_ext,
	&files_ntfs,
	NULL,
};
