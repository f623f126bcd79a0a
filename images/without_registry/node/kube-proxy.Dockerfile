ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends conntrack iptables && rm -rf /var/lib/apt/lists/*
COPY kube-proxy /usr/local/bin/kube-proxy
