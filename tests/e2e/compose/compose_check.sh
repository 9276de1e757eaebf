#!/usr/bin/env bash
# Against services that `docker compose up` has started: a small search through the published port, during which one
# board is killed. COMPOSE_ARGS holds -f flags where the compose file is not the folder's own.
set -euo pipefail
cd "$(dirname "$0")/../../.."
read -ra arguments <<<"${COMPOSE_ARGS:-}"
exec python3 tests/e2e/compose/compose_check.py "${arguments[@]}"
