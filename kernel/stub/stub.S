/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stub.S - the stub and zygote program (stub.h says what it does). No libc, no
 * stack, no vector register: everything lives in registers that the kernel
 * keeps. %rbx the table's cursor, %rbp the calls left.
 */
#include "kernel/stub/stub.h"

#define NR_RT_SIGPROCMASK  14
#define NR_CHDIR           80
#define NR_RT_SIGTIMEDWAIT 128
#define NR_PRCTL           157
#define NR_EXIT_GROUP      231
#define NR_CLONE3          435
#define NR_CLOSE_RANGE     436

#define SIG_SETMASK     2
#define PR_SET_DUMPABLE 4

	.section .bss.info, "aw", @nobits
siginfo:
	.skip 128
all_signals:
	.skip 8

	.section .text.start, "ax", @progbits
	.globl _start
_start:
	movq	$-1, all_signals
	mov	$SIG_SETMASK, %edi
	mov	$all_signals, %esi
	xor	%edx, %edx
	mov	$8, %r10d
	mov	$NR_RT_SIGPROCMASK, %eax
	syscall

	/* Whatever exec let through: a stub must not hold a pipe open, nor a mount. */
	xor	%edi, %edi
	mov	$-1, %esi
	xor	%edx, %edx
	mov	$NR_CLOSE_RANGE, %eax
	syscall
	mov	$root, %edi
	mov	$NR_CHDIR, %eax
	syscall
	mov	$PR_SET_DUMPABLE, %edi
	xor	%esi, %esi
	mov	$NR_PRCTL, %eax
	syscall

	xor	%ebp, %ebp

	/*
	 * All pages are its own from the start. While the tenant's memory is used up a page fault
	 * waits for more, but who writes here from outside, or in a call, would fail.
	 */
touch:
	mov	$STUB_DATA, %ebx
1:
	orb	$0, (%rbx)
	add	$0x1000, %ebx
	cmp	$STUB_END, %ebx
	jb	1b
	/* Say that the stub is there: the first question has signo 0. One that is born waits. */
	xor	%edi, %edi
	test	%ebp, %ebp
	jz	ask

	.globl stub_wait
stub_wait:
	mov	$all_signals, %edi
	mov	$siginfo, %esi
	xor	%edx, %edx
	mov	$8, %r10d
	mov	$NR_RT_SIGTIMEDWAIT, %eax
	syscall
	mov	%rax, %rdi
	test	%rax, %rax
	jle	stub_wait	/* EINTR: a stop and continue went by */
ask:
	mov	$siginfo, %esi
	mov	$STUB_TABLE, %edx
	mov	$STUB_MAGIC, %eax
	syscall
	cmp	$STUB_CALLS_MAX, %rax
	ja	stub_wait	/* unsigned: an error is above it too */
	test	%eax, %eax
	jz	stub_wait
	mov	%eax, %ebp
	mov	$STUB_TABLE, %ebx
1:
	mov	8(%rbx), %rdi
	mov	16(%rbx), %rsi
	mov	24(%rbx), %rdx
	mov	32(%rbx), %r10
	mov	40(%rbx), %r8
	mov	48(%rbx), %r9
	mov	(%rbx), %rax
	syscall
	test	%rax, %rax
	jnz	2f
	cmpq	$NR_CLONE3, (%rbx)
	je	touch		/* a stub is born */
2:
	mov	%rax, 56(%rbx)
	add	$STUB_CALL_BYTES, %rbx
	dec	%ebp
	jnz	1b
	xor	%edi, %edi
	jmp	ask

	.section .rodata, "a", @progbits
root:
	.asciz	"/"

	.section .note.GNU-stack, "", @progbits
