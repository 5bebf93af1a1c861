/* The kernel of a processor with AMX, as ptrace(2) shows it: an XSAVE area of 11008 bytes, which is set whole or not at all.
 *
 * Loaded after xstate.c (LD_PRELOAD="xstate amx"): that one's system calls come here. Alone it stands for a machine
 * without it. The real area of this machine is what the larger one begins with, so what is set arrives in registers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { AREA = 11008 };

static long real(long number, long a, long b, long c, long d, long e, long f)
{
	static long (*next)(long, ...);

	if (!next)
		next = dlsym(RTLD_NEXT, "syscall");
	return next(number, a, b, c, d, e, f);
}

static long traced(long request, long child, long kind, struct iovec *area)
{
	size_t length = area->iov_len;
	long done;

	if (request == PTRACE_SETREGSET && length < AREA) {
		errno = EFAULT;
		return -1;
	}
	done = real(SYS_ptrace, request, child, kind, (long)area, 0, 0);
	if (done == 0 && request == PTRACE_GETREGSET) {
		size_t got = area->iov_len, larger = length < AREA ? length : AREA;

		if (got < larger)
			memset((char *)area->iov_base + got, 0, larger - got);
		area->iov_len = larger;
	}
	return done;
}

long syscall(long number, ...)
{
	va_list more;
	long word[6];

	va_start(more, number);
	for (int n = 0; n < 6; n++)
		word[n] = va_arg(more, long);
	va_end(more);
	if (number == SYS_ptrace && word[2] == NT_X86_XSTATE && (word[0] == PTRACE_GETREGSET || word[0] == PTRACE_SETREGSET))
		return traced(word[0], word[1], word[2], (struct iovec *)word[3]);
	return real(number, word[0], word[1], word[2], word[3], word[4], word[5]);
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list more;
	long word[3], peeked = 0, done;
	int peeks = request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER;

	va_start(more, request);
	for (int n = 0; n < 3; n++)
		word[n] = va_arg(more, long);
	va_end(more);
	done = syscall(SYS_ptrace, (long)request, word[0], word[1], peeks ? (long)&peeked : word[2], 0L, 0L);
	if (done < 0 || !peeks)
		return done;
	errno = 0;
	return peeked;
}
