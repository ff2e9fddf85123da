# Worker, flow server and page in one image; the command chooses which. Models are not in it: they
# are fetched into the volume with `agent-worker download-files`.

FROM ghcr.io/astral-sh/uv:0.9.2-python3.12-bookworm-slim AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/venv
WORKDIR /src
# The dependencies first: they change less often than the code.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-default-groups --group engines --no-install-project
COPY README.md LICENSE livekit.yaml ./
COPY agent_worker agent_worker
COPY bounded_http bounded_http
COPY flows flows
COPY graph_speech graph_speech
COPY local_tts local_tts
COPY plugins plugins
COPY web web
RUN uv sync --frozen --no-default-groups --group engines --no-editable
# For a GPU of NVIDIA's: what CTranslate2's wheel looks for and does not bring (600 MB).
ARG GPU=""
RUN if [ "$GPU" = nvidia ]; then uv pip install --python /opt/venv nvidia-cublas-cu12==12.9.1.4; fi

FROM python:3.12.12-slim-bookworm
# llama.cpp's wheel wants it
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 agent && install -d -o agent -g agent /models /data
COPY --from=build /opt/venv /opt/venv
COPY --chmod=755 deploy/entrypoint.sh /usr/local/bin/entrypoint.sh
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/models HF_HOME=/models/huggingface
USER agent
WORKDIR /home/agent
VOLUME ["/models", "/data"]
ENTRYPOINT ["entrypoint.sh"]
CMD ["agent-worker", "start"]
