// SPDX-License-Identifier: GPL-2.0-or-later
#include "key.h"
#include "luks.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* As cryptsetup has it, for passphrases that are typed. */
#define MAX_TYPED	512
#define MAX_FILE	(8U << 20)

/**
 * struct secret - a passphrase
 * @bytes: to be wiped.
 * @len: how many.
 * @from: the file it is from; NULL: it was typed.
 */
struct secret {
	char *bytes;
	size_t len;
	const char *from;
};

static void wipe(struct secret *s)
{
	if (s->bytes)
		explicit_bzero(s->bytes, s->len);
	free(s->bytes);
	s->bytes = NULL;
}

static bool add_file(struct qcow2_key_files *files, const char *value)
{
	unsigned long layer;
	const char **file = &files->image;
	char *end;

	layer = strtoul(value, &end, 10);
	if (value[0] >= '0' && value[0] <= '9' && *end == '=') {
		if (layer >= QCOW2BLK_MAX_LAYERS)
			return false;
		file = &files->layer[layer];
		value = end + 1;
	}
	if (*file || !*value)
		return false;
	*file = value;
	return true;
}

int qcow2_key_files_add(struct qcow2_key_files *files, const char *command, const char *value)
{
	if (add_file(files, value))
		return 0;
	return qcow2_error_usage(command,
				 "--key-file '%s': FILE or LAYER=FILE, each layer once; LAYER 0 is the image, 1 its backing file",
				 value);
}

/* --- a file ------------------------------------------------------------------------------- */

static int cannot_read(const char *file, int error, struct qcow2_error *err)
{
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, file, "cannot read the passphrase: %s",
			       strerror(error));
}

/* All there is, in memory that is not moved about: what is left behind would not be wiped. */
static int read_all(int fd, struct secret *s, struct qcow2_error *err)
{
	ssize_t len;

	s->bytes = malloc(MAX_FILE);
	if (!s->bytes)
		qcow2_error_nomem();
	do {
		len = read(fd, s->bytes + s->len, MAX_FILE - s->len);
		if (len > 0)
			s->len += len;
	} while (len > 0 || (len < 0 && errno == EINTR));
	if (len < 0)
		return cannot_read(s->from, errno, err);
	if (s->len == MAX_FILE)
		return cannot_read(s->from, EFBIG, err);
	return 0;
}

static int read_file(const char *file, struct secret *s, struct qcow2_error *err)
{
	int fd = STDIN_FILENO, ret;

	s->from = file;
	if (strcmp(file, "-")) {
		fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (fd < 0)
			return cannot_read(file, errno, err);
	}
	ret = read_all(fd, s, err);
	if (fd != STDIN_FILENO)
		close(fd);
	return ret;
}

/* --- the terminal ------------------------------------------------------------------------- */

static volatile sig_atomic_t caught;

static void catch(int sig)
{
	caught = sig;
}

/* Read a line; a signal that ends programs ends it. Return: bytes or a negative errno. */
static ssize_t read_line(int tty, char *line, size_t room)
{
	size_t done = 0;
	ssize_t len;

	while (done < room) {
		len = read(tty, line + done, room - done);
		if (caught)
			return -EINTR;
		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			return len ? -errno : (ssize_t)done;
		done += len;
		if (line[done - 1] == '\n')
			return done - 1;
	}
	return -E2BIG;
}

/* Without echo, which is switched on again also where the user gives up. */
static ssize_t read_silently(int tty, char *line, size_t room)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	struct sigaction old[sizeof(signals) / sizeof(*signals)], action = { .sa_handler = catch };
	struct termios saved, silent;
	unsigned int i;
	ssize_t len;

	if (tcgetattr(tty, &saved))
		return -errno;
	caught = 0;
	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaction(signals[i], &action, &old[i]);
	silent = saved;
	silent.c_lflag &= ~(ECHO | ECHONL);
	tcsetattr(tty, TCSAFLUSH, &silent);
	len = read_line(tty, line, room);
	tcsetattr(tty, TCSAFLUSH, &saved);
	dprintf(tty, "\n");
	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaction(signals[i], &old[i], NULL);
	if (caught) {
		explicit_bzero(line, room);
		raise(caught);
	}
	return len;
}

static int ask(const struct qcow2_layer *layer, unsigned int index, struct secret *s,
	       struct qcow2_error *err)
{
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	FILE *out = tty < 0 ? NULL : fdopen(tty, "w");
	ssize_t len;

	if (!out)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "it is encrypted, and there is no terminal to type the passphrase on; give it: --key-file %u=FILE, or - for standard input",
				       index);
	s->bytes = malloc(MAX_TYPED + 1);
	if (!s->bytes)
		qcow2_error_nomem();
	fputs("Passphrase of ", out);
	qcow2_output_text(out, layer->name);
	fputs(": ", out);
	fflush(out);
	s->len = MAX_TYPED + 1;
	len = read_silently(tty, s->bytes, s->len);
	fclose(out);
	if (len < 0)
		return cannot_read(layer->name, -len, err);
	s->len = len;
	return 0;
}

/* --- keys --------------------------------------------------------------------------------- */

