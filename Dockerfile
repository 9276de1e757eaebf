# One file, four images: `agent` (an emulated board), `server` (API, no torch), `worker` (torch) and `worker-rknn` (torch and
# the real RKNN converter; x86-64 only).
FROM python:3.11-slim-bookworm AS base
# Named volumes take owner and mode from these folders when they are first used.
RUN useradd --create-home --uid 10001 hilnas \
 && install -d -o hilnas -g hilnas -m 700 /data \
 && install -d -o hilnas -g hilnas /artifacts /enrolment /host-lock
ENV PYTHONUNBUFFERED=1 PATH=/opt/hilnas/bin:$PATH

FROM base AS image
USER 10001
WORKDIR /data
ENTRYPOINT ["hilnas"]

# Our own code, once for every image.
FROM scratch AS code
COPY README.md LICENSE NOTICE /src/
COPY hilnas /src/hilnas
COPY nas_engine /src/nas_engine
COPY device_agent /src/device_agent
COPY server /src/server

# Requirements come before our own code, so that a change of the code rebuilds in seconds.
FROM base AS build
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS=/wheels
WORKDIR /src
COPY docker/wheels /wheels
COPY constraints.txt pyproject.toml docker/requirements.py ./

FROM build AS venv
ENV PIP_CONSTRAINT=/src/constraints.txt
RUN python -m venv /opt/hilnas

FROM venv AS agent-build
RUN python requirements.py agent > needed.txt && pip install -r needed.txt
COPY --from=code /src ./
RUN pip install --no-deps .

FROM image AS agent
COPY --from=agent-build /opt/hilnas /opt/hilnas
ENTRYPOINT ["hilnas", "agent"]

FROM venv AS server-needs
RUN python requirements.py server postgres > needed.txt && pip install -r needed.txt

FROM server-needs AS server-build
COPY --from=code /src ./
RUN pip install --no-deps .

FROM image AS server
COPY --from=server-build /opt/hilnas /opt/hilnas
CMD ["server"]

FROM server-needs AS worker-build
RUN python requirements.py engine > needed.txt && pip install -r needed.txt
COPY --from=code /src ./
RUN pip install --no-deps .

FROM image AS worker
COPY --from=worker-build /opt/hilnas /opt/hilnas
CMD ["worker"]

# The converter's pins contradict ours: an environment of its own beside ours.
FROM build AS rknn-build
COPY scripts/make_rknn_env.sh scripts/rknn-requirements.txt scripts/
COPY nas_engine/export/rknn/converter_main.py nas_engine/export/rknn/
RUN scripts/make_rknn_env.sh /opt/rknn

FROM worker AS worker-rknn
COPY --from=rknn-build /opt/rknn /opt/rknn
ENV HILNAS_RKNN_PYTHON=/opt/rknn/bin/python
