#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Injected calls survive the death of whoever injects, at every step; a process becomes its stub in place.
set -eu
B=${B:-build/gcc}
cp "$B/guest/gatevictim" "$PANDO_TEST_DIR/victim"
chmod 755 "$PANDO_TEST_DIR" "$PANDO_TEST_DIR/victim"
exec "$B/int/gate" "$PANDO_TEST_DIR" "$B/bin/pando-stub" "$PANDO_TEST_DIR/victim" "${KILLS:-12}"
