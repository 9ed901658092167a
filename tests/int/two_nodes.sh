#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two nodes with the real pando-init and pando-kernel under pandods played by nodes_live.c: `on NODE CMD`, what it
# reads and writes, how it ends, what is raised in it, its relatives, and that nothing stays behind.
set -eu
"$B/int/nodes_live"
