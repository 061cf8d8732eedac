# A server of one index: `metaembed serve`, without a compiler, without CUDA, and not as root.
#
#     docker build -t metaembed .
#     docker run --rm -v metaembed:/data -v "$PWD/documents:/documents:ro" metaembed index /documents
#     docker run -p 8000:8000 -v metaembed:/data -e METAEMBED_TOKEN metaembed
#
# docs/docker.md tells the rest. With CUDA: --build-arg TORCH_INDEX=https://pypi.org/simple

ARG PYTHON=3.12

FROM python:${PYTHON}-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=local,hybrid,ocr,server
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/metaembed/bin:$PATH
WORKDIR /source
RUN python -m venv /opt/metaembed
# torch by itself: it is most of the image, and this layer stays when the code changes.
COPY constraints.txt ./
RUN pip install -c constraints.txt --index-url ${TORCH_INDEX} torch
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY metaembed_rag metaembed_rag
RUN pip install -c constraints.txt ".[${EXTRAS}]"
# Chroma asks for it for its distributed server; a process with an index imports nothing of it.
RUN pip uninstall --yes kubernetes
# The kernel that scores is compiled here, so that the image needs no compiler.
RUN mkdir -p /cache && XDG_CACHE_HOME=/cache python -c "from metaembed_rag.vectors.native import kernel; kernel()"

FROM python:${PYTHON}-slim-bookworm
RUN useradd --uid 10001 --create-home metaembed && install -d -o metaembed -g metaembed /data
COPY --from=build /opt/metaembed /opt/metaembed
COPY --from=build --chown=metaembed:metaembed /cache /home/metaembed/.cache
ENV PATH=/opt/metaembed/bin:$PATH METAEMBED_INDEX=/data/index HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["metaembed"]
CMD ["serve", "--host", "0.0.0.0"]
