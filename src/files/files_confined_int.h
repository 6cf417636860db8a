/* For files_confined.c and its test, which puts liars in the place of the parser. */
#ifndef FILES_FILES_CONFINED_INT_H
#define FILES_FILES_CONFINED_INT_H

#include "files/files.h"

/* As the body of base/confine.h; user is the device. Serves requests until the socket ends. */
typedef void (*files_child_fn)(int fd, void *shared, void *user);

/* As files_open_confined, with this parser. */
int files_open_child(struct dev *d, const struct files_limits *limits, files_child_fn body,
	struct files **out, struct err *e);

#endif
