#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The checkers are checked: each invariant has two broken cores at least, each is caught within 200 seeds, and replays.
set -eu
cd "$(dirname "$0")/../.."
sim=$PWD/build/gcc-mutants/bin/pando
make -s -j"$(nproc)" MUTANTS=1 build/gcc-mutants/bin/pando

# Which invariant a variant breaks; another checker may be the one that sees it first. Not here: what cores CHECK of themselves.
table='
K1 migrate.thaw.unknown migrate.adopt.thaws migrate.resume.unasked
K2 naming.block.leased_again naming.block.freed_by_death
K3 kin.make.beside kin.turn.early kin.drop.line kin.drop.never
K4 migrate.lost.untold migrate.rebuild.hasty
M0 migrate.handover.unnoted migrate.load.unnoted
M2 migrate.answer.stale migrate.resume.unasked
M3 migrate.release.early migrate.drained.early
M4 migrate.signal.lost migrate.signal.unraised
A1 migrate.epoch.forgets_term migrate.rebuild.same_epoch
A2 migrate.commit.no_epoch migrate.claim.same_move
A3 migrate.record.unremembered migrate.birth.unremembered
A4 migrate.fenced.answers migrate.fence.ignored
R1 naming.barrier.local naming.answer.uncommitted
R2 naming.restore.forgets_answers naming.write.failed_is_done
R4 naming.vote.undurable naming.write.failed_is_done
N1 naming.tenant.hosts_shared naming.tenant.hosts_of_gone
N3 naming.tenant.name_twice naming.key.twice
N4 naming.tenant.id_of_gone naming.node.id_again
N6 naming.token.used_again naming.token.never_over
N2 naming.block.same_term naming.block.life_of_before
N5 naming.block.leased_again naming.block.freed_by_death
N7 naming.command.twice naming.command.anew
L1 naming.log.sum_unread naming.log.torn_is_damage
L2 naming.log.hole_is_end naming.log.one_number_only
C1 rpc.reply-unkept rpc.life-ignored rpc.refused-once
C2 rpc.cancel-silent rpc.down-forgets
C3 rpc.credit-overdrawn rpc.credit-doubled
C4 rpc.repeat-delivered rpc.gap-delivered rpc.end-unchecked
D1 dsm.write-beside-readers dsm.read-beside-writer dsm.first-ack-is-enough dsm.ack-half-taken
D6 dsm.stale-grant-taken dsm.old-copy-taken dsm.order-unseen
D7 dsm.kept-dropped dsm.recover-forgets dsm.data-dropped
G1 lease.from_answer lease.never_killed lease.old_book lease.new_book_hasty lease.over_early
S2 member.old-news-believed member.older-believed
S3 member.failed-lives-again member.incarnation-unkept
S4 member.no-suspicion member.silent-is-failed
S5 member.late-timers-blame member.late-suspicion-counts
S6 member.no-refutation member.refuted-as-before
Q1 quota.share.early quota.share.unsure quota.share.unclaimed naming.loan.serial naming.loan.over_limit lease.over_early
P1 migrate.forget.dropped migrate.drop.forgotten kin.drop.never
'
# The first seed that caught these when this was written, where it takes many: tried first, to save time.
hints='migrate.answer.stale 52
migrate.fence.ignored 70
naming.loan.serial 14
rpc.refused-once 15
rpc.sent-to-strangers 3'

# Of channels, shared memory and loans all variants that there are, at least so many of each.
many='rpc 10 dsm 17 quota 3'

try() {
	local name=$1 out seed
	seed=$(echo "$hints" | awk -v name="$name" '$1 == name { print $2 }')
	if [ -n "$seed" ] && ! out=$("$sim" sim --jobs 1 --seeds "$seed-$seed" --break "$name" 2>/dev/null); then
		echo "$name: $(echo "$out" | head -1)"
		return
	fi
	out=$("$sim" sim --jobs 1 --seeds 1-200 --break "$name" 2>/dev/null) && { echo "$name: not caught"; return 1; }
	seed=$(echo "$out" | sed -n 's/^seed \([0-9]*\): VIOLATED.*/\1/p' | head -1)
	[ -n "$seed" ] || { echo "$name: no seed: $out"; return 1; }
	"$sim" sim --seed "$seed" --break "$name" 2>/dev/null | grep -q '^VIOLATED ' || { echo "$name: seed $seed does not replay"; return 1; }
	echo "$name: $(echo "$out" | head -1)"
}
if [ "${1:-}" = try ]; then
	try "$2"
	exit
fi

has=$("$sim" sim --breaks | sort -u)
names=$(echo "$table" | awk 'NF { for (i = 2; i <= NF; i++) print $i }')
[ -z "$(echo "$table" | awk 'NF && NF < 3 { print }')" ]
# shellcheck disable=SC2086
set -- $many
while [ $# -gt 0 ]; do
	[ "$(echo "$has" | grep -c "^$1\.")" -ge "$2" ] || { echo "too few broken variants of $1"; exit 1; }
	names="$names $(echo "$has" | grep "^$1\.")"
	shift 2
done
for name in $names; do
	echo "$has" | grep -qxF "$name" || { echo "$name: no such broken variant"; exit 1; }
done
# shellcheck disable=SC2086
printf '%s\n' $names | sort -u | xargs -P "$(nproc)" -n 1 "$0" try
# Not in an ordinary build: there is nothing to switch on.
if "$BIN"/pando sim --seed 1 --break kin.drop.line 2>/dev/null; then echo "a broken variant is in the ordinary build"; exit 1; fi
