#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 200,000 threads are made in a loop in a tenant: no thread id lies outside the blocks lent to the node.
set -eu
exec "$B/unit/tenant_test" --threads 200000
