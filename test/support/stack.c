/*
 * Tells of itself, where it makes a system call deep in its functions: registers, stack, mappings, and what backtrace(3) says of it.
 * Lines: "pc HEX", "register DWARF-NUMBER HEX", "stack HEX", "caller HEX" (the innermost first), then /proc/self/maps behind "maps".
 */
#define _GNU_SOURCE
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

int inner_calls(int n, int (*then)(int));

static int nested;

static void dump(const ucontext_t *context, uintptr_t stack_end)
{
	static void *callers[128];
	int count = backtrace(callers, 128), from = 0;
	uintptr_t pc, sp;
	char line[4096];
	FILE *maps;

#if defined(__x86_64__)
	static const int of[] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
				  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

	pc = context->uc_mcontext.gregs[REG_RIP];
	sp = context->uc_mcontext.gregs[REG_RSP];
	for (int i = 0; i < 16; i++)
		printf("register %d %lx\n", i, (unsigned long)context->uc_mcontext.gregs[of[i]]);
#else
	pc = context->uc_mcontext.pc;
	sp = context->uc_mcontext.sp;
	for (int i = 0; i < 31; i++)
		printf("register %d %lx\n", i, (unsigned long)context->uc_mcontext.regs[i]);
	printf("register 31 %lx\n", (unsigned long)sp);
#endif
	printf("pc %lx\nstack ", (unsigned long)pc);
	for (uintptr_t at = sp; at < stack_end && at < sp + 16384; at++)
		printf("%02x", *(unsigned char *)at);
	printf("\n");
	/* Its own frames, and the signal's, are not of what was interrupted. */
	while (from < count && (uintptr_t)callers[from] != pc)
		from++;
	for (; from < count; from++)
		printf("caller %lx\n", (unsigned long)callers[from]);
	printf("maps\n");
	maps = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof(line), maps))
		fputs(line, stdout);
	fflush(stdout);
	_exit(0);
}

static uintptr_t end_of_stack(void)
{
	pthread_attr_t attributes;
	void *address;
	size_t size;

	pthread_getattr_np(pthread_self(), &attributes);
	pthread_attr_getstack(&attributes, &address, &size);
	return (uintptr_t)address + size;
}

static void interrupted(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	if (nested-- > 0)
		raise(SIGUSR2);
	dump(context, end_of_stack());
}

__attribute__((noinline)) int calls_kernel(int n)
{
	raise(SIGUSR1);
	return n + 1;
}

__attribute__((noinline)) int outer_calls(int n)
{
	return inner_calls(n, calls_kernel) * 2;
}

static void *in_thread(void *argument)
{
	return (void *)(intptr_t)outer_calls((int)(intptr_t)argument);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_sigaction = interrupted, .sa_flags = SA_SIGINFO };
	const char *how = argc > 1 ? argv[1] : "";
	void *warm[1];
	pthread_t thread;

	backtrace(warm, 1); /* loads libgcc */
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	nested = !strcmp(how, "signal");
	if (strcmp(how, "thread"))
		return outer_calls(argc);
	pthread_create(&thread, NULL, in_thread, argv);
	pthread_join(thread, NULL);
	return 0;
}
