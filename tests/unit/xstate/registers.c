/* A process with known vector registers: it fills two, stops (int3), and prints what is in them when it goes on. */
#include <stdio.h>
#include <string.h>

static unsigned char first[32], last[32];

int main(void)
{
	for (int n = 0; n < 32; n++) {
		first[n] = (unsigned char)n;
		last[n] = (unsigned char)(0x80 + n);
	}
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vmovdqu %0, %%ymm0\n\tvmovdqu %1, %%ymm15\n\tint3\n\tvmovdqu %%ymm0, %0\n\tvmovdqu %%ymm15, %1"
				 : "+m"(first), "+m"(last) : : "xmm0", "xmm15");
	else
		__asm__ volatile("movdqu %0, %%xmm0\n\tmovdqu %1, %%xmm15\n\tint3\n\tmovdqu %%xmm0, %0\n\tmovdqu %%xmm15, %1"
				 : "+m"(first), "+m"(last) : : "xmm0", "xmm15");
	for (int n = 0; n < 32; n++)
		printf("%02x", first[n]);
	for (int n = 0; n < 32; n++)
		printf("%02x", last[n]);
	return 0;
}
