#!/usr/bin/env bash
# Against services that `docker compose -f docker-compose.yml -f docker/compose.rknn.yml up` has started: converts a model in
# the worker by hand, then searches for the simulated RK3588. COMPOSE_ARGS holds the -f flags of the running services.
set -euo pipefail
cd "$(dirname "$0")/../../.."
read -ra arguments <<<"${COMPOSE_ARGS:--f docker-compose.yml -f docker/compose.rknn.yml}"
exec python3 tests/e2e/compose/compose_rknn_check.py "${arguments[@]}"