static uint32_t crypt_method(const struct qcow2_layer *layer)
{
	return layer->format == QCOW2BLK_FORMAT_QCOW2 ? layer->image.header.crypt_method : 0;
}

/* QEMU's legacy method: the passphrase is the key, cut or filled up with zeros. */
static void make_aes_key(const struct secret *s, struct qcow2_nl_key *key)
{
	strcpy(key->cipher, "cbc(aes)");
	key->iv = QCOW2BLK_IV_PLAIN64;
	key->len = 16;
	memset(key->bytes, 0, key->len);
	memcpy(key->bytes, s->bytes, s->len < key->len ? s->len : key->len);
}

static void explain_newline(const struct qcow2_layer *layer, const struct secret *s,
			    struct qcow2_error *err)
{
	if (s->from && s->len && s->bytes[s->len - 1] == '\n')
		qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				"wrong passphrase; the newline at the end of %s is a part of it: printf %%s makes a file without",
				s->from);
}

static int unlock_luks(const struct qcow2_layer *layer, const struct secret *s,
		       struct qcow2_nl_key *key, struct qcow2_error *err)
{
	struct qcow2_luks *luks;
	bool wrong;
	int ret = qcow2_luks_open(layer, &luks, err);

	if (ret)
		return ret;
	ret = qcow2_luks_unlock(luks, s->bytes, s->len, &wrong, key, err);
	if (wrong)
		explain_newline(layer, s, err);
	qcow2_luks_close(luks);
	return ret;
}

static int unlock(const struct qcow2_layer *layer, unsigned int index, const char *file,
		  struct qcow2_nl_key *key, struct qcow2_error *err)
{
	struct secret s = { };
	int ret = file ? read_file(file, &s, err) : ask(layer, index, &s, err);

	if (!ret && crypt_method(layer) == QCOW2_CRYPT_LUKS)
		ret = unlock_luks(layer, &s, key, err);
	else if (!ret)
		make_aes_key(&s, key);
	wipe(&s);
	return ret;
}

/* Which layer --key-file FILE is for: the image, or the one that is encrypted below it. */
static int find_layer(const struct qcow2_chain *chain, const struct qcow2_key_files *files,
		      unsigned int *index, struct qcow2_error *err)
{
	unsigned int i, nr = 0;

	*index = QCOW2BLK_MAX_LAYERS;
	for (i = chain->depth; i--;) {
		if (crypt_method(&chain->layer[i])) {
			*index = i;
			nr++;
		}
	}
	if (!files->image || !chain->depth || (nr && !*index) || nr == 1)
		return 0;
	if (nr)
		return qcow2_error_set(err, QCOW2_EXIT_USAGE, chain->layer[0].name,
				       "--key-file %s: the image is not encrypted, but several of its backing files are; name one: --key-file LAYER=FILE",
				       files->image);
	return qcow2_error_set(err, QCOW2_EXIT_USAGE, chain->layer[0].name,
			       "--key-file %s: neither the image nor a backing file is encrypted",
			       files->image);
}

static bool is_stdin(const char *file)
{
	return file && !strcmp(file, "-");
}

static int check_files(const struct qcow2_chain *chain, const struct qcow2_key_files *files,
		       unsigned int index, struct qcow2_error *err)
{
	unsigned int i, from_stdin = is_stdin(files->image);

	for (i = 0; i < QCOW2BLK_MAX_LAYERS; i++) {
		if (!files->layer[i])
			continue;
		from_stdin += is_stdin(files->layer[i]);
		if (i >= chain->depth)
			return qcow2_error_set(err, QCOW2_EXIT_USAGE, chain->layer[0].name,
					       "there is no layer %u, as --key-file says: the last one is %u",
					       i, chain->depth - 1);
		if (!crypt_method(&chain->layer[i]))
			return qcow2_error_set(err, QCOW2_EXIT_USAGE, chain->layer[i].name,
					       "layer %u has a --key-file, but is not encrypted",
					       i);
		if (i == index && files->image)
			return qcow2_error_set(err, QCOW2_EXIT_USAGE, chain->layer[i].name,
					       "layer %u has two of --key-file", i);
	}
	if (from_stdin > 1)
		return qcow2_error_set(err, QCOW2_EXIT_USAGE, chain->layer[0].name,
				       "--key-file: standard input is the passphrase of one layer only");
	return 0;
}

int qcow2_key_check(const struct qcow2_chain *chain, const struct qcow2_key_files *files,
		    struct qcow2_error *err)
{
	unsigned int index;

	return find_layer(chain, files, &index, err) ?: check_files(chain, files, index, err);
}

int qcow2_key_unlock(const struct qcow2_chain *chain, const struct qcow2_key_files *files,
		     struct qcow2_nl_key *keys, struct qcow2_error *err)
{
	unsigned int i, index;
	const char *file;
	int ret;

	ret = find_layer(chain, files, &index, err);
	for (i = 0; i < chain->depth && !ret; i++) {
		file = i == index && files->image ? files->image : files->layer[i];
		if (crypt_method(&chain->layer[i]))
			ret = unlock(&chain->layer[i], i, file, &keys[i], err);
	}
	return ret;
}
