/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/bpf.h"

#include <string.h>

#include "base/check.h"

static bool known(const struct sock_filter *i)
{
	switch (i->code) {
	case BPF_LD | BPF_W | BPF_ABS:
		return i->k % 4 == 0 && i->k + 4 <= sizeof(struct seccomp_data);
	case BPF_LD | BPF_W | BPF_LEN:
	case BPF_LD | BPF_IMM:
	case BPF_LDX | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_IMM:
	case BPF_MISC | BPF_TAX:
	case BPF_MISC | BPF_TXA:
	case BPF_RET | BPF_K:
	case BPF_RET | BPF_A:
	case BPF_JMP | BPF_JA:
	case BPF_ALU | BPF_NEG:
		return true;
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
		return i->k < BPF_MEMWORDS;
	default:
		break;
	}
	if (BPF_CLASS(i->code) == BPF_ALU)
		return BPF_OP(i->code) <= BPF_XOR && (i->code & ~0xff) == 0;
	if (BPF_CLASS(i->code) == BPF_JMP)
		return BPF_OP(i->code) >= BPF_JEQ && BPF_OP(i->code) <= BPF_JSET;
	return false;
}

bool bpf_valid(const struct sock_filter *prog, size_t len)
{
	if (len == 0 || len > BPF_MAXINSNS || BPF_CLASS(prog[len - 1].code) != BPF_RET)
		return false;
	for (size_t at = 0; at < len; at++) {
		const struct sock_filter *i = &prog[at];
		size_t left = len - at - 1;

		if (!known(i))
			return false;
		if (i->code == (BPF_JMP | BPF_JA) && i->k >= left)
			return false;
		if (BPF_CLASS(i->code) == BPF_JMP && BPF_OP(i->code) != BPF_JA &&
		    (i->jt >= left || i->jf >= left))
			return false;
	}
	return true;
}

static uint32_t alu(uint16_t op, uint32_t a, uint32_t b)
{
	switch (op) {
	case BPF_ADD:
		return a + b;
	case BPF_SUB:
		return a - b;
	case BPF_MUL:
		return a * b;
	case BPF_DIV:
		return b ? a / b : 0;
	case BPF_MOD:
		return b ? a % b : 0;
	case BPF_OR:
		return a | b;
	case BPF_AND:
		return a & b;
	case BPF_XOR:
		return a ^ b;
	case BPF_LSH:
		return b < 32 ? a << b : 0;
	case BPF_RSH:
		return b < 32 ? a >> b : 0;
	default:
		return -a; /* BPF_NEG */
	}
}

static bool test(uint16_t op, uint32_t a, uint32_t b)
{
	switch (op) {
	case BPF_JEQ:
		return a == b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	default:
		return (a & b) != 0; /* BPF_JSET */
	}
}

struct bpf_run bpf_eval(const struct sock_filter *prog, size_t len, const struct seccomp_data *d)
{
	struct bpf_run run = { 0 };
	uint32_t a = 0, x = 0, mem[BPF_MEMWORDS] = { 0 };
	size_t at = 0;

	for (;;) {
		const struct sock_filter *i = &prog[at];
		uint32_t operand = BPF_SRC(i->code) == BPF_X ? x : i->k;

		CHECK(at < len);
		run.steps++;
		at++;
		switch (BPF_CLASS(i->code)) {
		case BPF_LD:
			if (BPF_MODE(i->code) == BPF_ABS) {
				memcpy(&a, (const char *)d + i->k, 4);
				run.looks_at_args |= i->k >= offsetof(struct seccomp_data, args);
			} else if (BPF_MODE(i->code) == BPF_MEM) {
				a = mem[i->k];
			} else {
				a = BPF_MODE(i->code) == BPF_LEN ? sizeof(*d) : i->k;
			}
			break;
		case BPF_LDX:
			if (BPF_MODE(i->code) == BPF_MEM)
				x = mem[i->k];
			else
				x = BPF_MODE(i->code) == BPF_LEN ? sizeof(*d) : i->k;
			break;
		case BPF_ST:
			mem[i->k] = a;
			break;
		case BPF_STX:
			mem[i->k] = x;
			break;
		case BPF_ALU:
			a = alu(BPF_OP(i->code), a, operand);
			break;
		case BPF_JMP:
			if (BPF_OP(i->code) == BPF_JA)
				at += i->k;
			else
				at += test(BPF_OP(i->code), a, operand) ? i->jt : i->jf;
			break;
		case BPF_RET:
			run.ret = BPF_RVAL(i->code) == BPF_A ? a : i->k;
			return run;
		default: /* BPF_MISC */
			if (BPF_MISCOP(i->code) == BPF_TAX)
				x = a;
			else
				a = x;
			break;
		}
	}
}
