# syntax=docker/dockerfile:1.7
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The repository's history is not copied, so the revision has to be told:
# docker build --build-arg TRUNKLINE_REVISION="$(git rev-parse --short=12 HEAD)" .
ARG TRUNKLINE_REVISION=unknown
ENV TRUNKLINE_REVISION=$TRUNKLINE_REVISION
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bins \
 && install -D --target-directory=/out \
      target/release/trunkline-server \
      target/release/trunkline-worker \
      target/release/trunkline \
 && strip /out/*

FROM debian:12.13-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin trunkline
COPY --from=build /out/ /usr/local/bin/
USER 10001:10001
# Public listener of the server; metrics and health of server and worker.
EXPOSE 8080 9464 9465
CMD ["trunkline-server"]
