#!/usr/bin/env bash
# Against services that `docker compose up` has started: a small search through the published port, during which one
# board is killed. With `rknn`, against those of docker/compose.rknn.yml besides: converts a model in the worker by hand,
# then searches for the simulated RK3588. COMPOSE_ARGS holds the -f flags of the running services where the compose file
# is not the folder's own.
set -euo pipefail
cd "$(dirname "$0")/../../.."
files="" program=compose_check.py
if [[ "${1:-}" == rknn ]]; then files="-f docker-compose.yml -f docker/compose.rknn.yml" program=compose_rknn_check.py; fi
read -ra arguments <<<"${COMPOSE_ARGS:-$files}"
exec python3 "tests/e2e/compose/$program" "${arguments[@]}"
