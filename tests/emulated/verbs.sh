#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the emulated machine, with a kernel that has Soft-RoCE (the one for clouds has not): rpc over libfabric's provider `verbs`.
#
#	export MADE=$PWD/build/emulated-full MORE=ibverbs-providers
#	KERNEL=linux-image-amd64 tests/emulated/get.sh && tests/emulated/machine.sh tests/emulated/verbs.sh
set -eu
modprobe -a crc32_generic dummy rdma_rxe rdma_ucm ib_uverbs # rxe asks for crc32 without saying so
ip link show dev dummy0 >/dev/null 2>&1 || ip link add dummy0 type dummy
ip addr add 10.99.0.1/24 dev dummy0
ip link set dummy0 up
rdma link add rxe0 type rxe netdev dummy0
printf '127.0.0.1 localhost\n10.99.0.1 %s\n' "$(hostname)" >/etc/hosts # librdmacm looks its own name up
PANDO_TEST_PROVIDER=verbs PANDO_TEST_IP=10.99.0.1 build/gcc/unit/rpc_fabric_test
