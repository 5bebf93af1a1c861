/* ptrace(2) for a User-Mode Linux that keeps less of the processor's registers than the processor has.
 *
 * The kernel sets a whole XSAVE area or none: `xstateregs_set` answers EFAULT for one that is shorter than the
 * processor's (Linux, arch/x86/kernel/fpu/regset.c). UML 6.1 keeps 2696 bytes, which was all until AVX-512 and protection
 * keys; with AMX it is 11008, and UML panics before its first process. So this function, which linux.uml finds before
 * libc's (LD_PRELOAD), makes a short area whole: what was given, then zeros, and in XSTATE_BV no component that does
 * not lie in what was given entirely. The processor puts such a component into its first state (SDM volume 1, 13.8),
 * as it is for a program that never used it; and state of one guest process never comes to another one.
 *
 * Reading needs no help: the kernel cuts what it gives (`copy_xstate_to_uabi_buf`). Everything else passes through.
 */
#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BITS_AT = 512, HEADER_END = 576, COMPONENTS = 63 };

/* Not on the stack, since UML's threads have 8 KB of it. One thread of UML traces, and not within a signal handler. */
static unsigned char whole[64 * 1024];

/* How long the area is that the kernel takes for this child; 0: it does not say. */
static size_t size_for(pid_t child)
{
	struct iovec room = {whole, sizeof whole};
	long done = syscall(SYS_ptrace, PTRACE_GETREGSET, child, (void *)NT_X86_XSTATE, &room);

	return done == 0 && room.iov_len < sizeof whole ? room.iov_len : 0;
}

/* The bits of XSTATE_BV whose components end beyond `length`: CPUID leaf 0xD, a subleaf for each (size, offset). */
static uint64_t beyond(size_t length)
{
	uint64_t bits = 0;

	for (unsigned n = 2; n < COMPONENTS; n++) {
		unsigned size, offset, flags, unused;

		if (__get_cpuid_count(0xD, n, &size, &offset, &flags, &unused) && size && offset + (size_t)size > length)
			bits |= (uint64_t)1 << n;
	}
	return bits;
}

static long set_area(pid_t child, struct iovec *given)
{
	/* The size is the processor's, and a caller's areas have one length: both are asked once, for they cost. */
	static size_t size, known_length;
	static uint64_t cut_off;
	uint64_t present;

	if (!size)
		size = size_for(child);
	if (given->iov_len >= size || given->iov_len < HEADER_END)
		return syscall(SYS_ptrace, PTRACE_SETREGSET, child, (void *)NT_X86_XSTATE, given);
	if (given->iov_len != known_length) {
		known_length = given->iov_len;
		cut_off = beyond(known_length);
	}
	memcpy(whole, given->iov_base, known_length);
	memset(whole + known_length, 0, size - known_length);
	memcpy(&present, whole + BITS_AT, sizeof present);
	present &= ~cut_off;
	memcpy(whole + BITS_AT, &present, sizeof present);

	struct iovec all = {whole, size};
	return syscall(SYS_ptrace, PTRACE_SETREGSET, child, (void *)NT_X86_XSTATE, &all);
}

/* As ptrace(2) says of libc: what PEEK reads is the result, and errno tells an error from a word of -1. */
long ptrace(enum __ptrace_request request, ...)
{
	va_list more;

	va_start(more, request);
	pid_t child = va_arg(more, pid_t);
	void *address = va_arg(more, void *);
	void *data = va_arg(more, void *);
	va_end(more);

	long word = 0, done;
	int peeks = request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER;

	if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
		return set_area(child, data);
	done = syscall(SYS_ptrace, request, child, address, peeks ? &word : data);
	if (done < 0 || !peeks)
		return done;
	errno = 0;
	return word;
}
