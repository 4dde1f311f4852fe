# The broker, and with another command a worker. Any base with python3 (3.11 or later), its venv module and ca-certificates serves.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
# pip stands aside, so that it is not in the final image.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/dagorama
# With `metrics,object-store` it can keep values in a bucket.
ARG EXTRAS=metrics
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY dagorama dagorama
COPY dagorama_broker dagorama_broker
RUN /opt/pip/bin/pip --python /opt/dagorama/bin/python install --no-cache-dir ".[${EXTRAS}]"

FROM ${BASE_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin dagorama \
    && install --directory --owner=dagorama --group=dagorama /data /code
COPY --from=build /opt/dagorama /opt/dagorama
COPY broker/healthcheck.py /opt/dagorama/healthcheck.py
ENV PATH=/opt/dagorama/bin:$PATH \
    PYTHONPATH=/code \
    PYTHONUNBUFFERED=1 \
    DAGORAMA_STORAGE=sqlite:////data/broker.db
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /code
VOLUME /data
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "/opt/dagorama/healthcheck.py"]
# --insecure says that the container's network is the boundary: publish the port only where everybody may use the broker.
CMD ["dagorama-broker", "--host", "0.0.0.0", "--insecure"]
