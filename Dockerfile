# One file, three images: `agent` (an emulated board), `server` (API, no torch) and `worker` (torch).
FROM python:3.11-slim-bookworm AS base
# Named volumes take owner and mode from these folders when they are first used.
RUN useradd --create-home --uid 10001 hilnas \
 && install -d -o hilnas -g hilnas -m 700 /data \
 && install -d -o hilnas -g hilnas /artifacts /enrolment /host-lock
ENV PYTHONUNBUFFERED=1 PATH=/opt/hilnas/bin:$PATH

# Requirements come before our own code, so that a change of the code rebuilds in seconds.
FROM base AS build
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS=/wheels PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
RUN python -m venv /opt/hilnas
COPY docker/wheels /wheels
COPY constraints.txt pyproject.toml docker/requirements.py ./

FROM build AS agent-build
RUN python requirements.py agent > needed.txt && pip install -r needed.txt
COPY README.md LICENSE NOTICE ./
COPY proto proto
COPY nas_engine nas_engine
COPY device_agent device_agent
COPY server server
RUN pip install --no-deps .

FROM base AS agent
COPY --from=agent-build /opt/hilnas /opt/hilnas
USER 10001
WORKDIR /data
ENTRYPOINT ["hilnas", "agent"]

FROM build AS server-needs
RUN python requirements.py server postgres > needed.txt && pip install -r needed.txt

FROM server-needs AS server-build
COPY README.md LICENSE NOTICE ./
COPY proto proto
COPY nas_engine nas_engine
COPY device_agent device_agent
COPY server server
RUN pip install --no-deps .

FROM base AS server
COPY --from=server-build /opt/hilnas /opt/hilnas
USER 10001
WORKDIR /data
ENTRYPOINT ["hilnas"]
CMD ["server"]

FROM server-needs AS worker-build
RUN python requirements.py engine > needed.txt && pip install -r needed.txt
COPY README.md LICENSE NOTICE ./
COPY proto proto
COPY nas_engine nas_engine
COPY device_agent device_agent
COPY server server
RUN pip install --no-deps .

FROM base AS worker
COPY --from=worker-build /opt/hilnas /opt/hilnas
USER 10001
WORKDIR /data
ENTRYPOINT ["hilnas"]
CMD ["worker"]

# `worker-rknn`: the worker with the real RKNN converter in an environment of its own (x86-64 only).
FROM base AS rknn-build
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS=/wheels
WORKDIR /src
COPY docker/wheels /wheels
COPY scripts/make_rknn_env.sh scripts/rknn-requirements.txt scripts/
COPY nas_engine/export/rknn_converter_main.py nas_engine/export/
RUN scripts/make_rknn_env.sh /opt/rknn

FROM worker AS worker-rknn
COPY --from=rknn-build /opt/rknn /opt/rknn
ENV HILNAS_RKNN_PYTHON=/opt/rknn/bin/python
