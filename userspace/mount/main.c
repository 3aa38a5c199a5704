// SPDX-License-Identifier: GPL-2.0-or-later
/* One program, two names: see mount.h. */
#include "mount.h"

#include <errno.h>
#include <string.h>

int main(int argc, char **argv)
{
	bool is_umount = !strncmp(program_invocation_short_name, "umount", strlen("umount"));

	return is_umount ? umount_main(argc, argv) : mount_main(argc, argv);
}
