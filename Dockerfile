# One file, three images: `server` (API, no torch), `worker` (torch) and `agent` (an emulated board).
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 hilnas && install -d -o hilnas -g hilnas /data
WORKDIR /src
COPY docker/wheels /wheels
COPY constraints.txt pyproject.toml README.md LICENSE NOTICE ./

FROM base AS agent
COPY nas_engine nas_engine
COPY proto proto
COPY device_agent device_agent
COPY server server
RUN pip install --find-links /wheels -c constraints.txt ".[agent]"
USER hilnas
WORKDIR /data
ENTRYPOINT ["hilnas", "agent"]

FROM base AS server
COPY nas_engine nas_engine
COPY proto proto
COPY device_agent device_agent
COPY server server
RUN pip install --find-links /wheels -c constraints.txt ".[server,postgres]"
USER hilnas
WORKDIR /data
ENTRYPOINT ["hilnas"]
CMD ["server"]

FROM base AS worker
COPY nas_engine nas_engine
COPY proto proto
COPY device_agent device_agent
COPY server server
RUN pip install --find-links /wheels -c constraints.txt ".[server,engine,postgres]"
USER hilnas
WORKDIR /data
ENTRYPOINT ["hilnas"]
CMD ["worker"]
